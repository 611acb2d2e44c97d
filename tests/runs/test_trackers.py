"""Trackers: the same numbers on the same axis everywhere; what is missing costs one line, never the training."""

import csv
import json
import math
import sqlite3
import struct
import sys

import pytest

from proximo.config.experiment import Experiment
from proximo.errors import UserError
from proximo.runs import checkpoint, wandb_log
from proximo.runs.run import Run
from proximo.runs.trackers import Trackers

# Deprecations inside the services' own packages are theirs to mend.
# A closed port of this machine: refused at once, no network needed.
SERVER = "http://127.0.0.1:9"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def make(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_BASE_URL", SERVER)
    said = []

    def build(*track):
        experiment = Experiment(env={"id": "CartPole-v1"}, runs_dir=str(tmp_path / "runs"), track=track)
        run = Run.create(experiment)
        return run, Trackers(run, experiment, said.append, ["step", "return_mean"])

    build.said = said
    yield build
    if sys.modules.get("wandb"):
        # It reads its environment once per process otherwise.
        sys.modules["wandb"].teardown()


def feed(run, trackers, start=None, steps=(10, 20, 30)):
    trackers.start(start)
    for step in steps:
        values = {"step": step, "return_mean": step / 10, "kl": math.nan if step == 10 else 0.5}
        trackers.scalars(step, values)


def test_csv_and_jsonl_are_always_there(make):
    run, trackers = make()
    feed(run, trackers)
    trackers.video(30, run.videos / "a.mp4")
    trackers.artifact(run.checkpoint_folder(30))
    trackers.close("finished")
    with (run.path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20", "30"]
    assert [row["return_mean"] for row in rows] == ["1.0", "2.0", "3.0"]
    records = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["step"]) for r in records] == [
        ("update", 10), ("update", 20), ("update", 30), ("video", 30), ("artifact", 30),
    ]  # fmt: skip
    assert records[0]["kl"] is None
    assert records[3]["path"] == "videos/a.mp4"
    assert records[4]["path"] == "checkpoints/30"
    assert make.said == []


def scalars_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def test_tensorboard_reads_back(make):
    pytest.importorskip("tensorboard")
    run, trackers = make("tensorboard")
    folder = run.path / "tensorboard"
    feed(run, trackers)
    trackers.close("finished")
    read = scalars_of(folder)
    assert read["return_mean"] == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert read["kl"][1:] == [(20, 0.5), (30, 0.5)]
    assert set(read) == {"return_mean", "kl"}


def test_tensorboard_goes_where_it_is_told(make, tmp_path):
    pytest.importorskip("tensorboard")
    run, trackers = make({"type": "tensorboard", "folder": str(tmp_path / "boards" / "x")})
    trackers.start()
    trackers.scalars(7, {"return_mean": 3.0})
    trackers.close("finished")
    assert scalars_of(tmp_path / "boards" / "x")["return_mean"] == [(7, 3.0)]
    assert not (run.path / "tensorboard").exists()


