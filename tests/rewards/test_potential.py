"""Potential-based shaping changes no advantage, whatever the potential and wherever episodes end."""

import csv
from types import SimpleNamespace

import pytest
import torch

from proximo import Experiment, load_experiment, train
from proximo.core.returns import estimate
from proximo.errors import RunError, UserError
from proximo.rewards.terms import PotentialReward

T, N, GAMMA = 40, 5, 0.9


@pytest.fixture
def rollout():
    """Random potentials that fit together: what is after a step is before the next, unless the episode ended."""
    drawn = torch.Generator().manual_seed(7)
    phi = torch.randn(T + 1, N, generator=drawn)
    ends = torch.rand(T, N, generator=drawn)
    terminated, truncated = ends < 0.15, (ends >= 0.15) & (ends < 0.3)
    after = torch.where(terminated | truncated, torch.randn(T, N, generator=drawn), phi[1:])
    return SimpleNamespace(
        source="env",
        reward=torch.randn(T, N, generator=drawn),
        terminated=terminated,
        truncated=truncated,
        done=terminated | truncated,
        valid=torch.ones(T, N, dtype=torch.bool),
        info={"after": after, "before": phi[:-1].clone()},
        drawn=drawn,
    )


def term(gamma=GAMMA):
    return PotentialReward("shaping", "task", 1.0, gamma, "after", "before")


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_advantages_are_those_of_the_task_alone(rollout, lam):
    """With the values V − Φ that the shaped task has, at terminations, truncations and the rollout's horizon."""
    value = torch.randn(T, N, generator=rollout.drawn)
    next_value = torch.randn(T, N, generator=rollout.drawn)
    ends = (rollout.terminated, rollout.done, None, None)
    plain, _ = estimate(rollout.reward, value, next_value, *ends, gamma=GAMMA, lam=lam)
    shaped, _ = estimate(
        rollout.reward + term()(rollout),
        value - rollout.info["before"],
        next_value - rollout.info["after"],
        *ends,
        gamma=GAMMA,
        lam=lam,
    )
    assert torch.allclose(plain, shaped, atol=1e-5)


def test_an_episode_adds_up_to_minus_its_first_potential(rollout):
    rollout.terminated[:] = False
    rollout.terminated[-1] = True
    rollout.info["after"][:-1] = rollout.info["before"][1:]
    total = (GAMMA ** torch.arange(T)[:, None] * term()(rollout)).sum(0)
    assert torch.allclose(total, -rollout.info["before"][0], atol=1e-5)


def test_rows_that_did_not_happen_give_nothing(rollout):
    rollout.valid[3, 1] = False
    rollout.info["after"][3, 1] = float("nan")
    reward = term()(rollout)
    assert reward[3, 1] == 0.0
    assert torch.isfinite(reward).all()


@pytest.mark.parametrize("told", [None, float("nan")])
def test_a_potential_that_is_not_told(rollout, told):
    if told is None:
        del rollout.info["before"]
    else:
        rollout.info["before"][2, 2] = told
    with pytest.raises(RunError, match=r"rewards.shaping: not every step of the source 'env' .* 'before'"):
        term()(rollout)


STILL = {"prime_steps": 0, "learning_rate": 1e-12}
SHAPING = {"type": "potential", "after": "progress", "before": "progress_before", "weight": 50.0}


def experiment(runs, backend="batch", **rest):
    return Experiment(
        env={
            "id": "proximo/Therapy-v0",
            "num_envs": 2,
            "backend": backend,
            "kwargs": {"max_sessions": 8, "threshold": 0.5, "patterns": ["cold_stuck"]},
        },
        policy={"encoder": {"type": "therapy", "hidden_size": 4}, "hidden_sizes": []},
        ppo={
            "num_steps": 16,
            "minibatch_size": 32,
            "epochs": 1,
            "total_steps": 64,
            "prime_steps": 0,
            "learning_rate": 1e-12,
        },
        eval={"num_evals": 1, "episodes": 2, "random_episodes": 2},
        threads=1,
        runs_dir=str(runs),
        **rest,
    )


def rows(result):
    with (result.run / "progress.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("backend", ["batch", "sync"])
def test_it_is_in_what_is_learnt_from_and_in_no_return(tmp_path, backend):
    """Learning rate near 0, so that both runs act alike."""
    terms = ({}, {"shaping": SHAPING})
    results = [rows(train(experiment(tmp_path, backend, rewards=r), verbosity=-1)) for r in terms]
    for name in ("return_mean", "eval/return_mean", "eval/length_mean"):
        assert [row[name] for row in results[0]] == [row[name] for row in results[1]]
    assert [row["reward_mean"] for row in results[0]] != [row["reward_mean"] for row in results[1]]
    assert results[0][0].keys() == results[1][0].keys()


def test_it_needs_a_stream_whose_episodes_end(tmp_path):
    with pytest.raises(UserError, match=r"rewards.shaping.stream: .* episodic"):
        load_experiment(
            {
                "env": {"id": "CartPole-v1"},
                "streams": {"more": {"episodic": False}},
                "rewards": {"shaping": {**SHAPING, "stream": "more"}},
            }
        )


def test_an_environment_without_the_number(tmp_path):
    bad = experiment(tmp_path, rewards={"shaping": {**SHAPING, "after": "progres"}})
    with pytest.raises(RunError, match="'progres'"):
        train(bad, verbosity=-1)
