"""The batch simulator: bit for bit the single one, resumable, chosen by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proximo.config.experiment import EnvConfig
from proximo.core.types import VecEnv
from proximo.envs.make import choose_backend, make_env
from proximo.envs.therapy.batch import BatchTherapy
from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.env import TherapyEnv
from proximo.envs.therapy.parameters import MECHANISMS, PATTERNS, Parameters
from proximo.envs.therapy.sight import OMNISCIENT, SUMMARY
from proximo.errors import RunError, UserError

ID = "proximo/Therapy-v0"
OMNISCIENT_WRAPPER = ({"name": OMNISCIENT},)
SUMMARY_WRAPPER = ({"name": SUMMARY},)
ALL_IN_ONE = ({"name": SUMMARY, "kwargs": {"omniscient": True}},)


def make(count=4, backend="batch", wrappers=(), info=(), **kwargs):
    config = EnvConfig(
        id=ID, num_envs=count, backend=backend, kwargs=kwargs, wrappers=wrappers, info=tuple(info)
    )
    return make_env(config)


def actions(count, generator):
    return torch.from_numpy(generator.integers(0, 8, count))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_thousand_episodes_are_bit_for_bit_the_single_clients(mechanism):
    # 200 for each of five mechanisms; benchmarks/therapy_speed.py plays them at full length.
    parameters = {"mechanism": mechanism, "patterns": PATTERNS, "max_sessions": 10, "threshold": 0.5}
    batch, single = Clients(200, Parameters(**parameters)), TherapyEnv(**parameters)
    batch.begin(np.arange(200) + 1000)
    given = np.random.default_rng(0).integers(0, 8, (10, 200))
    first = batch.observe()
    played = []
    for row in given:
        outcome = batch.step(row)
        played.append((outcome, batch.observe()))
    for index in range(200):
        obs, _ = single.reset(seed=1000 + index)
        seen = first
        for session in range(10):
            for key, value in obs.items():
                assert np.array_equal(value, seen[key][index])
            obs, reward, terminated, truncated, info = single.step(given[session, index])
            outcome, seen = played[session]
            assert reward == outcome.reward[index]
            assert (info["rs"], info["bond"]) == (outcome.rs[index], outcome.bond[index])
            assert info["perceived_action"] == outcome.perceived[index]
            assert terminated == (outcome.success | outcome.dropped_out)[index]
            assert truncated == outcome.max_reached[index]
            if terminated or truncated:
                break


@pytest.mark.parametrize(
    "wrappers",
    [(), OMNISCIENT_WRAPPER, SUMMARY_WRAPPER, ALL_IN_ONE],
    ids=["plain", "omniscient", "summary", "all in one"],
)
def test_both_backends_give_the_same_data(wrappers):
    info = ("rs", "is_success", "progress", "progress_before", "dropped_out", "missing")
    envs = [make(6, b, wrappers, info, max_sessions=11, threshold=0.5) for b in ("batch", "sync")]
    first, second = (env.reset(3) for env in envs)
    assert set(first) == set(second)
    assert envs[0].spec.obs_spaces == envs[1].spec.obs_spaces
    generator, ends = np.random.default_rng(1), 0
    for step in range(40):
        if step == 20:
            for env in envs:
                env.configure({"max_sessions": 7, "mechanism": "conditional_amplifier"})
        action = actions(6, generator)
        a, b = (env.step(action) for env in envs)
        for key in a.obs:
            assert torch.equal(a.obs[key], b.obs[key]), key
            assert torch.equal(a.final.obs[key], b.final.obs[key]), key
            assert a.obs[key].dtype == b.obs[key].dtype
        assert torch.equal(a.final.index, b.final.index)
        for name in ("reward", "terminated", "truncated", "valid"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert set(a.info) == set(b.info)
        for name in a.info:
            torch.testing.assert_close(a.info[name], b.info[name], rtol=0, atol=0, equal_nan=True)
        ends += len(a.final.index)
    assert ends > 15


def test_auto_takes_it_where_it_can():
    def chosen(**config):
        return choose_backend(EnvConfig(id=ID, **config))[0]

    assert chosen() == "batch"
    assert chosen(wrappers=OMNISCIENT_WRAPPER) == "batch"
    assert chosen(wrappers=ALL_IN_ONE) == "batch"
    assert chosen(wrappers=({"name": SUMMARY, "kwargs": {"other": 1}},)) == "sync"
    assert chosen(wrappers=OMNISCIENT_WRAPPER + SUMMARY_WRAPPER) == "sync"
    assert chosen(wrappers=({"name": "FlattenObservation"},)) == "sync"
    assert chosen(max_episode_steps=5) == "sync"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"wrappers": ({"name": "FlattenObservation"},)}, "of env.wrappers it takes"),
        ({"max_episode_steps": 5}, r"takes no env.max_episode_steps \(.*\); set env.backend=sync"),
        ({"kwargs": {"threshold": 2}}, "threshold must be"),
        ({"kwargs": {"pattern": "x"}}, "did you mean patterns"),
    ],
)
def test_what_it_refuses(config, why):
    with pytest.raises(UserError, match=why):
        make_env(EnvConfig(id=ID, backend="batch", **config))


def test_the_contract():
    env = make(3, max_sessions=2)
    assert isinstance(env, BatchTherapy)
    assert isinstance(env, VecEnv)
    with pytest.raises(RunError, match="reset must be called before step"):
        env.step(torch.zeros(3, dtype=torch.int64))
    obs = env.reset(0)
    kept = {key: value.clone() for key, value in obs.items()}
    env.step(torch.zeros(3, dtype=torch.int64))
    step = env.step(torch.zeros(3, dtype=torch.int64))
    assert all(torch.equal(obs[key], kept[key]) for key in obs)
    assert step.truncated.all()
    assert (step.final.obs["session_number"] == 1).all()
    assert (step.obs["session_number"] == 0).all()
    assert (step.obs["history"] == 8).all()
    assert (step.final.obs["history"][:, :4] != 8).all()
    with pytest.raises(RunError, match="actions have shape"):
        env.step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(RunError, match=r"environment 1 \(episode 1\): action 9 is none of 0 to 7"):
        env.step(torch.tensor([0, 9, 0]))
    with pytest.raises(RunError, match="nothing to render"):
        env.render()


def test_where_copies_run_does_not_matter():
    config = EnvConfig(id=ID, backend="batch")
    all_of_them = make_env(config, num_envs=6).reset(4)
    later = make_env(config, num_envs=2, first_env=4).reset(4)
    assert all(torch.equal(later[key], value[4:]) for key, value in all_of_them.items())


def test_saved_and_loaded_it_goes_on_bitwise():
    first, generator = make(5, max_sessions=15), np.random.default_rng(2)
    first.reset(6)
    for _ in range(20):
        first.step(actions(5, generator))
    first.configure({"threshold": 0.4, "patterns": ["conflictual"], "utility_width": 5.0})
    saved = first.state_dict()
    later = [actions(5, generator) for _ in range(40)]
    wanted = [first.step(action) for action in later]
    second = make(5, max_sessions=15)
    second.load_state_dict(saved)
    for action, want in zip(later, wanted, strict=True):
        got = second.step(action)
        assert all(torch.equal(got.obs[key], want.obs[key]) for key in want.obs)
        assert torch.equal(got.reward, want.reward)
        assert torch.equal(got.final.index, want.final.index)
    assert sum(len(want.final.index) for want in wanted) > 10
    with pytest.raises(RunError, match="holds 5 environments"):
        make(4).load_state_dict(saved)
    with pytest.raises(RunError, match="not made with env"):
        make(5).load_state_dict({"seed": 1, "episode": [0] * 5})


def test_parameters_are_checked_when_they_are_given():
    for backend in ("batch", "sync"):
        env = make(2, backend)
        env.reset(0)
        with pytest.raises(UserError, match="threshold must be"):
            env.configure({"threshold": 7})
        with pytest.raises(UserError, match="no such parameter; did you mean mechanism"):
            env.configure({"mechanisms": "bond_only"})


def test_it_draws_its_first_client():
    env = make_env(EnvConfig(id=ID, num_envs=2), render_mode="rgb_array")
    env.reset(0)
    before = env.render()
    env.step(torch.tensor([1, 1]))
    assert env.render().shape == (320, 640, 3)
    assert not np.array_equal(before, env.render())