def test_tensorboard_forgets_what_a_resume_takes_back(make):
    pytest.importorskip("tensorboard")
    run, trackers = make("tensorboard")
    folder = run.path / "tensorboard"
    feed(run, trackers)
    trackers.close("stopped")
    again = Trackers(run, run.experiment(), print)
    feed(run, again, start=20, steps=(25,))
    again.close("finished")
    assert scalars_of(folder)["return_mean"] == [(10, 1.0), (20, 2.0), (25, 2.5)]
    with (run.path / "progress.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["10", "20", "25"]


@pytest.mark.parametrize(
    ("name", "module"),
    [("wandb", "wandb"), ("trackio", "trackio"), ("tensorboard", "tensorboard.compat.proto.event_pb2")],
)
def test_what_is_not_installed_costs_one_line(make, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    if name == "tensorboard":
        monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    run, trackers = make(name)
    feed(run, trackers)
    trackers.close("finished")
    assert make.said == [f"not tracked by {name}: {name} is not installed: pip install 'proximo[{name}]'"]
    assert (run.path / "progress.csv").read_text().count("\n") == 4


def log_chunks(data):
    """Records of a LevelDB log, in blocks of 32 KiB, after W&B's own 7 bytes of header."""
    at, record = 7, b""
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _crc, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def wandb_records(run):
    """Every record of the offline files, oldest first."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()
    files = sorted((run.path / "wandb").glob("offline-run-*/*.wandb"), key=lambda f: f.stat().st_ctime_ns)
    return [Record.FromString(chunk) for file in files for chunk in log_chunks(file.read_bytes())]


def history(records):
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


def test_wandb_offline_has_config_scalars_model_and_tensorboard(make):
    pytest.importorskip("wandb")
    track = {"type": "wandb", "project": "sb3", "group": "g", "sync_tensorboard": True}
    run, trackers = make("tensorboard", track)
    feed(run, trackers)
    checkpoint.save(run.checkpoint_folder(30), {"policy": {}})
    run.videos.mkdir()
    (run.videos / "a.mp4").write_bytes(b"no real film")
    trackers.video(30, run.videos / "a.mp4")
    trackers.artifact(run.checkpoint_folder(30))
    trackers.close("finished")
    assert make.said[0] == "W&B: not logged in (run `wandb login`): recording offline"
    assert "wandb sync" in make.said[1]
    assert len(make.said) == 2
    records = wandb_records(run)
    about = next(r.run for r in records if r.WhichOneof("record_type") == "run")
    assert (about.project, about.run_group, about.display_name) == ("sb3", "g", "ppo")
    config = {item.key: json.loads(item.value_json) for item in about.config.update}
    assert config["env"]["id"] == "CartPole-v1"
    rows = history(records)
    assert [(row["step"], row["return_mean"]) for row in rows[:3]] == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert rows[3]["step"] == 30
    assert any("video" in key for key in rows[3])
    model = next(r.artifact for r in records if r.WhichOneof("record_type") == "artifact")
    paths = {entry.path for entry in model.manifest.contents}
    assert paths == {"experiment.yaml", "checkpoints/30/state.json"}
    uploaded = list((run.path / "wandb").glob("offline-run-*/files/tensorboard/events*"))
    assert len(uploaded) == 1


def test_wandb_resumes_the_same_run_and_marks_failure(make):
    pytest.importorskip("wandb")
    run, trackers = make({"type": "wandb", "mode": "offline", "save_model": False})
    feed(run, trackers)
    trackers.close("failed")
    again = Trackers(run, run.experiment(), lambda text: None)
    feed(run, again, start=30, steps=(40,))
    again.close("finished")
    records = wandb_records(run)
    ids = {r.run.run_id for r in records if r.WhichOneof("record_type") == "run"}
    assert len(ids) == 1
    assert [row["step"] for row in history(records)] == [10, 20, 30, 40]
    codes = [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"]
    assert codes == [1, 0]


def test_wandb_that_cannot_be_reached_records_offline(make, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_log, "INIT_SECONDS", 2)
    run, trackers = make("wandb")
    feed(run, trackers)
    trackers.close("finished")
    assert "recording offline" in make.said[0]
    assert [row["step"] for row in history(wandb_records(run))] == [10, 20, 30]


def test_a_login_is_found_in_environment_and_netrc(make, tmp_path, monkeypatch):
    server = "https://wandb.example.org:8080"
    assert not wandb_log.logged_in(server)
    (tmp_path / "netrc").write_text("machine wandb.example.org login user password x\n")
    assert wandb_log.logged_in(server)
    assert not wandb_log.logged_in("https://wandb.example.com")
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert wandb_log.logged_in("https://wandb.example.com")


def test_trackio_stores_locally(make, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    from trackio import sqlite_storage, utils

    for module in (utils, sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    run, trackers = make({"type": "trackio", "project": "lab"})
    feed(run, trackers)
    trackers.close("finished")
    assert make.said == ["trackio: watch with `trackio show --project lab`"]
    with sqlite3.connect(tmp_path / "trackio" / "lab.db") as base:
        rows = base.execute("select run_name, step, metrics from metrics order by step").fetchall()
    base.close()
    assert [(name, step) for name, step, _ in rows] == [(run.path.name, step) for step in (10, 20, 30)]
    assert json.loads(rows[0][2]) == {"return_mean": 1.0}


class Mine:
    """A user's tracker."""

    calls: list = []

    def __init__(self, tag):
        self.tag = tag

    def start(self, run, experiment, resume_step):
        self.calls.append((self.tag, "start", run.path.name, resume_step))

    def scalars(self, step, values):
        self.calls.append((self.tag, step, values["return_mean"]))

    def video(self, step, path):
        self.calls.append((self.tag, "video"))

    def artifact(self, path):
        self.calls.append((self.tag, "artifact"))

    def close(self, status):
        self.calls.append((self.tag, status))


def test_a_tracker_of_your_own(make):
    name = f"{__file__}:Mine"
    run, trackers = make({"type": name, "kwargs": {"tag": "t"}})
    feed(run, trackers, steps=(10,))
    trackers.close("stopped")
    calls = trackers_calls(name)
    assert calls == [("t", "start", run.path.name, None), ("t", 10, 1.0), ("t", "stopped")]
    with pytest.raises(UserError, match="tga"):
        make({"type": name, "kwargs": {"tga": "t"}})


def trackers_calls(name):
    from proximo.config.registry import resolve

    return resolve(name).calls
