"""progress.csv and events.jsonl: every number kept, torn lines dropped, cheap."""

import csv
import json
import math
import time

import numpy as np
import pytest

from proximo.errors import RunError
from proximo.runs.files import Appender
from proximo.runs.log import Events, Progress, read_events, read_progress


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_on_disk_at_once_with_every_digit(tmp_path):
    path = tmp_path / "progress.csv"
    progress = Progress(path, ["step", "return_mean", "kl"])
    progress.write({"step": 10, "return_mean": 1 / 3, "kl": math.nan})
    progress.write({"step": 20, "kl": 1e-9})
    assert rows(path) == [
        {"step": "10", "return_mean": repr(1 / 3), "kl": "nan"},
        {"step": "20", "return_mean": "", "kl": "1e-9"},
    ]


def test_integers_of_any_size(tmp_path):
    progress, events = (
        Progress(tmp_path / "progress.csv", ["step", "hash"]),
        Events(tmp_path / "events.jsonl"),
    )
    progress.write({"step": 1, "hash": 2**80})
    progress.write({"step": 2, "hash": -(2**80)})
    events.write("update", 1, {"hash": 2**80})
    assert [row["hash"] for row in rows(progress.path)] == [str(2**80), str(-(2**80))]
    assert [event["hash"] for event in read_events(events.path)] == [2**80]


@pytest.mark.parametrize(
    ("value", "cell", "json_value"),
    [(True, "1", True), (np.float32(0.5), "0.5", 0.5), (math.nan, "nan", None), (-math.inf, "-inf", None)],
)
def test_numbers_of_other_kinds(tmp_path, value, cell, json_value):
    Progress(tmp_path / "progress.csv", ["step", "x", "absent"]).write({"step": 1, "x": value})
    assert (tmp_path / "progress.csv").read_text() == f"step,x,absent\n1,{cell},\n"
    Events(tmp_path / "events.jsonl").write("update", 1, {"x": value})
    record = json.loads((tmp_path / "events.jsonl").read_text())
    assert record["x"] == json_value


def test_a_metric_that_comes_late_gets_its_column(tmp_path):
    path = tmp_path / "progress.csv"
    progress = Progress(path, ["step"])
    progress.write({"step": 1})
    progress.write({"step": 2, "eval/return_mean": 5.0, "odd,name": 1.0})
    progress.write({"step": 3})
    assert rows(path)[0] == {"step": "1", "eval/return_mean": "", "odd,name": ""}
    assert rows(path)[1] == {"step": "2", "eval/return_mean": "5.0", "odd,name": "1.0"}
    assert len(rows(path)) == 3


def test_resume_drops_later_rows_and_the_torn_line(tmp_path):
    path = tmp_path / "progress.csv"
    progress = Progress(path, ["step", "a"])
    for step in (10, 20, 30):
        progress.write({"step": step, "a": step / 10})
    with path.open("a") as file:
        file.write("40,4.")
    again = Progress(path, ["step", "b", "a"], resume_step=20)
    again.write({"step": 25, "b": 7.0})
    assert path.read_text() == "step,a,b\n10,1.0,\n20,2.0,\n25,,7.0\n"


def test_a_torn_header_starts_afresh(tmp_path):
    path = tmp_path / "progress.csv"
    path.write_text("step,ret")
    Progress(path, ["step", "return_mean"], resume_step=0).write({"step": 1})
    assert path.read_text() == "step,return_mean\n1,\n"


@pytest.mark.parametrize("name", ["/dev/full", "a file/progress.csv"])
def test_what_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "a file").write_text("")
    appender = Appender(tmp_path / name)
    with pytest.raises(RunError, match=r"free some space|a part of the path is a file") as caught:
        appender.append(b"1\n")
    assert str(appender.path) in str(caught.value)


def test_every_row_is_on_disk_at_once_and_a_removed_file_comes_back(tmp_path):
    progress = Progress(tmp_path / "progress.csv", ["step", "kl"])
    progress.write({"step": 1, "kl": 0.5})
    assert (tmp_path / "progress.csv").read_text() == "step,kl\n1,0.5\n"
    progress.write({"step": 2, "new": 3})  # replaces the file under the open one
    progress.write({"step": 3})
    assert [row["step"] for row in read_progress(tmp_path / "progress.csv")] == ["1", "2", "3"]
    (tmp_path / "progress.csv").unlink()
    progress.write({"step": 4})
    assert (tmp_path / "progress.csv").read_text() == "4,,\n"


def test_events_are_strict_json_and_survive_a_torn_line(tmp_path):
    path = tmp_path / "events.jsonl"
    events = Events(path)
    events.write("update", 5, {"kl": math.nan, "high": math.inf, "list": [1, (2.5,)], "path": tmp_path})
    with path.open("a") as file:
        file.write('{"time": 1, "st')
    assert len(list(read_events(path))) == 1
    Events(path).write("resume", 5, {})
    first, second = (
        json.loads(line, parse_constant=lambda name: pytest.fail(name))
        for line in path.read_text().splitlines()
    )
    assert (first["step"], first["kind"], first["kl"], first["high"]) == (5, "update", None, None)
    assert first["list"] == [1, [2.5]]
    assert abs(first["time"] - time.time()) < 60
    assert second["kind"] == "resume"


def test_logging_an_update_takes_well_under_a_millisecond(tmp_path):
    names = [f"metric_{i}" for i in range(40)]
    progress, events = Progress(tmp_path / "p.csv", ["step", *names]), Events(tmp_path / "e.jsonl")
    times = []
    for step in range(50):
        values = dict.fromkeys(names, step / 7)
        begun = time.perf_counter()
        progress.write({"step": step, **values})
        events.write("update", step, values)
        times.append(time.perf_counter() - begun)
    assert sorted(times)[25] < 1e-3
    assert len(list(read_progress(tmp_path / "p.csv"))) == 50


def test_rows_in_quick_succession_are_written_together_and_none_is_lost(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("proximo.runs.files.time.monotonic", lambda: now[0])
    progress, events = Progress(tmp_path / "p.csv", ["step"]), Events(tmp_path / "e.jsonl")

    def later(step, **more):
        progress.later({"step": step, **more})
        events.later("update", step, more)

    def steps():
        csv_steps = [int(row["step"]) for row in read_progress(tmp_path / "p.csv")]
        assert csv_steps == [event["step"] for event in read_events(tmp_path / "e.jsonl")]
        return csv_steps

    later(1)
    assert steps() == [1]  # after a pause: at once
    later(2)
    later(3, new=0.5)
    assert steps() == [1]
    now[0] += 0.5
    later(4)
    assert steps() == [1, 2, 3, 4]
    assert [row["new"] for row in rows(tmp_path / "p.csv")] == ["", "", "0.5", ""]
    later(5)
    progress.flush()
    events.write("eval", 6, {})  # never before what came earlier
    assert [event["step"] for event in read_events(tmp_path / "e.jsonl")] == [1, 2, 3, 4, 5, 6]
    later(7)
    progress.close()
    events.close()
    assert [int(row["step"]) for row in read_progress(tmp_path / "p.csv")] == [1, 2, 3, 4, 5, 7]
