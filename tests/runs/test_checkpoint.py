"""Checkpoints: what goes in comes out; nothing half-written is ever taken for one."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from proximo.errors import RunError, UserError
from proximo.runs import checkpoint


def parts(value: float = 1.0) -> dict:
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.full((1, 3), value)).sum().backward()
    optimizer.step()
    return {
        "policy": layer.state_dict(),
        "optimizer": optimizer.state_dict(),
        "env": {"seed": 2**100, "actions": [[1, 2], []], "rng": np.arange(4, dtype=np.uint32)},
        "counters": {"step": 7, "rate": 0.1, "best": float("-inf"), "name": "x", "none": None, "on": True},
    }


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_everything_comes_back_bitwise(tmp_path):
    saved = parts()
    checkpoint.save(tmp_path / "100", saved, meta={"env": "CartPole-v1"})
    assert same(checkpoint.load(tmp_path / "100"), dict(saved))
    assert checkpoint.header(tmp_path / "100") == {
        "step": 100,
        "meta": {"env": "CartPole-v1"},
        "parts": ["counters", "env", "optimizer", "policy"],
    }


def test_policy_file_is_plain_safetensors_by_parameter_name(tmp_path):
    saved = parts()
    checkpoint.save(tmp_path / "1", saved)
    read = safetensors.torch.load_file(tmp_path / "1" / "policy.safetensors")
    assert same(dict(sorted(read.items())), dict(sorted(saved["policy"].items())))
    assert same(checkpoint.load_part(tmp_path / "1", "policy"), dict(saved["policy"]))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.5, dtype=torch.float64),
        torch.zeros(0, 4),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([True, False]),
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.arange(5, dtype=torch.uint8)[1:3],
        torch.ones(2, requires_grad=True),
    ],
)
def test_every_kind_of_tensor(tmp_path, tensor):
    checkpoint.save(tmp_path / "1", {"a": {"x": tensor, "same": tensor, "view": tensor.reshape(-1)}})
    loaded = checkpoint.load(tmp_path / "1")["a"]
    assert same(loaded["x"], tensor.detach().contiguous())
    assert same(loaded["same"], tensor.detach().contiguous())
    assert loaded["view"].shape == (tensor.numel(),)


def test_values_that_json_lacks(tmp_path):
    state = {
        "tuple": (1, (2.5, "a")),
        "int keys": {0: {"x": torch.ones(1)}, 7: 2},
        "dollar": {"$tensor": "not a reference"},
        "dots": {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}},
        "floats": [float("inf"), float("-inf"), 0.1, 1e300, -0.0],
        "empty": {},
    }
    checkpoint.save(tmp_path / "1", {"odd name/…": state})
    assert same(checkpoint.load(tmp_path / "1")["odd name/…"], state)
    checkpoint.save(tmp_path / "2", {"nan": float("nan"), "numpy": np.float32(0.5)})
    loaded = checkpoint.load(tmp_path / "2")
    assert loaded["nan"] != loaded["nan"]
    assert loaded["numpy"] == 0.5


@pytest.mark.parametrize(
    ("value", "named"),
    [(object(), "env.copies.1 is a object"), (np.array(["a"]), "env.copies.1 is an array of <U1")],
)
def test_what_cannot_be_stored_is_named(tmp_path, value, named):
    with pytest.raises(RunError, match=named):
        checkpoint.save(tmp_path / "1", {"env": {"copies": [0, value]}})
    assert list(tmp_path.iterdir()) == []


def truncate(path: Path, drop: int = 10) -> None:
    os.truncate(path, path.stat().st_size - drop)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def edit_state(folder: Path, **changes) -> None:
    head = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(head | changes))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: truncate(f / "policy.safetensors"), "corrupt: policy.safetensors is truncated"),
        (lambda f: truncate(f / "policy.safetensors", 70), "policy.safetensors is truncated"),
        (lambda f: (f / "policy.safetensors").write_bytes(b""), "policy.safetensors is truncated"),
        (lambda f: flip(f / "policy.safetensors"), "policy.safetensors is truncated or was changed"),
        (lambda f: (f / "policy.safetensors").unlink(), "incomplete: policy.safetensors"),
        (lambda f: truncate(f / "state.json"), "corrupt: state.json"),
        (lambda f: (f / "state.json").write_bytes(b"\xff\xfe\x00"), "corrupt: state.json"),
        (lambda f: (f / "state.json").write_text("[]"), "not a Proximo checkpoint"),
        (lambda f: (f / "state.json").write_text('{"format": "other"}'), "not a Proximo checkpoint"),
        (lambda f: (f / "state.json").unlink(), "it has no state.json"),
        (lambda f: edit_state(f, version=2), "format version 2"),
        (lambda f: edit_state(f, parts={"policy": {}}), "state.json was changed"),
        (lambda f: edit_state(f, files=None), "state.json was changed"),
        (shutil.rmtree, "there is no checkpoint"),
    ],
)
def test_spoilt_checkpoints_give_one_line(tmp_path, spoil, says):
    folder = tmp_path / "100"
    checkpoint.save(folder, parts())
    spoil(folder)
    for read in (checkpoint.load, checkpoint.verify):
        with pytest.raises(UserError, match=says) as caught:
            read(folder)
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)


@pytest.mark.parametrize("magic", [b"PK\x03\x04rest", b"\x80\x04rest"])
def test_pickles_are_refused_with_the_reason(tmp_path, magic):
    file = tmp_path / "model.zip"
    file.write_bytes(magic)
    with pytest.raises(UserError, match="pickle runs whatever code"):
        checkpoint.load(file)


def test_unknown_part_names_the_known(tmp_path):
    checkpoint.save(tmp_path / "1", {"policy": {}})
    with pytest.raises(UserError, match="no part 'polcy': it has policy"):
        checkpoint.load_part(tmp_path / "1", "polcy")


def test_saving_again_at_the_same_step_replaces(tmp_path):
    checkpoint.save(tmp_path / "1", {"a": 1, "b": torch.ones(1)})
    checkpoint.save(tmp_path / "1", {"a": 2})
    assert checkpoint.load(tmp_path / "1") == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_failing_disk_is_one_line_and_the_old_one_stays(tmp_path, monkeypatch, code, call):
    folder = tmp_path / "1"
    checkpoint.save(folder, {"a": 1})

    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(RunError, match="older checkpoints are intact") as caught:
            checkpoint.save(folder, {"a": 2})
    assert "\n" not in str(caught.value)
    assert os.strerror(code).lower() in str(caught.value)
    assert checkpoint.load(folder) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(RunError, match=r"a file is in the way|part of the path is a file"):
        checkpoint.save(tmp_path / "checkpoints" / "1", {"a": 1})


def run_with(tmp_path: Path, *steps: int) -> Path:
    for step in steps:
        checkpoint.save(tmp_path / "checkpoints" / str(step), {"step": step, "w": torch.ones(4)})
    return tmp_path


def test_newest_intact_checkpoint_is_found(tmp_path):
    run = run_with(tmp_path, 90, 100, 1000)
    assert checkpoint.latest_valid(run) == (run / "checkpoints" / "1000", [])
    truncate(run / "checkpoints" / "1000" / "w.safetensors")
    folder, skipped = checkpoint.latest_valid(run)
    assert folder.name == "100"
    assert len(skipped) == 1
    assert "w.safetensors is truncated" in skipped[0]
    for step in (90, 100):
        (run / "checkpoints" / str(step) / "state.json").unlink()
    with pytest.raises(UserError, match="no usable checkpoint"):
        checkpoint.latest_valid(run)


def test_a_run_without_checkpoints_says_so(tmp_path):
    with pytest.raises(UserError, match="none was written before it stopped"):
        checkpoint.latest_valid(tmp_path)


def test_pointers_and_pruning(tmp_path):
    run = run_with(tmp_path, 1, 2, 3, 4, 5, 10)
    assert checkpoint.pointed(run, "best") is None
    checkpoint.point(run, "best", run / "checkpoints" / "2", {"return_mean": 5.0})
    checkpoint.point(run, "last", run / "checkpoints" / "10")
    assert [p.name for p in checkpoint.prune(run, 2)] == ["1", "3", "4"]
    assert [p.name for p in checkpoint.checkpoints(run)] == ["2", "5", "10"]
    assert checkpoint.pointed(run, "best") == run / "checkpoints" / "2"
    assert [p.name for p in checkpoint.discard_after(run, 5)] == ["10"]
    assert checkpoint.pointed(run, "last") is None
    (run / "best").write_text("{")
    assert checkpoint.pointed(run, "best") is None


@pytest.mark.parametrize(
    "target", ["../../x", "/x", "checkpoints/../../x", "checkpoints/1/../../../x", "x", 5]
)
def test_a_pointer_stays_in_its_run(tmp_path, target):
    """A run may come from anybody: what its files name is never read from elsewhere."""
    run = run_with(tmp_path / "runs" / "a", 1)
    checkpoint.save(tmp_path / "x", {"a": 1})
    checkpoint.save(run / "x", {"a": 1})
    (run / "best").write_text(json.dumps({"checkpoint": target}))
    with pytest.raises(UserError, match=r"/best: names .* no checkpoint of its own run") as caught:
        checkpoint.pointed(run, "best")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_lists_no_file_elsewhere(tmp_path):
    folder = tmp_path / "1"
    checkpoint.save(folder, {"a": torch.ones(1)})
    (tmp_path / "other").write_bytes(b"secret")
    head = json.loads((folder / "state.json").read_text())
    head["files"]["../other"] = hashlib.sha256(b"secret").hexdigest()
    (folder / "state.json").write_text(json.dumps(head))
    with pytest.raises(UserError, match=r"state\.json was changed"):
        checkpoint.verify(folder)


def test_pruning_never_takes_the_newest(tmp_path):
    run = run_with(tmp_path, 1, 2)
    checkpoint.prune(run, 0)
    assert [p.name for p in checkpoint.checkpoints(run)] == ["2"]


def test_recovery_puts_back_what_was_set_aside(tmp_path):
    run = run_with(tmp_path, 1, 2)
    folder = run / "checkpoints"
    (folder / "2").rename(folder / ".old-2")
    shutil.copytree(folder / "1", folder / ".old-1")
    shutil.copytree(folder / "1", folder / ".tmp-3-99")
    shutil.copytree(folder / "1", folder / ".trash-0")
    checkpoint.recover(run)
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]
    assert checkpoint.load(folder / "2")["step"] == 2


SAVER = """
import sys, torch
from pathlib import Path
from proximo.runs import checkpoint
run = Path(sys.argv[1])
step = 0
while True:
    # The same step is also saved again, so that both ways of renaming are hit.
    folder = run / "checkpoints" / str(step // 2)
    checkpoint.save(folder, {"step": step // 2, "big": torch.full((200_000,), float(step // 2))})
    checkpoint.point(run, "last", folder)
    checkpoint.prune(run, 2)
    if step == 1:
        print("going", flush=True)
    step += 1
"""


def test_kill_9_in_the_middle_of_saving_never_costs_the_checkpoint(tmp_path):
    for attempt in range(4):
        run = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(run)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "going\n"
        # A different moment each time: after so many more checkpoints, seen by polling, at once.
        goal = 2 + attempt
        while not any(int(p.name) >= goal for p in checkpoint.checkpoints(run)):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        checkpoint.recover(run)
        folder, skipped = checkpoint.latest_valid(run)
        assert skipped == []
        state = checkpoint.load(folder)
        assert state["step"] >= goal - 1
        assert torch.equal(state["big"], torch.full((200_000,), float(state["step"])))
        assert all(not p.name.startswith(".") for p in (run / "checkpoints").iterdir())


def test_a_kill_at_every_single_write_leaves_a_loadable_checkpoint(tmp_path, monkeypatch):
    """Every system call that changes the disk is, one after the other, the last one to happen."""

    class Killed(BaseException):
        pass

    survived, at = 0, 0
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "mkdir")}
    while survived == 0:
        run = run_with(tmp_path / str(at), 1)
        calls = 0

        def count(name, at=at):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls > at:
                    raise Killed
                return real[name](*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(os, name, count(name))
            # A killed process cleans nothing up either.
            patch.setattr(shutil, "rmtree", lambda *_args, **_kwargs: None)
            try:
                checkpoint.save(run / "checkpoints" / "1", {"step": 1, "again": True})
                survived = 1
            except Killed:
                pass
        checkpoint.recover(run)
        folder, skipped = checkpoint.latest_valid(run)
        assert checkpoint.load(folder)["step"] == 1
        assert skipped == []
        at += 1
    assert at > 5
