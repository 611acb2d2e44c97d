"""Stopping and going on must be bitwise the same as never stopping."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from proximo import Experiment, resume, train
from proximo.core.engines.native.library import INSTALL, library
from proximo.runs import checkpoint

TOYS = str(Path(__file__).parent / "toys.py")
CLOCKED = ("time/", "steps_per_second")


def experiment(tmp_path, env_id, policy=None, ppo=None, **rest):
    return Experiment(
        env={"id": env_id, "num_envs": 3, **rest.pop("env", {})},
        policy={"hidden_sizes": (16,), **(policy or {})},
        ppo={
            "num_steps": 32,
            "minibatch_size": 32,
            "epochs": 2,
            "total_steps": 960,
            "prime_steps": 30,
            **(ppo or {}),
        },
        checkpoint={"every": 96, "keep": 50},
        eval={"num_evals": 2, "episodes": 2, "random_episodes": 2},
        runs_dir=str(tmp_path / "runs"),
        **rest,
    )


def half(run, to):
    """A copy of a finished run as a kill in its middle would have left it."""
    shutil.copytree(run, to)
    folders = checkpoint.checkpoints(to)
    for late in folders[len(folders) // 2 :]:
        shutil.rmtree(late)
    (to / "status.json").unlink()
    return checkpoint.checkpoints(to)[-1]


def tensors(value, path=""):
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key != "seconds":
                yield from tensors(entry, f"{path}/{key}")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from tensors(entry, f"{path}/{index}")
    else:
        yield path, value


def assert_same(a, b):
    first, second = (dict(tensors(checkpoint.load(run_last))) for run_last in (a, b))
    assert first.keys() == second.keys()
    for path, value in first.items():
        if isinstance(value, torch.Tensor):
            # Not-a-number stands for "not told" in named numbers, and must come back as such.
            assert torch.allclose(value, second[path], rtol=0.0, atol=0.0, equal_nan=True), path
        else:
            assert value == second[path], path


def rows(run):
    with (run / "progress.csv").open() as file:
        return [
            {key: cell for key, cell in row.items() if not key.startswith(CLOCKED)}
            for row in csv.DictReader(file)
        ]


CASES = {
    "feed-forward": ("CartPole-v1", {}, {}, {"env": {"backend": "sync"}}),
    "batch": ("CartPole-v1", {}, {}, {"env": {"backend": "batch"}}),
    "batch-continuous": ("MountainCarContinuous-v0", {}, {}, {"env": {"max_episode_steps": 70}}),
    "unnormalised": ("CartPole-v1", {"normalize_obs": False}, {"normalize_reward": False}, {}),
    "continuous": ("Pendulum-v1", {}, {"lr_schedule": "adaptive", "target_kl": 0.05}, {}),
    "gsde": ("Pendulum-v1", {"head": {"type": "gsde"}}, {"lr_schedule": "linear"}, {}),
    "gru": (f"{TOYS}:Recall", {"memory": {"type": "gru", "size": 8}}, {"sequence_length": 16}, {}),
    "lstm-masked": (f"{TOYS}:MaskedRecall", {"memory": {"type": "lstm", "size": 8}}, {}, {}),
    "custom": (f"{TOYS}:Masked", {}, {"clip_schedule": "linear"}, {}),
    "box2d": ("LunarLander-v3", {}, {}, {}),
    "box2d-walker": ("BipedalWalker-v3", {}, {}, {}),
    "mujoco": ("Hopper-v5", {}, {}, {"env": {"backend": "sync"}}),
    "mujoco-threads": ("Hopper-v5", {}, {}, {"env": {"backend": "threads"}}),
    "overlap": ("Hopper-v5", {}, {"overlap": True}, {}),
    "overlap-gru": (f"{TOYS}:Recall", {"memory": {"type": "gru", "size": 8}}, {"overlap": True}, {}),
    "workers": (
        "CartPole-v1",
        {},
        {},
        {"env": {"backend": "workers", "workers": 2, "reset_ahead": True}},
    ),
    "workers-halves": (
        f"{TOYS}:Recall",
        {"memory": {"type": "gru", "size": 8}},
        {"sequence_length": 16},
        {"env": {"backend": "workers", "workers": 1, "half_batches": True}},
    ),
    "nethack": (
        "NetHackScore-v0",
        {},
        {"total_steps": 480},
        {"env": {"backend": "sync", "max_episode_steps": 40}},
    ),
    "nethack-workers": (
        "MiniHack-Room-Random-5x5-v0",
        {},
        {"total_steps": 480},
        {"env": {"workers": 1, "max_episode_steps": 40}},
    ),
    "bfloat16": (
        f"{TOYS}:Picture",
        {"encoder": {"type": "impala_cnn", "channels": [2], "features_dim": 4}, "share_encoder": True},
        {"total_steps": 480},
        {"precision": "bfloat16"},
    ),
    "therapy": (
        "proximo/Therapy-v0",
        {"encoder": {"type": "therapy", "hidden_size": 8}, "memory": {"type": "gru", "size": 8}},
        {"sequence_length": 16, "total_steps": 480},
        {"env": {"kwargs": {"max_sessions": 12, "threshold": 0.5}, "info": ["rs"]}},
    ),
    "curriculum-shaping": (
        "proximo/Therapy-v0",
        {"encoder": {"type": "therapy", "hidden_size": 8}},
        {"total_steps": 960},
        {
            "env": {"kwargs": {"max_sessions": 12, "patterns": ["cold_warm"]}},
            "rewards": {"shaping": {"type": "potential", "after": "progress", "before": "progress_before"}},
            "hooks": {
                "harder": {
                    "type": "curriculum",
                    "parameter": "threshold",
                    "start": 0.4,
                    "end": 0.6,
                    "step": 0.02,
                    "above": 0.1,
                    "episodes": 10,
                }
            },
        },
    ),
    "stream": (
        f"{TOYS}:Identity",
        {},
        {},
        {"streams": {"more": {"episodic": False}}, "rewards": {"again": {"type": "env", "stream": "more"}}},
    ),
}
NEEDS = {
    "box2d": "Box2D",
    "box2d-walker": "Box2D",
    "mujoco": "mujoco",
    "mujoco-threads": "mujoco",
    "overlap": "mujoco",
    "nethack": "nle",
    "nethack-workers": "nle",
}


@pytest.mark.parametrize("case", CASES)
def test_resume_is_bitwise(tmp_path, case):
    if case in NEEDS:
        pytest.importorskip(NEEDS[case], reason=f"needs the extra for {case}")
    if case == "mujoco-threads" and library() is None:
        pytest.skip(f"the native kernels are not built: {INSTALL}")
    env, policy, ppo, rest = CASES[case]
    whole = train(experiment(tmp_path, env, policy, ppo, **rest), verbosity=-1)
    copy = tmp_path / "runs" / "copy"
    half(whole.run, copy)
    again = resume(copy, verbosity=-1)
    assert again.step == whole.step
    assert_same(whole.run / "checkpoints" / str(whole.step), copy / "checkpoints" / str(whole.step))
    assert rows(whole.run) == rows(copy)


@pytest.mark.skipif(library() is None, reason=f"the native kernels are not built: {INSTALL}")
@pytest.mark.parametrize(("began", "goes_on"), [("native", "eager"), ("eager", "native")])
def test_a_run_goes_on_with_another_engine(tmp_path, began, goes_on):
    """Weights and Adam's moments are all that an engine leaves behind, to rounding."""
    given = {"ppo": {"total_steps": 384}, "engine": began}
    whole = train(experiment(tmp_path, "Pendulum-v1", **given), verbosity=-1).run
    cut = tmp_path / "cut"
    half(whole, cut)
    resume(cut, [f"engine={goes_on}"], verbosity=-1)
    one, other = (dict(tensors(checkpoint.load(checkpoint.checkpoints(run)[-1]))) for run in (whole, cut))
    assert one.keys() == other.keys()
    compared = [path for path in one if path.startswith(("/policy/", "/optimizer/"))]
    assert any("exp_avg_sq" in path for path in compared)
    for path in compared:
        if isinstance(one[path], torch.Tensor):
            assert torch.allclose(one[path], other[path], rtol=1e-3, atol=1e-5), path


