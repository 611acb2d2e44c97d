"""The pipeline's log keeps every entry whatever happens, and an unfinished run is found again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from proximo.errors import UserError
from proximo.recipes import hybrid_record as record


@pytest.fixture
def log(tmp_path):
    return tmp_path / "logs" / "pipeline_runs.json"


def test_entries_are_added_to_a_list(log):
    for number in range(3):
        record.append({"seed": number, "success": True, "val_loss": float("nan")}, log)
    content = json.loads(log.read_text("utf-8"))
    assert [entry["seed"] for entry in content] == [0, 1, 2]
    assert content[0]["val_loss"] is None
    assert content[0]["timestamp"].startswith("20")
    before = log.read_text("utf-8").splitlines()[1:4]
    record.append({"seed": 3}, log)
    # Append-only: what was there stays letter by letter.
    assert log.read_text("utf-8").replace("},\n", "}\n").splitlines()[1:4] == [x.rstrip(",") for x in before]


WRITER = """
import sys, pathlib
from proximo.recipes import hybrid_record as record
for n in range(100000):
    record.append({"who": sys.argv[2], "n": n}, pathlib.Path(sys.argv[1]))
    print(n, flush=True)
"""


def test_killed_in_the_middle_of_writing_it_stays_whole(log):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(log), who], stdout=subprocess.PIPE, text=True)
        for who in "ab"
    ]
    told = {}
    for who, process in zip("ab", writers, strict=True):
        while int(process.stdout.readline()) < 20:
            pass
        os.kill(process.pid, signal.SIGKILL)
        rest = process.communicate()[0].split()
        told[who] = int(rest[-1]) if rest else 20
    entries = record.entries_of(log)
    for who in "ab":
        # Everything that was said to be written is there, from both, in order.
        numbers = [entry["n"] for entry in entries if entry["who"] == who]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > told[who]


@pytest.mark.parametrize("content", ["{", "{}", "[1, "])
def test_a_file_that_is_no_log_is_not_replaced(log, content):
    log.parent.mkdir()
    log.write_text(content)
    with pytest.raises(UserError, match=r"pipeline_runs\.json: .* move it away"):
        record.append({"seed": 1}, log)
    assert log.read_text() == content


def test_the_same_command_finds_what_it_left(tmp_path):
    with record.Unfinished.held({"seed": 1}, tmp_path) as state:
        assert state.values == {}
        state.note(bc_run="runs/x")
        state.note(save_file="y.zip")
    with record.Unfinished.held({"seed": 2}, tmp_path) as other:
        assert other.values == {}
    with record.Unfinished.held({"seed": 1}, tmp_path) as state:
        assert state.values == {"bc_run": "runs/x", "save_file": "y.zip"}
        state.done()
    with record.Unfinished.held({"seed": 1}, tmp_path) as state:
        assert state.values == {}


def test_two_at_a_time_are_refused(tmp_path):
    with (
        record.Unfinished.held({"seed": 1}, tmp_path),
        pytest.raises(UserError, match="already running"),
        record.Unfinished.held({"seed": 1}, tmp_path),
    ):
        pass


def test_time_is_that_of_the_entry(log):
    record.append({}, log)
    stamp = record.entries_of(log)[0]["timestamp"]
    assert abs(time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.time()) < 3600
