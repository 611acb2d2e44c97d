"""The run's folder: unique, found again, one owner, a status that tells the truth after a kill."""

import json
import os
import signal
import subprocess
import sys

import pytest

from proximo.config.experiment import Experiment
from proximo.errors import RunError, UserError
from proximo.runs import checkpoint
from proximo.runs.run import Run, list_runs
from proximo.runs.summary import summarise


def experiment(tmp_path, **changes) -> Experiment:
    return Experiment(
        **{"env": {"id": "ALE/Pong-v5"}, "runs_dir": str(tmp_path / "runs"), "name": "my run"} | changes
    )


def test_folder_and_files(tmp_path):
    run = Run.create(experiment(tmp_path, seed=3))
    assert run.path.parent == tmp_path / "runs" / "ALE_Pong-v5"
    assert run.path.name.startswith("my_run-20")
    assert run.experiment() == experiment(tmp_path, seed=3)
    known = json.loads((run.path / "provenance.json").read_text())
    assert known["seed"] == 3
    assert known["versions"]["torch"]
    assert known["hardware"]["cores"] >= 1
    assert run.status().state == "created"


def test_two_runs_of_the_same_second_are_two_folders(tmp_path):
    runs = [Run.create(experiment(tmp_path)) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert {run.path for run in list_runs(tmp_path / "runs")} == {run.path for run in runs}


def test_path_ids_stay_inside_the_runs_folder(tmp_path):
    run = Run.create(experiment(tmp_path, env={"id": "../../etc/env.py:Env"}))
    assert run.path.parent.parent == tmp_path / "runs"


def test_open_by_folder_checkpoint_pointer_and_beginning(tmp_path, monkeypatch):
    run = Run.create(experiment(tmp_path))
    for step in (5, 10):
        checkpoint.save(run.checkpoint_folder(step), {"policy": {}})
    checkpoint.point(run.path, "best", run.checkpoint_folder(5))
    assert Run.open(run.path).chosen is None
    assert Run.open(run.path).checkpoint()[0] == run.checkpoint_folder(10)
    for given in (run.path / "best", run.checkpoint_folder(5), run.checkpoint_folder(5) / "state.json"):
        opened = Run.open(given)
        assert opened.path == run.path
        assert opened.checkpoint() == (run.checkpoint_folder(5), [])
    assert Run.open(str(run.path)[:-3]).path == run.path
    assert Run.open("my_run", root=tmp_path / "runs").path == run.path
    monkeypatch.chdir(run.path)
    assert Run.open("checkpoints/5").checkpoint()[0].name == "5"


def test_a_whole_name_is_not_the_beginning_of_a_longer_one(tmp_path):
    root = tmp_path / "runs"
    first, again, wide = (Run.create(experiment(tmp_path, name=n)) for n in ("base", "base2", "base-wide"))
    assert Run.open("base", root=root).path == first.path
    assert Run.open("base-w", root=root).path == wide.path
    twice = Run.create(experiment(tmp_path, name="base2"))
    with pytest.raises(UserError, match="beginning of 2 runs"):
        Run.open("base2", root=root)
    # Where the second of a second ends in -2, the first is still named by its folder.
    for run in (first, again, wide, twice):
        assert Run.open(run.path.name, root=root).path == run.path


def test_open_says_what_is_there_instead(tmp_path):
    first, second = (Run.create(experiment(tmp_path)) for _ in range(2))
    with pytest.raises(UserError, match="beginning of 2 runs"):
        Run.open("my_run", root=tmp_path / "runs")
    with pytest.raises(UserError, match="holds 2, name one"):
        Run.open(first.path.parent)
    with pytest.raises(UserError, match="there is no run nowhere"):
        Run.open("nowhere", root=tmp_path / "runs")
    with pytest.raises(UserError, match=r"it has no experiment\.yaml"):
        Run.open(tmp_path)
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="pickle runs whatever code"):
        Run.open(tmp_path / "model.zip")
    (second.path / "best").write_text("{}")
    with pytest.raises(UserError, match="names no existing checkpoint"):
        Run.open(second.path / "best")


def test_a_runs_dir_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="runs_dir"):
        Run.create(experiment(tmp_path))


def test_only_one_owner(tmp_path):
    run = Run.create(experiment(tmp_path))
    run.lock()
    with pytest.raises(UserError, match="already being trained in this process"):
        Run.open(run.path).lock()
    code = "import sys; from proximo.runs.run import Run; Run.open(sys.argv[1]).lock()"
    other = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False
    )
    assert f"is being trained by process {os.getpid()}" in other.stderr
    run.close()
    again = Run.open(run.path)
    again.lock()
    again.close()


HOLDER = """
import sys, signal
from proximo.runs.run import Run
run = Run.open(sys.argv[1])
run.lock()
run.set_status("running", step=40)
print("locked", flush=True)
signal.pause()
"""


def test_a_killed_run_is_interrupted_and_can_be_taken_over(tmp_path):
    run = Run.create(experiment(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    assert run.status().state == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    status = run.status()
    assert (status.state, status.step) == ("interrupted", 40)
    run.lock()
    run.set_status("finished", "goal reached", 50)
    assert (run.status().state, run.status().reason) == ("finished", "goal reached")
    run.close()


def test_a_broken_status_file_is_no_crash(tmp_path):
    run = Run.create(experiment(tmp_path))
    (run.path / "status.json").write_text("{")
    assert run.status().state == "interrupted"


def test_summary_reads_the_last_row(tmp_path):
    run = Run.create(experiment(tmp_path))
    assert summarise(run).return_mean is None
    progress = run.progress(["step", "return_mean"])
    progress.write({"step": 10, "return_mean": 1.0})
    progress.write({"step": 20, "return_mean": 2.5, "eval/return_mean": 7.0})
    progress.write({"step": 30, "return_mean": 3.5})
    line = summarise(run)
    assert (line.env, line.step, line.return_mean) == ("ALE_Pong-v5", 30, 3.5)
    assert (line.eval_return_mean, line.seed) == (7.0, 0)


def test_events_go_to_the_run(tmp_path):
    run = Run.create(experiment(tmp_path))
    run.event("note", 3, {"text": "hello"})
    run.close()
    record = json.loads((run.path / "events.jsonl").read_text())
    assert (record["kind"], record["step"], record["text"]) == ("note", 3, "hello")
