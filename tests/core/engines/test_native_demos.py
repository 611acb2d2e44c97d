"""The kernels on minibatches that mix fresh and recorded rows, against the eager engine."""

import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.engines.eager import Eager
from proximo.core.engines.native import Native
from proximo.core.engines.native.library import INSTALL, library
from proximo.core.evaluate import evaluate
from proximo.core.timer import Timer
from proximo.core.warm_start import WarmStart
from proximo.demos.dataset import Dataset
from proximo.demos.source import DemoSource

pytestmark = pytest.mark.skipif(library() is None, reason=f"the native kernels are not built: {INSTALL}")

CLONE = {"clone": {"type": "cloning", "weight": 0.3}}
CASES = {
    "categorical": ("CartPole-v1", 0.5, {}, {"losses": CLONE}),
    "gaussian": ("Pendulum-v1", 0.5, {}, {"losses": CLONE}),
    "few recorded rows": ("CartPole-v1", 0.05, {"minibatch_size": 48}, {}),
    "mostly recorded rows": ("Pendulum-v1", 0.97, {}, {}),
    "short last minibatch": ("CartPole-v1", 0.25, {"minibatch_size": 56}, {"losses": CLONE}),
    "raw advantages": ("Pendulum-v1", 0.5, {"normalize_advantage": "none"}, {}),
    "target kl": ("CartPole-v1", 0.5, {"target_kl": 0.002, "learning_rate": 1e-2}, {}),
    "data alone": ("Pendulum-v1", 1.0, {}, {"losses": CLONE}),
    "data alone, target kl": ("CartPole-v1", 1.0, {"target_kl": 0.002, "learning_rate": 1e-2}, {}),
    "cloning alone": ("CartPole-v1", 1.0, {"surrogate": False, "value_coef": 0.0}, {"losses": CLONE}),
    "cloning and values": ("Pendulum-v1", 1.0, {"surrogate": False}, {"losses": CLONE}),
}


def recorded(built, rows=400):
    """Episodes of 50 steps, made up, with the actions of somebody else."""
    generator = torch.Generator().manual_seed(3)
    spec = built.env.spec
    width = spec.obs_spaces["obs"].shape[0]
    ends = torch.zeros(rows, dtype=torch.bool)
    ends[49::50] = True
    if built.policy.head.form == "unclipped":
        action = torch.randn(rows, 1, generator=generator)
    else:
        action = torch.randint(0, 2, (rows,), generator=generator)
    return Dataset(
        obs={"obs": torch.randn(rows, width, generator=generator)},
        action=action,
        reward=torch.randn(rows, generator=generator),
        terminated=ends,
        truncated=torch.zeros(rows, dtype=torch.bool),
        final_obs={"obs": torch.randn(rows // 50, width, generator=generator)},
        logp=-1.0 + 0.3 * torch.randn(rows, generator=generator),
        form=built.policy.head.form,
        stored=built.policy.head.form,
    )


def prepared(env, mix, ppo, rest):
    """Parts and the units of both sources, a step away from the first policy."""
    experiment = Experiment(
        env={"id": env, "num_envs": 4},
        engine="eager",
        ppo={"num_steps": 32, "minibatch_size": 64, "epochs": 3, "entropy_coef": 0.01, **ppo},
        # Not read: the data are given below.
        demos={"unread": {"datasets": ["made/up/here-v0"], "mix_ratio": 0.0}},
        **rest,
    )
    built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    parts = built.ppo.parts
    demos = DemoSource(recorded(built), 32, 4, 0, behavior="recorded", rho_bar=1.5, ood=True)
    sources = [demos] if mix == 1.0 else [*parts.sources, demos]
    parts.batching.shares = {"demos": mix}
    units = []
    rollouts = [source.collect(built.policy) for source in sources]
    with torch.no_grad():
        for parameter in built.policy.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            parameter.add_(noise, alpha=0.02)
    for source, rollout in zip(sources, rollouts, strict=True):
        rollout.rewards = {term.name: term(rollout) for term in parts.terms}
        units.append(
            parts.batching.units(evaluate(built.policy, rollout, source, parts.streams, parts.terms))
        )
    for part in units:
        part.fields = {
            name: entry.double() if entry.is_floating_point() else entry
            for name, entry in part.fields.items()
        }
    built.policy.double()
    return built, units, parts.plan


def learn(engine, built, units, plan):
    parts = built.ppo.parts
    return engine.learn(built.policy, parts.optimizer, parts.losses, parts.batching, units, plan)


def same(eager, native, expected, got):
    for (name, a), b in zip(eager.policy.named_parameters(), native.policy.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-9, name
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, abs=1e-6), key
    assert eager.ppo.parts.batching.drawn == native.ppo.parts.batching.drawn


@pytest.mark.parametrize("case", CASES)
def test_a_whole_update_in_float64(case):
    """Three epochs of mixed minibatches: parameters to 1e-9, metrics, and permutations used up."""
    eager, units, plan = prepared(*CASES[case])
    native, _, _ = prepared(*CASES[case])
    expected = learn(Eager(), eager, units, plan)
    got = learn(Native(native.policy, torch.float64), native, units, plan)
    same(eager, native, expected, got)


@pytest.mark.parametrize("policy", [{}, {"encoder": {"type": "mlp"}, "share_encoder": True}])
def test_the_critic_alone(policy):
    """A value warm start, and the update after it."""
    case = ("Pendulum-v1", 0.5, {}, {"losses": CLONE, "policy": policy})
    trained = []
    for _ in range(2):
        built, units, plan = prepared(*case)
        warm = WarmStart(1, built.policy, built.ppo.parts.optimizer)
        engine = Native(built.policy, torch.float64) if trained else Eager()
        before = [parameter.clone() for parameter in built.policy.actor_parameters()]
        learn(engine, built, units, plan)
        after = built.policy.actor_parameters()
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        warm.count()
        metrics = learn(engine, built, units, plan)
        assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        trained.append((built, metrics))
    (eager, expected), (native, got) = trained
    same(eager, native, expected, got)
