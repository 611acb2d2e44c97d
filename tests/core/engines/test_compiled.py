"""The compiled step is the eager one: gradients, stop by KL, adaptive rate, short minibatches; and who may use it.

Compiling takes most of the time here, so one policy is compiled once and put back before each test.
"""

import copy

import pytest
import torch
from torch import nn

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.engines.choose import choose_engine
from proximo.core.engines.compiled import Compiled
from proximo.core.engines.eager import Eager
from proximo.core.evaluate import evaluate
from proximo.core.timer import Timer
from proximo.errors import UserError
from proximo.policies.encoders import BaseFeaturesExtractor

# PyTorch's compiler still uses what PyTorch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*deprecated:DeprecationWarning")
MINIBATCH = 20
"""Of 96 rows: the last one of an epoch has 16."""
HERE = __file__


class Gained(BaseFeaturesExtractor):
    """A module that no engine but PyTorch can read."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 8)
        self.first = nn.Linear(observation_space.shape[0], 8)
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, observations):
        return torch.tanh(self.first(observations)) * self.gain


class Branching(Gained):
    """Decides by what it reads: no compiler takes this whole."""

    def forward(self, observations):
        features = super().forward(observations)
        return features if features.sum() > 0 else -features


def experiment(encoder="Gained", policy=None, **ppo):
    return Experiment(
        env={"id": "Pendulum-v1", "num_envs": 3},
        engine="eager",
        policy={"hidden_sizes": (), "encoder": {"type": f"{HERE}:{encoder}"}, **(policy or {})},
        ppo={"num_steps": 32, "minibatch_size": MINIBATCH, "epochs": 2, **ppo},
    )


def built_with(engine, *args, **ppo):
    built = build(experiment(*args, **ppo), torch.device("cpu"), Timer(), lambda line: None)
    built.ppo.parts.engine = engine
    return built


CASE = {
    "lr_schedule": "adaptive",
    "clip_schedule": "linear",
    "entropy_coef": 0.01,
    "entropy_schedule": "linear",
    "target_kl": 0.002,
    "desired_kl": 0.004,
    "learning_rate": 3e-3,
}


def units_of(built):
    parts = built.ppo.parts
    rollout = parts.sources[0].collect(parts.policy)
    rollout.rewards = {term.name: term(rollout) for term in parts.terms}
    data = evaluate(parts.policy, rollout, parts.sources[0], parts.streams, parts.terms)
    return parts.batching.units(data)


def saved(built):
    return copy.deepcopy({name: part.state_dict() for name, part in built.stateful().items()})


def put_back(built, states):
    for name, part in built.stateful().items():
        part.load_state_dict(copy.deepcopy(states[name]))


@pytest.fixture(scope="module")
def ready():
    """The compiled side, its first state, the lines it said, and its first gradient beside autograd's."""
    lines = []
    engine = Compiled(lines.append)
    built = built_with(engine, **CASE)
    parts = built.ppo.parts
    units = units_of(built)
    states = saved(built)
    batch = next(iter(parts.batching.epoch([units])))
    output = built.policy.compute(batch.obs, batch.state, batch.start)
    loss = sum(term.weight * term(output, batch)[0] for term in parts.losses)
    expected = dict(
        zip(
            (name for name, _ in built.policy.named_parameters()),
            torch.autograd.grad(loss, list(built.policy.parameters())),
            strict=True,
        )
    )
    with torch.no_grad():
        state = engine._prepare(built.policy, parts.optimizer, parts.losses, batch, parts.plan)
        engine._run(state, batch)
    norm = state.report(1, 0.0)["grad_norm"]
    factor = min(1.0, parts.optimizer.max_grad_norm / (norm + 1e-6))
    found = {name.removeprefix("policy."): first / (0.1 * factor) for name, first in state.first.items()}
    return built, states, lines, units, (expected, found)


def test_the_first_gradient_is_autograds(ready):
    expected, found = ready[-1]
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert gradient.abs().max() > 1e-4, name
        assert (found[name] - gradient).abs().max() < 1e-5, name


def test_updates_are_the_eager_ones(ready):
    """Compiled only once: with what schedules move, a rate that adapts, stops by KL and a short last minibatch."""
    compiled, states, lines, *_ = ready
    eager = built_with(Eager(), **CASE)
    put_back(compiled, states)
    put_back(eager, states)
    stops, rates = [], {CASE["learning_rate"]}
    for update in range(6):
        for built in (eager, compiled):
            for term in (built.ppo.parts.losses[0], built.ppo.parts.losses[2]):
                term.shrink(update / 10)
        expected = eager.ppo.parts.engine.learn(*arguments(eager))
        found = compiled.ppo.parts.engine.learn(*arguments(compiled))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-4, rel=1e-3), name
        one, other = (built.ppo.parts for built in (eager, compiled))
        assert other.optimizer.learning_rate == pytest.approx(one.optimizer.learning_rate, rel=1e-12)
        assert other.batching.drawn == one.batching.drawn
        steps = [
            float(part.optimizer.adam.state[p]["step"])
            for part in (one, other)
            for p in part.optimizer.parameters
        ]
        assert len(set(steps)) == 1
        stops.append(found["kl_stop"])
        rates.add(other.optimizer.learning_rate)
    for a, b in zip(eager.policy.parameters(), compiled.policy.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    assert set(stops) == {0.0, 1.0}
    assert len(rates) > 1
    assert len(lines) == 1
    assert "compiled in" in lines[0]


def arguments(built):
    parts = built.ppo.parts
    return parts.policy, parts.optimizer, parts.losses, parts.batching, [units_of(built)], parts.plan


def test_going_on_from_a_saved_state_is_bitwise(ready):
    built, states, *_ = ready
    put_back(built, states)
    built.ppo.iterate()
    middle = saved(built)
    built.ppo.iterate()
    expected = saved(built)
    put_back(built, middle)
    built.ppo.iterate()
    for part in ("policy", "optimizer"):
        assert same(saved(built)[part], expected[part])


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_module_that_does_not_compile_names_the_cure():
    built = built_with(Compiled(lambda line: None, backend="aot_eager"), "Branching")
    with pytest.raises(UserError, match=r"engine: compiled cannot compile .* use engine: eager") as caught:
        built.ppo.iterate()
    assert "\n" not in str(caught.value)


def choose(wanted, policy=None, **ppo):
    built = built_with(Eager(), "Gained", policy, **ppo)
    parts = built.ppo.parts
    return choose_engine(wanted, built.policy, parts.losses, parts.batching, parts.optimizer)


def test_auto_does_not_compile_on_a_cpu():
    engine, reason = choose("auto")
    assert engine.name == "eager"
    assert "Gained" in reason or "not built" in reason
    assert choose("compiled")[0].name == "compiled"


def test_what_it_cannot_do_is_said(monkeypatch):
    with pytest.raises(UserError, match="sequences; use engine: eager"):
        choose("compiled", {"memory": {"type": "gru", "size": 8}})
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="C\\+\\+ compiler no-such-compiler"):
        choose("compiled")
