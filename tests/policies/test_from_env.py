"""Recorded actions of an environment, as the head's own."""

import math

import numpy as np
import pytest
import torch
from building import policy, spec
from gymnasium import spaces

SPACES = {
    "choices": (spaces.Discrete(4, start=2), {}),
    "several choices": (spaces.MultiDiscrete([[3, 2], [4, 5]]), {}),
    "bits": (spaces.MultiBinary([2, 3]), {}),
    "numbers": (spaces.Box(-2.0, 3.0, (2, 2), np.float32), {}),
    "squashed": (spaces.Box(-2.0, 3.0, (2, 2), np.float32), {"head": {"type": "squashed_gaussian"}}),
    "gsde": (spaces.Box(-2.0, 3.0, (3,), np.float32), {"head": {"type": "gsde"}}),
}


@pytest.mark.parametrize("case", SPACES)
def test_there_and_back(case):
    space, config = SPACES[case]
    space.seed(3)
    made = policy(spec(space), **config)
    taken = torch.as_tensor(np.stack([space.sample() for _ in range(12)])).reshape(4, 3, *space.shape)
    own = made.from_env(taken)
    torch.testing.assert_close(made.to_env(own.flatten(0, 1)).reshape(taken.shape), taken.to(own.dtype))
    dist = made({"obs": torch.zeros(4, 3, 5)}, {}, torch.zeros(4, 3, dtype=torch.bool)).dist
    assert dist.log_prob(own).shape == (4, 3)
    distance = dist.distance(own)
    assert (distance is None) == (not isinstance(space, spaces.Box))


def test_squashed_bounds_and_density():
    space = spaces.Box(-2.0, 4.0, (1,), np.float32)
    made = policy(spec(space), head={"type": "squashed_gaussian"})
    own = made.from_env(torch.tensor([[-2.0], [1.0], [4.0]]))
    torch.testing.assert_close(own, torch.tensor([[-1.0 + 1e-6], [0.0], [1.0 - 1e-6]]), atol=1e-9, rtol=0)
    # A density per unit of the environment's action is a third of one per unit of its own.
    assert made.log_width == pytest.approx(math.log(3.0))


def test_distance():
    space = spaces.Box(-9.0, 9.0, (2,), np.float32)
    made = policy(spec(space), head={"type": "gaussian"})
    with torch.no_grad():
        made.head.linear.weight.zero_()
        made.head.linear.bias.copy_(torch.tensor([1.0, -1.0]))
        made.head.log_std.copy_(torch.tensor([2.0, 0.5]).log())
    dist = made({"obs": torch.zeros(1, 5)}, {}, torch.zeros(1, dtype=torch.bool)).dist
    distance = dist.distance(torch.tensor([[7.0, 1.0]]))
    # Three deviations in one direction, four in the other.
    torch.testing.assert_close(distance, torch.tensor([5.0]))
