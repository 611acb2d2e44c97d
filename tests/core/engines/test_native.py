"""The kernels against autograd and the eager engine."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.engines.eager import Eager, Plan
from proximo.core.engines.native import Native
from proximo.core.engines.native.library import INSTALL, library
from proximo.core.engines.native.recursions import NativeRecursions
from proximo.core.evaluate import evaluate
from proximo.core.returns import TORCH
from proximo.core.timer import Timer
from proximo.errors import RunError

pytestmark = pytest.mark.skipif(library() is None, reason=f"the native kernels are not built: {INSTALL}")

TOYS = str(Path(__file__).parents[2] / "toys.py")
TWO_STREAMS = {"streams": {"more": {"gamma": 0.5}}, "rewards": {"again": {"type": "env", "stream": "more"}}}
THREE_STREAMS = {
    "streams": {"more": {"gamma": 0.5}, "still": {"gamma": 0.9, "weight": 0.3, "episodic": False}},
    "rewards": {"again": {"type": "env", "stream": "more"}, "thrice": {"type": "env", "stream": "still"}},
}
CPU = torch.device("cpu")

POLICIES = {
    "separate": ("CartPole-v1", {}, {}),
    "odd widths": ("CartPole-v1", {"hidden_sizes": (7, 33), "value_hidden_sizes": (17,)}, {}),
    "no hidden layer": ("CartPole-v1", {"hidden_sizes": ()}, {}),
    "relu": ("Pendulum-v1", {"activation": "ReLU"}, {}),
    "elu": ("Pendulum-v1", {"activation": "ELU"}, {}),
    "silu": ("Pendulum-v1", {"activation": "SiLU"}, {}),
    "sigmoid": ("Pendulum-v1", {"activation": "Sigmoid"}, {}),
    "leaky": ("Pendulum-v1", {"activation": "LeakyReLU", "hidden_sizes": (64, 64, 64)}, {}),
    "resnet": ("Pendulum-v1", {"encoder": {"type": "resnet_mlp", "features_dim": 24}}, {}),
    "shared resnet": (
        "CartPole-v1",
        {"encoder": {"type": "resnet_mlp", "features_dim": 24}, "share_encoder": True},
        {},
    ),
    "shared mlp": (
        "CartPole-v1",
        {"encoder": {"type": "mlp"}, "share_encoder": True, "hidden_sizes": ()},
        {},
    ),
    "masked": (f"{TOYS}:Masked", {}, {}),
    "one-hot": (f"{TOYS}:Identity", {"normalize_obs": False}, {}),
    "value clip": ("CartPole-v1", {}, {"value_clip": 0.05}),
    "entropy": ("Pendulum-v1", {"head": {"type": "gaussian", "log_std_init": -0.5}}, {"entropy_coef": 0.02}),
    "short last minibatch": ("CartPole-v1", {}, {"minibatch_size": 48}),
    "fewer rows than a minibatch": (
        "CartPole-v1",
        {},
        {"num_steps": 16, "minibatch_size": 64, "value_clip": 0.1},
    ),
    "raw advantages": ("CartPole-v1", {}, {"normalize_advantage": "none", "max_grad_norm": 0.01}),
    "weight decay": ("CartPole-v1", {}, {"weight_decay": 0.1}),
    "target kl": ("CartPole-v1", {}, {"target_kl": 0.002, "learning_rate": 1e-2}),
    "adaptive": ("CartPole-v1", {}, {"lr_schedule": "adaptive", "learning_rate": 1e-3}),
    "two streams": ("CartPole-v1", {}, {"value_clip": 0.05}, TWO_STREAMS),
    "three streams": ("Pendulum-v1", {}, {}, THREE_STREAMS),
}


def prepared(env, policy, ppo, rest=None):
    """Parts, the units of one rollout, and the plan; a step away from the first policy, where ratios differ from 1."""
    experiment = Experiment(
        env={"id": env, "num_envs": 4},
        policy=policy,
        engine="eager",
        ppo={"num_steps": 32, "minibatch_size": 64, "epochs": 3, "entropy_coef": 0.01, **ppo},
        **(rest or {}),
    )
    built = build(experiment, CPU, Timer(), lambda line: None)
    parts = built.ppo.parts
    built.ppo.iterate()
    source = parts.sources[0]
    rollout = source.collect(built.policy)
    rollout.rewards = {term.name: term(rollout) for term in parts.terms}
    with torch.no_grad():
        for parameter in built.policy.parameters():
            parameter.add_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.02
            )
    data = evaluate(built.policy, rollout, source, parts.streams, parts.terms)
    return built, parts.batching.units(data), parts.plan


def to_double(units):
    units = copy.copy(units)
    units.fields = {
        name: entry.double() if entry.is_floating_point() else entry for name, entry in units.fields.items()
    }
    return units


@pytest.fixture(params=[2, 1, 0], ids=["avx512", "avx2", "baseline"])
def level(request):
    if library().proximo_limit(request.param) != request.param:
        library().proximo_limit(2)
        pytest.skip("this processor has not these instructions")
    yield request.param
    library().proximo_limit(2)


def learn_with(engine, built, units, plan):
    parts = built.ppo.parts
    return engine.learn(built.policy, parts.optimizer, parts.losses, parts.batching, [units], plan)


@pytest.mark.parametrize("case", [case for case in POLICIES if case != "one-hot"])
def test_a_whole_update_in_float64(case, level):
    """Three epochs, all minibatches, Adam and stops: parameters, moments and metrics to 1e-9."""
    eager, units, plan = prepared(*POLICIES[case])
    native, _, _ = prepared(*POLICIES[case])
    units = to_double(units)
    for built in (eager, native):
        built.policy.double()
        for state in built.ppo.parts.optimizer.adam.state.values():
            state.update({name: entry.double() for name, entry in state.items() if name != "step"})
    expected = learn_with(Eager(), eager, units, plan)
    got = learn_with(Native(native.policy, torch.float64), native, units, plan)
    for (name, a), b in zip(eager.policy.named_parameters(), native.policy.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-9, name
        state_a, state_b = (x.ppo.parts.optimizer.adam.state[p] for x, p in ((eager, a), (native, b)))
        for key in ("exp_avg", "exp_avg_sq", "step"):
            assert (state_a[key] - state_b[key]).abs().max() < 1e-9, (name, key)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, abs=1e-6), key
    assert eager.ppo.parts.optimizer.learning_rate == pytest.approx(native.ppo.parts.optimizer.learning_rate)


@pytest.mark.parametrize("case", POLICIES)
def test_first_gradient_in_float32(case, level):
    built, units, _ = prepared(*POLICIES[case])
    plan = Plan(1)
    parts = built.ppo.parts
    batch = next(iter(parts.batching.epoch([units])))
    parts.batching.drawn -= 1
    parts.batching.size = units.count
    output = built.policy.compute(batch.obs, batch.state, batch.start)
    whole = next(iter(parts.batching.epoch([units])))
    parts.batching.drawn -= 1
    output = built.policy.compute(whole.obs, whole.state, whole.start)
    loss = sum(term.weight * term(output, whole)[0] for term in parts.losses)
    expected = torch.autograd.grad(loss, list(built.policy.parameters()))
    names = dict(zip(built.policy.parameters(), expected, strict=True))
    engine = Native(built.policy)
    engine.gradient = torch.zeros(engine.model.size)
    learn_with(engine, built, units, plan)
    for parameter, view in engine.model.views(engine.gradient):
        assert (view - names[parameter]).abs().max() < 1e-5


@pytest.mark.parametrize("case", POLICIES)
def test_acting_and_values(case, level):
    built, _, _ = prepared(*POLICIES[case])
    policy = built.policy
    native = Native(copy.deepcopy(policy)).policy(policy)
    obs = built.collector.obs
    start = built.collector.start
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = torch.rand(4, policy.noise.dim, generator=generator)
        with torch.no_grad():
            expected, got = policy.act(obs, {}, start, noise), native.act(obs, {}, start, noise)
            again = policy.compute(policy.normalize(obs), {}, start).dist.log_prob(got.action)
        assert torch.allclose(expected.action.float(), got.action.float(), atol=1e-5)
        assert torch.allclose(again, got.logp, atol=1e-5)
    with torch.no_grad():
        mode = policy.act(obs, {}, start, None).action
        assert torch.allclose(mode.float(), native.act(obs, {}, start, None).action.float(), atol=1e-5)
        seen = {key: entry[None].expand(7, *entry.shape) for key, entry in policy.normalize(obs).items()}
        rows = (torch.tensor([3, 6]), torch.tensor([0, 1]))
        extra = {key: entry[:2] for key, entry in policy.normalize(obs).items()}
        args = (seen, {}, start.expand(7, 4), rows, extra, torch.zeros(2, dtype=torch.bool))
        for a, b in zip(policy.values(*args)[:2], native.values(*args)[:2], strict=True):
            for name in a:
                assert torch.allclose(a[name], b[name], atol=1e-5)


def test_fewer_valid_rows_than_a_minibatch():
    """Rows that only reset are left out: the kernels must not count on a full minibatch."""
    built, units, plan = prepared("CartPole-v1", {}, {"num_steps": 16, "minibatch_size": 64})
    units.fields = {name: entry[:40].clone() for name, entry in units.fields.items()}
    units.count = 40
    other, _, _ = prepared("CartPole-v1", {}, {"num_steps": 16, "minibatch_size": 64})
    learn_with(Native(built.policy), built, units, plan)
    learn_with(Eager(), other, units, plan)
    for a, b in zip(built.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_recursions(level):
    """Returns and advantages as the reference computes them, with resets and truncations in the middle."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    reward, value, following, rho, c = (rand(50, 3) for _ in range(5))
    terminated, done, valid = rand(50, 3) < 0.05, rand(50, 3) < 0.1, rand(50, 3) > 0.1
    done |= terminated
    native = NativeRecursions()
    for weights in ((None, None), (rho, c)):
        for mask in (None, valid):
            args = (reward, value, following, terminated, done, *weights, 0.99, 0.95, mask)
            assert torch.allclose(TORCH.advantage(*args), native.advantage(*args), atol=1e-5)
    first, second = torch.full((3,), 0.5).double(), torch.full((3,), 0.5).double()
    expected = TORCH.discount(reward, done, valid, 0.9, first)
    assert torch.allclose(expected, native.discount(reward, done, valid, 0.9, second), atol=1e-12)
    assert torch.allclose(first, second, atol=1e-12)