def test_interrupted_evaluations_do_not_move_training(tmp_path):
    """With and without evaluations, videos and checkpoints the weights are the same."""
    plain = experiment(tmp_path, "CartPole-v1")
    quiet = plain.model_copy(update={"eval": plain.eval.model_copy(update={"num_evals": 0})})
    a, b = train(plain, verbosity=-1), train(quiet, verbosity=-1)
    first, second = (checkpoint.load_part(r.run / "checkpoints" / str(r.step), "policy") for r in (a, b))
    assert all(torch.equal(first[key], second[key]) for key in first)


def start(tmp_path, *words):
    command = [sys.executable, "-m", "proximo", "train", "CartPole-v1", "--untuned", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


ENDLESS = ["ppo.total_steps=100000000", "checkpoint.every=1000", "eval.num_evals=0", "ppo.num_steps=64"]


def wait_for_checkpoints(tmp_path, process, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = list(tmp_path.glob("runs/*/*/last"))
        if found and len(checkpoint.checkpoints(found[0].parent)) >= count:
            return found[0].parent
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.05)
    raise AssertionError("no checkpoint within two minutes")


def test_kill_nine_loses_at_most_the_work_since_the_last_checkpoint(tmp_path):
    process = start(tmp_path, *ENDLESS)
    run = wait_for_checkpoints(tmp_path, process, 2)
    process.kill()
    process.communicate()
    newest = int(checkpoint.checkpoints(run)[-1].name)
    result = resume(run, [f"ppo.total_steps={newest + 1024}"], verbosity=-1)
    assert result.status == "finished"
    steps = [int(row["step"]) for row in rows(run)]
    assert steps == sorted(set(steps))
    assert steps[-1] == result.step >= newest + 1024


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_write_a_checkpoint_and_exit_cleanly(tmp_path, number):
    process = start(tmp_path, *ENDLESS)
    run = wait_for_checkpoints(tmp_path, process, 1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "proximo resume" in out
    last = checkpoint.pointed(run, "last")
    assert last is not None
    assert int(last.name) == int(rows(run)[-1]["step"])


def test_resuming_a_finished_run_says_so(tmp_path):
    done = train(experiment(tmp_path, "CartPole-v1"), verbosity=-1)
    again = resume(done.run)
    assert "finished" in again.summary
    longer = resume(done.run, ["ppo.total_steps=1200"], verbosity=-1)
    assert longer.step >= 1200


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    done = train(experiment(tmp_path, "CartPole-v1"), verbosity=-1)
    copy = tmp_path / "runs" / "copy"
    newest = half(done.run, copy)
    weights = newest / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    result = resume(copy)
    assert "policy.safetensors" in capsys.readouterr().out
    assert result.step == done.step
    assert_same(done.run / "checkpoints" / str(done.step), copy / "checkpoints" / str(done.step))
