"""Environments in worker processes: checkpoints after a crash, and what environments may do to their process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from test_replay import same
from test_workers import everything, trace

from proximo.config.experiment import EnvConfig
from proximo.envs.check import random_action
from proximo.envs.make import make_env
from proximo.errors import RunError, UserError
from proximo.runs.encoding import decode, encode


@pytest.fixture
def make():
    """Environments that are closed at the end of the test."""
    made = []

    def one(env_id, n=4, backend="workers", workers=2, **options):
        given = {"workers": workers, **options} if backend == "workers" else options
        made.append(make_env(EnvConfig(id=env_id, num_envs=n, backend=backend, **given)))
        return made[-1]

    yield one
    for env in made:
        env.close()


def go_on(env, steps=20, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return [tensor for _ in range(steps) for tensor in everything(env.step(random_action(env, generator)))]


def stored(env):
    """Its state, as a checkpoint gives it back."""
    tensors = {}
    return decode(encode(env.state_dict(), "env", tensors), tensors)


def kill(env, number):
    process = env._workers[number].process
    process.kill()
    process.wait()


def zeros(n=4):
    return torch.zeros(n, dtype=torch.int64)


def test_a_checkpoint_where_the_other_half_took_the_process_with_it(make, tmp_path):
    """Copy 2 dies when the step of the first half is over: copy 0 is to be cut in the next step."""
    victim = tmp_path / "victim"
    kwargs = {"how": "kill", "length": 9, "victim": str(victim)}
    options = {"kwargs": kwargs, "on_crash": "restart", "half_batches": True}
    env, again = make("env_toys:Deadly", **options), make("env_toys:Deadly", **options)
    victim.write_text(str(int(env.reset(3)["obs"][2, 0])))
    env.step(zeros())
    assert env.step(zeros()).valid.tolist() == [True, True, False, True]
    state = stored(env)
    again.load_state_dict(state)
    assert same(again.state_dict()["cut"]["obs"].values(), state["cut"]["obs"].values())
    one = torch.ones(4, dtype=torch.int64)
    cut, other = env.step(one), again.step(one)
    assert other.valid.tolist() == [False, True, True, True]
    assert same(everything(cut), everything(other))
    assert same(go_on(env), go_on(again))
    assert "cut" not in env.state_dict()


def test_a_checkpoint_with_lost_copies_goes_elsewhere(make):
    """Where its worker would hold other copies too, or in this process, the old episodes go on: they are known."""
    options = {"kwargs": {"length": 9}}
    env = make("env_toys:Counter", on_crash="restart", **options)
    twin = make("env_toys:Counter", backend="sync", **options)
    for each in (env, twin):
        each.reset(3)
        go_on(each, 3, seed=1)
    kill(env, 0)
    env.configure({})
    state, cut, uncut = stored(env), go_on(env), go_on(twin)
    assert not same(cut, uncut)
    layouts = [({"half_batches": True}, cut), ({"workers": 1}, uncut), ({"backend": "sync"}, uncut)]
    for layout, expected in layouts:
        other = make("env_toys:Counter", **options, **layout)
        other.load_state_dict(state)
        assert same(go_on(other), expected)


@pytest.mark.parametrize("half_batches", [False, True])
def test_a_checkpoint_after_a_restart_between_two_steps(make, half_batches):
    options = {"on_crash": "restart", "half_batches": half_batches, "kwargs": {"length": 5}}
    env, again = make("env_toys:Counter", **options), make("env_toys:Counter", **options)
    env.reset(3)
    env.configure({"gain": 2.0})
    go_on(env, 7)
    kill(env, 0)
    env.configure({"gain": 3.0})
    again.load_state_dict(stored(env))
    assert same(go_on(env), go_on(again))


def test_a_worker_that_died_meanwhile_is_noticed_by_the_checkpoint(make):
    """Environments that save themselves are asked for it."""
    env, again = (make("env_toys:Savable", on_crash="restart") for _ in range(2))
    env.reset(3)
    go_on(env, 3)
    kill(env, 1)
    state = stored(env)
    again.load_state_dict(state)
    still = torch.zeros(4, 1)
    cut, other = env.step(still), again.step(still)
    assert other.valid.tolist() == [True, True, False, False]
    assert same(everything(cut), everything(other))
    assert same(go_on(env), go_on(again))
    with pytest.raises(RunError, match=r"env\.workers: .* resume with as many workers"):
        make("env_toys:Savable", workers=1).load_state_dict(state)
    strict = make("env_toys:Savable")
    strict.reset(0)
    kill(strict, 1)
    with pytest.raises(RunError, match="was not being stepped when its process was killed by SIGKILL"):
        strict.state_dict()


def test_refused_parameters_are_not_kept(make):
    env = make("env_toys:Counter", on_crash="restart")
    env.reset(0)
    env.configure({"gain": 2.0})
    for dead in (False, True):
        if dead:
            kill(env, 0)
        with pytest.raises(UserError, match="no parameter 'lenght'"):
            env.configure({"lenght": 1})
        assert env.state_dict()["params"] == {"gain": 2.0}
    assert env.step(zeros()).valid.tolist() == [False, False, True, True]
    assert env.step(zeros() + 1).reward.tolist() == [2.0, 2.0, 1.0, 1.0]


def test_an_environment_may_keep_its_action(make):
    ours, theirs = make("worker_toys:Smooth"), make("worker_toys:Smooth", backend="sync")
    assert same(trace(ours, 8), trace(theirs, 8))


def test_a_program_that_outlives_its_environment_does_not_hide_the_crash(make, tmp_path):
    held = tmp_path / "held"
    os.mkfifo(held)
    writing = os.open(held, os.O_RDWR)
    try:
        env = make("worker_toys:Parent", n=1, kwargs={"held": str(held)})
        env.reset(0)
        with pytest.raises(RunError, match="SIGKILL"):
            env.step(zeros(1))
    finally:
        os.close(writing)


def test_all_copies_are_closed_after_one_failed(make, tmp_path):
    env = make("worker_toys:Closing", n=2, kwargs={"folder": str(tmp_path)})
    env.reset(0)
    with pytest.raises(RunError, match="roof fell in"):
        env.step(torch.tensor([2, 0]))
    env.close()
    assert {int(file.name) for file in tmp_path.iterdir()} == {each.process.pid for each in env._workers}


def test_a_copy_that_never_ends_its_step_is_not_waited_for(make, tmp_path, monkeypatch):
    monkeypatch.setattr("proximo.envs.workers.SECONDS_TO_END", 0.0)
    env = make("worker_toys:Closing", n=2, kwargs={"folder": str(tmp_path)})
    env.reset(0)
    with pytest.raises(RunError, match="roof fell in"):
        env.step(torch.tensor([2, 1]))
    env.close()
    assert [int(file.name) for file in tmp_path.iterdir()] == [env._workers[0].process.pid]


def test_what_cannot_be_sent_is_not_waited_for(make, tmp_path):
    env = make("worker_toys:Closing", n=2, kwargs={"folder": str(tmp_path)})
    with pytest.raises(RunError, match="object cannot be sent"):
        env.configure({"gain": object()})
    env.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_no_string_among_the_places_of_imports(make, monkeypatch):
    """Python passes over it, so do workers."""
    monkeypatch.setattr(sys, "path", [Path("nowhere"), *sys.path])
    assert make("env_toys:Counter", n=1, workers=1).reset(0)["obs"].shape == (1, 2)
