"""Which head an action space gets, what it starts as, and what the environment receives."""

import numpy as np
import pytest
import torch
from building import draw, noise, policy, spec
from gymnasium import spaces

from proximo.errors import UserError
from proximo.policies.distributions import (
    Bernoulli,
    Categorical,
    Gaussian,
    MultiCategorical,
    SquashedGaussian,
    StateNoiseGaussian,
)

BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
RAGGED = spaces.MultiDiscrete([3, 2, 4])
GSDE = {"type": "gsde", "sample_freq": 2}
SQUASHED = {"type": "squashed_gaussian"}


@pytest.mark.parametrize(
    ("action", "head", "kind", "dim"),
    [
        (spaces.Discrete(4), {"type": "auto"}, Categorical, 1),
        (RAGGED, {"type": "auto"}, MultiCategorical, 3),
        (spaces.MultiDiscrete([3, 3]), {"type": "auto"}, MultiCategorical, 2),
        (spaces.MultiBinary(5), {"type": "auto"}, Bernoulli, 5),
        (BOX, {"type": "auto"}, Gaussian, 2),
        (BOX, SQUASHED, SquashedGaussian, 2),
        (BOX, GSDE, StateNoiseGaussian, 24),
    ],
)
def test_each_space_gets_its_head(action: spaces.Space, head: dict, kind: type, dim: int) -> None:
    env = spec(action)
    agent = policy(env, head=head)
    obs = draw(env, 4)
    start = torch.zeros(4, dtype=torch.bool)
    assert isinstance(agent.compute(obs, {}, start).dist, kind)
    assert agent.noise.dim == dim
    with torch.no_grad():
        act = agent.act(obs, {}, start, noise(agent, 4))
    assert act.logp.shape == (4,)
    for row in agent.to_env(act.action):
        assert action.contains(row.numpy().astype(action.dtype)), row


def test_noise_is_held_for_sample_freq_steps() -> None:
    assert policy(spec(BOX), head=GSDE).noise.every == 2
    assert policy(spec(BOX)).noise.every == 1


def test_ragged_multi_discrete_equals_a_loop_over_choices() -> None:
    env = spec(RAGGED)
    agent, obs = policy(env), draw(env, 50)
    agent.head.linear.weight.data.normal_()
    latent = agent.actor_layers(agent.trunks["actor"].encoder(obs))
    dist = agent.head.distribution(latent, None)
    parts = agent.head.linear(latent).split([3, 2, 4], -1)
    theirs = [torch.distributions.Categorical(logits=part) for part in parts]
    action = dist.sample(torch.rand(50, 3))
    assert bool((action < torch.tensor([3, 2, 4])).all())
    assert bool((dist.sample(torch.ones(50, 3)) == torch.tensor([2, 1, 3])).all())
    expected = sum(part.log_prob(action[:, i]) for i, part in enumerate(theirs))
    torch.testing.assert_close(dist.log_prob(action), expected)
    torch.testing.assert_close(dist.entropy(), sum(part.entropy() for part in theirs))


def test_the_first_policy_is_nearly_uniform() -> None:
    env = spec(spaces.Discrete(4))
    dist = policy(env).compute(draw(env, 9), {}, torch.zeros(9)).dist
    torch.testing.assert_close(
        dist.log_prob(torch.zeros(9, dtype=torch.long)).exp(), torch.full((9,), 0.25), atol=0.02, rtol=0
    )


def test_gaussians_start_with_the_deviation_asked_for() -> None:
    env = spec(BOX)
    for head in ("gaussian", "squashed_gaussian"):
        for dependent in (False, True):
            config = {"type": head, "log_std_init": -0.7, "state_dependent_std": dependent}
            dist = policy(env, head=config).compute(draw(env, 9), {}, torch.zeros(9)).dist
            torch.testing.assert_close(dist.std.log(), torch.full((9, 2), -0.7), atol=0.1, rtol=0)
    agent = policy(env, head={"type": "gaussian", "state_dependent_std": True})
    assert agent.compute(draw(env, 9), {}, torch.zeros(9)).dist.std.unique().numel() > 2


def test_gaussian_actions_are_clipped_on_the_way_out_only() -> None:
    agent = policy(spec(BOX))
    assert agent.to_env(torch.tensor([[5.0, 0.5], [-5.0, -1.0]])).tolist() == [[2.0, 0.5], [-2.0, 0.0]]
    free = policy(spec(spaces.Box(-np.inf, np.inf, (2,))))
    assert free.to_env(torch.tensor([[5e5, 0.5]])).tolist() == [[5e5, 0.5]]


def test_squashed_actions_are_rescaled_to_the_bounds() -> None:
    agent = policy(spec(BOX), head=SQUASHED)
    assert agent.to_env(torch.tensor([[1.0, -1.0], [0.0, 0.0]])).tolist() == [[2.0, 0.0], [0.0, 0.5]]


def test_actions_get_the_shape_and_the_start_of_the_space() -> None:
    assert policy(spec(spaces.Box(-1, 1, (2, 3)))).to_env(torch.zeros(4, 6)).shape == (4, 2, 3)
    assert policy(spec(spaces.Box(-1, 1, ()))).to_env(torch.zeros(4, 1)).shape == (4,)
    assert policy(spec(spaces.MultiBinary((2, 2)))).to_env(torch.zeros(4, 4).long()).shape == (4, 2, 2)
    assert policy(spec(spaces.Discrete(3, start=5))).to_env(torch.tensor([0, 2])).tolist() == [5, 7]
    shifted = policy(spec(spaces.MultiDiscrete([3, 2], start=[1, 0])))
    assert shifted.to_env(torch.tensor([[0, 1]])).tolist() == [[1, 1]]
    nested = policy(spec(spaces.MultiDiscrete([[3, 2], [2, 2]])))
    assert nested.to_env(torch.tensor([[0, 1, 1, 0]])).tolist() == [[[0, 1], [1, 0]]]


def test_the_gradient_of_state_dependent_noise_stops_at_the_features() -> None:
    env = spec(BOX)
    agent = policy(env, head=GSDE)
    agent.compute(draw(env, 4), {}, torch.zeros(4)).dist.entropy().sum().backward()
    assert agent.head.log_std.grad.abs().sum() > 0
    assert agent.actor_layers[0].weight.grad is None


@pytest.mark.parametrize(
    ("action", "head", "message"),
    [
        (spaces.Dict(a=spaces.Discrete(2)), {"type": "auto"}, "Dict action spaces"),
        (spaces.Tuple([spaces.Discrete(2)]), {"type": "auto"}, "Tuple action spaces"),
        (spaces.Text(3), {"type": "auto"}, "Text action spaces"),
        (spaces.Discrete(2), {"type": "gaussian"}, r"policy\.head\.type: gaussian needs a Box"),
        (spaces.MultiBinary(2), GSDE, r"policy\.head\.type: gsde needs a Box"),
        (spaces.Box(-np.inf, 1, (2,)), SQUASHED, "finite bounds"),
        (spaces.Box(0, 9, (2,), np.int64), {"type": "auto"}, "int64"),
        (BOX, {**SQUASHED, "log_std_init": 3, "state_dependent_std": True}, "log_std_init"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(action: spaces.Space, head: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        policy(spec(action), head=head)
    assert "\n" not in str(caught.value)
