"""Collecting beside learning: rows one update old, the same numbers whichever side is faster."""

from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.overlap import OverlappedCollector
from proximo.core.timer import Timer
from proximo.core.types import Comparison
from proximo.errors import RunError
from proximo.launch import train

TOYS = str(Path(__file__).parents[1] / "toys.py")


class AtOnce:
    """An executor that does the work when it is given, before the learner goes on."""

    def submit(self, function, *args):
        done = Future()
        done.set_result(function(*args))
        return done


def parts(env="CartPole-v1", engine="eager", policy=None, **ppo):
    experiment = Experiment(
        env={"id": env, "num_envs": 4},
        policy={"hidden_sizes": (16,), **(policy or {})},
        ppo={"num_steps": 32, "minibatch_size": 32, "epochs": 2, "overlap": True, **ppo},
        engine=engine,
    )
    return build(experiment, torch.device("cpu"), Timer(), lambda line: None)


def vector(policy):
    return torch.cat([p.detach().flatten().clone() for p in policy.parameters()])


CASES = [
    ("CartPole-v1", "eager", {}),
    ("CartPole-v1", "native", {}),
    ("Pendulum-v1", "native", {}),
    ("CartPole-v1", "eager", {"memory": {"type": "gru", "size": 8}}),
]


@pytest.mark.parametrize(("env", "engine", "policy"), CASES)
def test_the_numbers_do_not_depend_on_which_side_is_faster(env, engine, policy):
    beside, before = parts(env, engine, policy), parts(env, engine, policy)
    before.collector._thread = AtOnce()
    for _ in range(4):
        first, second = beside.ppo.iterate(), before.ppo.iterate()
        assert first == second
    assert torch.equal(vector(beside.policy), vector(before.policy))
    beside.collector.close()


@pytest.mark.parametrize("engine", ["eager", "native"])
def test_rows_are_acted_with_the_parameters_before_the_last_update(engine):
    built = parts(engine=engine)
    learner, collector = built.ppo.parts.policy, built.collector
    before = None
    for number in range(3):
        # What `collect` begins now is acted with the parameters of now and returned one update later.
        current = {name: entry.clone() for name, entry in built.policy.state_dict().items()}
        rollout = collector.collect(learner)
        used = before or current
        elsewhere = parts(engine="eager").policy
        elsewhere.load_state_dict(used)
        obs = elsewhere.normalize(rollout.obs)
        logp = elsewhere.compute(obs, {}, rollout.start).dist.log_prob(rollout.action)
        assert (logp - rollout.logp_behavior).abs().max() < 1e-5, number
        before = current
        with torch.no_grad():
            for parameter in built.policy.parameters():
                parameter.add_(0.05)
        built.policy.observe(rollout)
    collector.close()


def test_ratios_are_capped_at_one_and_weigh_nothing_twice():
    old, behavior = torch.tensor([[-1.0, -2.0]]), torch.tensor([[-2.0, -1.0]])
    given = parts().collector.correct(Comparison(old, behavior))
    assert torch.allclose(given.rho, torch.tensor([[1.0, 0.36787944]]))
    assert torch.equal(given.rho, given.c)
    assert given.surrogate_weight is None


def test_learning_rate_zero_is_exactly_on_policy():
    """Parameters and statistics that never move make lag invisible: ρ = c = 1 up to rounding."""
    built = parts(policy={"normalize_obs": False})
    built.ppo.parts.optimizer.base_rate = 0.0
    built.ppo.parts.optimizer.set_rate(0.0)
    for _ in range(3):
        metrics = built.ppo.iterate()
        assert abs(metrics["kl"]) < 1e-6
        assert metrics["clip_fraction"] == 0.0
    built.collector.close()


def test_the_rollout_that_is_learnt_from_is_not_overwritten():
    built = parts()
    collector = built.collector
    first = collector.collect(built.ppo.parts.policy)
    kept = {name: entry.clone() for name, entry in vars(first).items() if isinstance(entry, torch.Tensor)}
    obs, last = first.obs["obs"].clone(), first.last_obs["obs"].clone()
    collector.settle()
    for name, entry in kept.items():
        assert torch.equal(entry, getattr(first, name)), name
    assert torch.equal(first.obs["obs"], obs)
    assert torch.equal(first.last_obs["obs"], last)
    collector.close()


def test_what_collecting_raises_reaches_the_caller():
    built = parts(f"{TOYS}:Identity")
    collector: OverlappedCollector = built.collector
    collector.collect(built.ppo.parts.policy)
    collector.settle()

    def broken(action):
        raise RunError("the robot fell over")

    built.env.step = broken
    collector.collect(built.ppo.parts.policy)
    with pytest.raises(RunError, match="fell over"):
        collector.collect(built.ppo.parts.policy)
    collector.close()


def test_it_learns(tmp_path):
    experiment = Experiment(
        env={"id": f"{TOYS}:Identity", "num_envs": 8},
        policy={"hidden_sizes": (32,)},
        ppo={
            "num_steps": 32,
            "minibatch_size": 64,
            "epochs": 4,
            "total_steps": 12_000,
            "learning_rate": 3e-3,
            "overlap": True,
        },
        eval={"episodes": 10},
        runs_dir=str(tmp_path),
    )
    assert train(experiment, verbosity=-1).return_mean > 15.0
