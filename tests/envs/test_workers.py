"""Environments in worker processes: the same numbers as in this one, whatever happens to the processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_replay import play, same

from proximo.config.experiment import EnvConfig
from proximo.core.types import VecEnv
from proximo.envs.ahead import expensive
from proximo.envs.check import random_action
from proximo.envs.make import choose_backend, make_env
from proximo.errors import RunError, UserError

HERE = Path(__file__).parent


@pytest.fixture
def make():
    """Environments that are closed at the end of the test."""
    made = []

    def one(env_id, n=5, workers=2, backend="workers", training=True, render_mode=None, **options):
        given = {"workers": workers, **options} if backend == "workers" else options
        config = EnvConfig(id=env_id, num_envs=n, backend=backend, **given)
        env = make_env(config, training=training, render_mode=render_mode)
        made.append(env)
        return env

    yield one
    for env in made:
        env.close()


def everything(step):
    tensors = [step.reward, step.terminated, step.truncated, step.valid, step.final.index]
    tensors += [*step.obs.values(), *step.final.obs.values(), *step.info.values()]
    return [torch.nan_to_num(tensor.float(), nan=-77.0).clone() for tensor in tensors]


def trace(env, steps, seed=3, after=None):
    """All that comes out of `steps` random steps."""
    generator = torch.Generator().manual_seed(1)
    obs = env.reset(seed)
    out = [tensor.clone().float() for tensor in obs.values()]
    for number in range(steps):
        if after is not None and number == steps // 2:
            env.configure(after)
        out += everything(env.step(random_action(env, generator)))
    return out


CASES = {
    "CartPole-v1": {},
    "Pendulum-v1": {"max_episode_steps": 13},
    "env_toys:Counter": {"info": ("level",), "kwargs": {"length": 4}},
    "env_toys:Nested": {},
    "env_toys:InfoMasked": {"kwargs": {"length": 2}},
    "env_toys:Multi": {"kwargs": {"kind": "multi"}, "max_episode_steps": 3},
    "env_toys:Multi ": {"kwargs": {"kind": "box"}, "max_episode_steps": 3},
    "env_toys:EnvToysCounter-v0": {"wrappers": ({"name": "env_toys:Bonus", "kwargs": {"amount": 2.0}},)},
    "CartPole-v1 ": {"wrappers": ({"name": "FrameStackObservation", "kwargs": {"stack_size": 3}},)},
    "Taxi": {},
}


@pytest.mark.parametrize("case", CASES)
def test_same_trajectories_as_in_this_process(make, case):
    env_id, options = case.strip(), CASES[case]
    ours = make(env_id, half_batches=list(CASES).index(case) % 2 == 1, **options)
    theirs = make(env_id, backend="sync", **options)
    assert isinstance(ours, VecEnv)
    assert ours.spec.obs_spaces == theirs.spec.obs_spaces
    assert ours.spec.action_space == theirs.spec.action_space
    assert ours.spec.mask_key == theirs.spec.mask_key
    expected = trace(theirs, 60)
    got = trace(ours, 60)
    assert same(got, expected)
    assert same(trace(ours, 20, seed=4), trace(theirs, 20, seed=4)), "a second reset begins afresh"


def test_rows_depend_on_their_global_index_only():
    config = EnvConfig(id="env_toys:Counter", num_envs=2, backend="workers", workers=2)
    part, whole = make_env(config, first_env=3), make_env(config, num_envs=5)
    assert torch.equal(part.reset(5)["obs"], whole.reset(5)["obs"][3:])
    part.close()
    whole.close()


def test_parameters_from_the_next_reset_on(make):
    ours, theirs = (make("env_toys:Counter", backend=name) for name in ("workers", "sync"))
    assert same(trace(ours, 12, after={"gain": 3.0}), trace(theirs, 12, after={"gain": 3.0}))
    with pytest.raises(UserError, match="no parameter 'lenght'; did you mean 'length'"):
        ours.configure({"lenght": 1})
    assert same(trace(ours, 6), trace(theirs, 6)), "what was refused changes nothing"


def test_what_was_returned_never_changes(make):
    env = make("env_toys:Counter", info=("level",))
    kept, copies = [], []
    env.reset(0)
    for _ in range(5):
        step = env.step(torch.ones(5, dtype=torch.int64))
        tensors = [step.obs["obs"], step.reward, step.terminated, step.final.obs["obs"], step.info["level"]]
        kept += tensors
        copies += [tensor.clone() for tensor in tensors]
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(kept, copies, strict=True))


def test_workers_are_processes_without_pytorch(make):
    env = make("env_toys:Telling", n=4)
    env.reset(0)
    obs = env.step(torch.zeros(4, dtype=torch.int64)).obs["obs"]
    assert obs[:, 0].tolist() == [0.0] * 4
    pids = set(obs[:, 1].tolist())
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    ("env_id", "first", "second"),
    [
        ("env_toys:Nested", "workers", "sync"),
        ("Pendulum-v1", "sync", "workers"),
        ("env_toys:Savable", "workers", "workers"),
    ],
)
def test_goes_on_as_if_never_stopped(make, env_id, first, second):
    """Between backends too, and whatever the number of workers."""
    ours, again = make(env_id, backend=first), make(env_id, backend=second)
    ours.reset(11)
    play(ours, 7, 1)
    again.load_state_dict(ours.state_dict())
    assert same(play(ours, 20, 2), play(again, 20, 2))
    third = make(env_id, workers=1, half_batches=True)
    third.load_state_dict(again.state_dict())
    assert same(play(ours, 20, 2), play(third, 20, 2))


def test_an_environment_that_does_not_repeat_itself_is_named(make):
    env, other = make("env_toys:Forgetful", n=2), make("env_toys:Forgetful", n=2, workers=1)
    env.reset(0)
    play(env, 2, 1)
    with pytest.raises(RunError, match=r"environment 1 .*observation 'obs' differs.*state_dict"):
        other.load_state_dict(env.state_dict())
    with pytest.raises(RunError, match=r"holds 2 environments, but env\.num_envs is 3"):
        make("env_toys:Forgetful", n=3).load_state_dict(env.state_dict())


@pytest.mark.parametrize("how", ["raise", "exit", "kill", "segfault"])
def test_a_crash_is_one_line_with_copy_seed_and_action(make, how):
    env = make("env_toys:Deadly", n=6, kwargs={"how": how})
    with pytest.raises(RunError) as caught:
        trace(env, 30)
    text = str(caught.value)
    words = {
        "raise": "raised ValueError: the roof fell in",
        "exit": "took its process with it, which ended with exit code 3",
        "kill": "which was killed by SIGKILL",
        "segfault": "which was killed by SIGSEGV",
    }
    assert words[how] in text
    assert "\n" not in text
    twin = make("env_toys:Deadly", n=6, backend="sync")
    with pytest.raises(RunError) as there:
        trace(twin, 30)
    named = str(there.value).partition(" raised")[0]
    assert text.startswith(named), "environment, episode, seed, step and action are those of the culprit"


def test_a_worker_killed_from_outside_is_told(make):
    env = make("env_toys:Telling", n=4)
    env.reset(0)
    act = torch.tensor([0, 1, 2, 0])
    os.kill(int(env.step(act).obs["obs"][3, 1]), signal.SIGKILL)
    with pytest.raises(RunError, match=r"environment 3 \(episode 0, seed \d+\), step 2, action 0, .*SIGKILL"):
        env.step(act)


def test_what_cannot_be_made_is_told_as_in_this_process(make):
    for wrong in ({"kwargs": {"lenght": 1}}, {"wrappers": ({"name": "Nonsense"},)}):
        texts = []
        for backend in ("sync", "workers"):
            with pytest.raises(UserError) as caught:
                make("env_toys:Counter", backend=backend, **wrong)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
    with pytest.raises(RunError, match="raised OSError: no floor"):
        make("env_toys:Broken", kwargs={"how": "reset"})


@pytest.mark.parametrize("half_batches", [False, True])
def test_restarted_workers_begin_new_episodes(make, tmp_path, capfd, half_batches):
    victim = tmp_path / "victim"
    options = {"how": "kill", "length": 9, "victim": str(victim)}
    env = make("env_toys:Deadly", n=4, kwargs=options, on_crash="restart", half_batches=half_batches)
    before = env.reset(3)["obs"]
    victim.write_text(str(int(before[1, 0])))
    generator, cut = torch.Generator().manual_seed(1), None
    for _ in range(25):
        step = env.step(random_action(env, generator))
        if not step.valid.all():
            assert cut is None
            cut, last = step, before
            state = env.state_dict()
            assert [len(actions) for actions in state["actions"]] == [0 if row else 2 for row in ~step.valid]
        before = step.obs["obs"]
    assert cut is not None
    lost = ~cut.valid
    pattern = [True, False, True, False] if half_batches else [True, True, False, False]
    # Copy 1 dies, and whatever its worker holds goes with it.
    assert lost.tolist() in (pattern, [not entry for entry in pattern])
    assert lost[1]
    assert torch.equal(cut.truncated, lost)
    assert not cut.terminated.any()
    assert torch.equal(cut.final.index, lost.nonzero().flatten())
    assert torch.equal(cut.final.obs["obs"], last[lost]), "the cut episodes end where they were last seen"
    assert cut.obs["obs"][lost, 1].tolist() == [0.0, 0.0]
    assert cut.reward[lost].tolist() == [0.0, 0.0]
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "SIGKILL; its process is started again, its episodes are cut" in err
    again = make("env_toys:Deadly", n=4, kwargs=options)
    again.load_state_dict(env.state_dict())
    assert same(play(env, 12, 2), play(again, 12, 2)), "the record of the new episodes is complete"


@pytest.mark.parametrize("half_batches", [False, True])
def test_restarts_leave_the_other_copies_alone(make, half_batches):
    """Worker 0 is killed between two steps; copies that it does not hold notice nothing."""
    options = {"n": 4, "kwargs": {"length": 6}}
    env = make("env_toys:Telling", on_crash="restart", half_batches=half_batches, **options)
    twin = make("env_toys:Counter", backend="sync", **options)
    env.reset(0)
    twin.reset(0)
    ones = torch.ones(4, dtype=torch.int64)
    lost = torch.tensor([True, False, True, False] if half_batches else [True, True, False, False])
    ends = []
    for number in range(20):
        step, other = env.step(ones), twin.step(ones)
        assert torch.equal(step.terminated[~lost], other.terminated[~lost])
        assert torch.equal(~step.valid, lost & (number == 8))
        assert torch.equal(step.truncated, lost & (number == 8))
        if number == 7:
            os.kill(int(step.obs["obs"][0, 1]), signal.SIGKILL)
        ends.append(bool(step.terminated[0]))
    assert [number for number, end in enumerate(ends) if end] == [5, 14]


def test_restarting_again_and_again_ends(make):
    env = make("env_toys:Deadly", n=2, workers=1, kwargs={"how": "exit"}, on_crash="restart")
    with pytest.raises(RunError, match=r"exit code 3; it was started again only [12] steps before"):
        trace(env, 200)


@pytest.mark.parametrize("half_batches", [False, True])
def test_resets_ahead_change_nothing(make, half_batches):
    options = {"kwargs": {"length": 3, "work": 2000}}
    ahead = make("env_toys:Burner", reset_ahead=True, half_batches=half_batches, **options)
    plain = make("env_toys:Burner", backend="sync", **options)
    after = {"length": 2}
    assert same(trace(ahead, 40, after=after), trace(plain, 40, after=after))
    again = make("env_toys:Burner", reset_ahead=True, **options)
    again.load_state_dict(ahead.state_dict())
    assert same(play(ahead, 12, 5), play(again, 12, 5))


def test_spares_are_used(make):
    """Copy and spare take turns, so each object is reset half as often."""
    one = torch.ones(1, dtype=torch.int64)
    firsts = {}
    for ahead in (True, False):
        env = make("env_toys:Counting", n=1, reset_ahead=ahead, kwargs={"length": 1})
        env.reset(0)
        firsts[ahead] = []
        for _ in range(6):
            env._workers[0].ask("reset_ahead")
            firsts[ahead].append(int(env.step(one).obs["obs"][0, 0]))
    assert max(firsts[False]) >= 7
    assert max(firsts[True]) <= 5


def test_resets_ahead_only_where_they_are_exact(make):
    with pytest.raises(UserError, match="reset_ahead: env_toys:Savable saves its own state"):
        make("env_toys:Savable", reset_ahead=True)
    env = make("env_toys:Broken", n=1, reset_ahead=True, kwargs={"how": "obs"})
    with pytest.raises(RunError, match="step 2"):
        trace(env, 3)


def test_pictures_come_from_the_first_copy(make):
    env = make("env_toys:Counter", n=2, render_mode="rgb_array")
    env.reset(0)
    env.step(torch.zeros(2, dtype=torch.int64))
    assert env.render().max() == 1
    with pytest.raises(RunError, match="render_mode"):
        make("env_toys:Counter", n=1).render()


def test_wrong_calls(make):
    env = make("env_toys:Counter", n=2)
    with pytest.raises(RunError, match="reset must be called"):
        env.step(torch.zeros(2, dtype=torch.int64))
    env.reset(0)
    with pytest.raises(RunError, match="3 actions for 2"):
        env.step(torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("setting", [{"workers": 2}, {"half_batches": True}, {"on_crash": "restart"}])
def test_settings_of_workers_choose_it_or_are_refused_elsewhere(setting):
    config = EnvConfig(id="CartPole-v1", **setting)
    assert choose_backend(config)[0] == "workers"
    with pytest.raises(UserError, match=f"env.{next(iter(setting))} needs env.backend: workers"):
        choose_backend(config.model_copy(update={"backend": "sync"}))


def test_expensive_environments_get_workers():
    """Decided by the id alone where it is not installed here."""
    assert expensive("MiniHack-Room-5x5-v0")
    assert expensive("nle:NetHackScore-v0")
    assert not expensive("CartPole-v1")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


ORPHANS = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from proximo.config.experiment import EnvConfig
from proximo.envs.make import make_env
env = make_env(EnvConfig(id="env_toys:Telling", num_envs=2, backend="workers", workers=2, kwargs={"length": 9}))
env.reset(0)
obs = env.step(torch.zeros(2, dtype=torch.int64)).obs["obs"]
print(*(int(pid) for pid in obs[:, 1]), flush=True)
if sys.argv[2] == "forget":
    sys.exit()
sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["kill", "forget"])
def test_no_process_outlives_the_learner(end):
    command = [sys.executable, "-W", "error", "-c", ORPHANS, str(HERE), end]
    pipe = subprocess.PIPE
    learner = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    pids = [int(word) for word in learner.stdout.readline().split()]
    assert len(pids) == 2
    if end == "kill":
        assert all(alive(pid) for pid in pids)
        learner.kill()
    _, err = learner.communicate(timeout=60)
    assert err == "", "nothing leaks and nobody complains"
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        os.sched_yield()


def test_signals_of_the_terminal_do_not_reach_the_workers(make):
    env = make("env_toys:Telling", n=2)
    env.reset(0)
    zeros = torch.zeros(2, dtype=torch.int64)
    for pid in env.step(zeros).obs["obs"][:, 1].tolist():
        os.kill(int(pid), signal.SIGINT)
        os.kill(int(pid), signal.SIGTERM)
    assert env.step(zeros).valid.all()