def test_elementary_functions(level):
    """exp and tanh against the C library's, in units of the last place."""
    for width, dtype in ((32, np.float32), (64, np.float64)):
        x = np.concatenate([np.linspace(-30, 30, 20001), np.linspace(-1, 1, 20001), [0.0, -0.0]]).astype(
            dtype
        )
        e, t = np.empty_like(x), np.empty_like(x)
        getattr(library(), f"proximo_elementary{width}")(len(x), x.ctypes.data, e.ctypes.data, t.ctypes.data)
        exact_e = np.exp(x.astype(np.longdouble))
        exact_t = np.tanh(x.astype(np.longdouble))
        step = np.finfo(dtype).eps
        assert np.max(np.abs(e - exact_e) / exact_e) < 4 * step
        assert np.max(np.abs(t - exact_t)) < 4 * step
        assert math.isclose(float(t[-2]), 0.0)


def test_parameters_that_were_loaded_are_seen(tmp_path):
    """Loading weights or optimiser state afterwards must reach the kernels, and what they learn the torch policy."""
    built, units, plan = prepared(*POLICIES["separate"])
    engine = Native(built.policy)
    other, _, _ = prepared(*POLICIES["separate"])
    learn_with(engine, built, units, plan)
    built.policy.load_state_dict(other.policy.state_dict())
    built.ppo.parts.optimizer.load_state_dict(copy.deepcopy(other.ppo.parts.optimizer.state_dict()))
    built.ppo.parts.batching.drawn = other.ppo.parts.batching.drawn
    learn_with(engine, built, units, plan)
    learn_with(Native(other.policy), other, units, plan)
    for a, b in zip(built.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_without_a_valid_row_nothing_is_learnt():
    """One step of copies that all only reset: both engines say so in the same way."""
    built, units, plan = prepared("CartPole-v1", {}, {})
    units.fields, units.count = {name: entry[:0] for name, entry in units.fields.items()}, 0
    before = copy.deepcopy(built.policy.state_dict())
    told = [learn_with(engine, built, units, plan) for engine in (Native(built.policy), Eager())]
    assert told == [{"epochs": 3.0, "kl_stop": 0.0}] * 2
    assert all(torch.equal(before[name], entry) for name, entry in built.policy.state_dict().items())


def test_a_mask_that_allows_nothing_names_its_environment():
    built, _, _ = prepared(f"{TOYS}:Masked", {}, {})
    policy = built.policy
    obs = {key: entry.clone() for key, entry in built.collector.obs.items()}
    obs[policy.spec.mask_key][2] = 0
    with pytest.raises(RunError, match="environment 2 allows no action"):
        Native(policy).policy(policy).act(obs, {}, built.collector.start, torch.rand(4, policy.noise.dim))


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_the_adaptive_rate_waits_for_the_end_of_the_warm_start(engine):
    """The frozen actor's KL is rounding, which would drive the rate to its maximum."""
    experiment = Experiment(
        env={"id": "Pendulum-v1", "num_envs": 4},
        engine=engine,
        warm_start_steps=256,
        ppo={"num_steps": 64, "minibatch_size": 32, "epochs": 4, "lr_schedule": "adaptive"},
    )
    built = build(experiment, CPU, Timer(), lambda line: None)
    for update in range(2):
        built.ppo.iterate()
        built.warm_start.count()
        if update == 0:
            assert built.ppo.parts.optimizer.learning_rate == experiment.ppo.learning_rate
    assert built.ppo.parts.optimizer.learning_rate != experiment.ppo.learning_rate
