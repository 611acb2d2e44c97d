"""A run in one file: what comes back is what was packed, and nothing else is ever read from it."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch

from proximo import load, train
from proximo.cli.main import main
from proximo.config.experiment import Experiment
from proximo.errors import UserError
from proximo.runs import archive, checkpoint
from proximo.runs.run import Run

SETTINGS = {
    "env": {"id": "CartPole-v1", "num_envs": 2},
    "ppo": {"total_steps": 128, "num_steps": 32, "epochs": 1, "minibatch_size": 32, "prime_steps": 0},
    "eval": {"num_evals": 1, "episodes": 2, "random_episodes": 2},
    "policy": {"hidden_sizes": [8]},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    run = Run.open(train(Experiment(**SETTINGS, runs_dir=str(folder / "runs")), verbosity=-1).run)
    last = run.checkpoint()[0]
    return run.path, archive.pack_run(folder / "agent.zip", run.path, [last])


@pytest.fixture(scope="module")
def clone(trained):
    """The policy alone, as behaviour cloning leaves it."""
    run, file = trained
    part = {"policy": checkpoint.load_part(Run.open(run).checkpoint()[0], "policy")}
    folder = file.with_name("parts") / "checkpoints" / "5"
    checkpoint.save(folder, part, meta={"env": "CartPole-v1"})
    (folder.parent.parent / "experiment.yaml").write_bytes((run / "experiment.yaml").read_bytes())
    return archive.pack_run(file.with_name("clone.zip"), folder.parent.parent, [folder])


def test_an_archive_is_a_run(trained):
    run, file = trained
    with zipfile.ZipFile(file) as inside:
        names = inside.namelist()
        assert json.loads(inside.read("checkpoints/128/state.json"))["step"] == 128
    assert {"experiment.yaml", "progress.csv", "best", "checkpoints/128/policy.safetensors"} <= set(names)
    assert not [name for name in names if not name.endswith((".yaml", ".json", ".jsonl", ".csv", ".safetensors"))
                and name not in ("best", "last")]  # fmt: skip
    there, back = load(run), load(file)
    for obs in torch.randn(20, 4):
        assert back.act(obs.numpy()) == there.act(obs.numpy())
    assert Run.open(file).experiment() == Run.open(run).experiment()


def test_every_command_takes_it(trained, tmp_path, monkeypatch, capsys):
    run, file = trained
    monkeypatch.chdir(tmp_path)
    assert main(["eval", str(file), "--episodes", "3", "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert main(["eval", str(run), "--episodes", "3", "--json"]) == 0
    assert packed["returns"] == json.loads(capsys.readouterr().out)["returns"]
    assert main(["report", str(file), "--out", "page.html"]) == 0
    assert "CartPole-v1" in Path("page.html").read_text("utf-8")


def test_a_run_begins_from_it(clone, tmp_path):
    begun = train(
        Experiment(**SETTINGS | {"init_from": str(clone)}, runs_dir=str(tmp_path), seed=5), verbosity=-1
    )
    assert begun.status == "finished"
    fresh = train(Experiment(**SETTINGS, runs_dir=str(tmp_path), seed=5), verbosity=-1)
    weights = [checkpoint.load_part(Run.open(r.run).checkpoint()[0], "policy") for r in (begun, fresh)]
    assert any(not torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_training_goes_on_from_it_in_a_folder_of_its_own(trained, tmp_path, monkeypatch, capsys):
    run, file = trained
    before = sorted(path.name for path in run.rglob("*"))
    assert main(["resume", str(file)]) == 0
    assert f"{file} is finished at step 128" in capsys.readouterr().out
    assert (
        main(["resume", str(file), "ppo.total_steps=256", "eval.num_evals=1", f"runs_dir={tmp_path}", "-q"])
        == 0
    )
    (folder,) = (tmp_path / "CartPole-v1").iterdir()
    assert Run.open(folder).status().step == 256
    assert sorted(path.name for path in run.rglob("*")) == before
    # Bitwise what the run itself becomes.
    assert main(["resume", str(run), "ppo.total_steps=256", "eval.num_evals=1", "-q"]) == 0
    there, here = (checkpoint.load_part(p / "checkpoints" / "256", "policy") for p in (run, folder))
    assert all(torch.equal(there[key], here[key]) for key in there)


def test_a_policy_alone_cannot_go_on(clone, capsys):
    assert main(["resume", str(clone), "ppo.total_steps=999"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "holds only policy" in said
    assert f"init_from={clone}" in said


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "checkpoints/1/../../x", "policy.pkl", "data/x"])
def test_nothing_else_is_unpacked(trained, tmp_path, name):
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(trained[1]) as source, zipfile.ZipFile(bad, "w") as target:
        for entry in source.namelist():
            target.writestr(entry, source.read(entry))
        target.writestr(name, b"x")
    with pytest.raises(UserError, match="is no run of Proximo's: it holds"):
        Run.open(bad)


def test_damage_and_other_zips_give_one_line(trained, tmp_path, capsys):
    data = bytearray(trained[1].read_bytes())
    at = data.index(b"checkpoints/128/policy.safetensors") + 120
    data[at : at + 60] = os.urandom(60)
    (tmp_path / "damaged.zip").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "sb3.zip", "w") as file:
        file.writestr("data", b"{}")
        file.writestr("policy.pth", b"x")
    (tmp_path / "short.zip").write_bytes(trained[1].read_bytes()[:500])
    for name, words in (
        ("damaged", "is damaged"),
        ("sb3", "is a pickled model"),
        ("short", "is a pickled model"),
    ):
        assert main(["eval", str(tmp_path / f"{name}.zip")]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_a_pointer_in_it_leads_to_nothing_outside(trained, tmp_path, capsys):
    run, file = trained
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(bad, "w") as target:
        for entry in source.namelist():
            if entry != "best":
                target.writestr(entry, source.read(entry))
        target.writestr("best", json.dumps({"checkpoint": f"../..{run}/checkpoints/128"}))
    assert main(["eval", str(bad), "--episodes", "1"]) == 2
    said = capsys.readouterr().err
    assert "no checkpoint of its own run" in said
    assert said.count("\n") == 1


LITTLE_ROOM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
from proximo.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_no_room_to_unpack_it_is_one_line(trained, tmp_path):
    """A file that may not grow fails in the middle, as on a disk that others fill meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM, "eval", str(trained[1])],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(r"error: cannot write \S+/experiment\.yaml: file too large; .*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_a_temporary_folder_is_one_line(trained, tmp_path, monkeypatch, capsys):
    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    copy = shutil.copy(trained[1], tmp_path / "copy.zip")
    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    assert main(["eval", str(copy)]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: cannot write \S+: no space left on device; free some space\n", said)


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_another_compression_is_one_line(kind, tmp_path):
    """Damaged, these would raise errors of their own."""
    with zipfile.ZipFile(tmp_path / "other.zip", "w", kind) as file:
        file.writestr("experiment.yaml", bytes(range(256)))
    with pytest.raises(UserError, match=r"other\.zip: is no run of Proximo's: it holds experiment\.yaml"):
        archive.opened(tmp_path / "other.zip")
