"""Action masks through the whole policy."""

import pytest
import torch
from building import VECTOR, N, T, build, draw, noise, policy, rollout, spec
from gymnasium import spaces

from proximo.errors import RunError, UserError


def test_the_mask_is_neither_encoded_nor_normalised() -> None:
    agent, env = build(masked=True)
    obs = draw(env, T, N)
    agent.observe(rollout(agent, obs))
    assert agent.normalize(obs)["allowed"] is obs["allowed"]
    everything = {**obs, "allowed": torch.ones_like(obs["allowed"])}
    first, second = agent.forward(obs, {}, torch.zeros(())), agent.forward(everything, {}, torch.zeros(()))
    assert torch.equal(first.values["task"], second.values["task"])
    assert bool((first.dist.entropy() < second.dist.entropy()).any())


@pytest.mark.parametrize("kind", [torch.bool, torch.int8, torch.float32])
def test_masked_actions_are_never_taken(kind: torch.dtype) -> None:
    agent, env = build("multi_discrete", masked=True)
    obs = draw(env, 500)
    obs["allowed"] = obs["allowed"].to(kind)
    start = torch.zeros(500, dtype=torch.bool)
    for draws in (None, noise(agent, 500)):
        action = agent.act(obs, {}, start, draws).action
        for i, first in enumerate((0, 3, 5)):
            assert bool((obs["allowed"].gather(1, first + action[:, i : i + 1]) > 0).all())


def test_a_masked_bit_stays_0() -> None:
    agent, env = build("multi_binary", masked=True)
    obs = draw(env, 500)
    action = agent.act(obs, {}, torch.zeros(500, dtype=torch.bool), noise(agent, 500)).action
    assert not bool((action.bool() & ~obs["allowed"].bool()).any())
    assert bool(action.any())


def test_a_mask_that_allows_nothing_names_the_environment() -> None:
    start = torch.zeros(N, dtype=torch.bool)
    for action, row in (("categorical", slice(0, 4)), ("multi_discrete", slice(3, 5))):
        agent, env = build(action, masked=True)
        obs = draw(env, N)
        obs["allowed"][2, row] = 0
        with pytest.raises(RunError, match="environment 2 allows no action"):
            agent.act(obs, {}, start, noise(agent, N))


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="has 3 entries; the action space has 4"):
        policy(spec(spaces.Discrete(4), {"obs": VECTOR, "m": spaces.MultiBinary(3)}, "m"))
    with pytest.raises(UserError, match="mask_key"):
        policy(spec(spaces.Box(-1, 1, (3,)), {"obs": VECTOR, "m": spaces.MultiBinary(3)}, "m"))
    with pytest.raises(UserError, match="nothing but the action mask"):
        policy(spec(spaces.Discrete(3), {"m": spaces.MultiBinary(3)}, "m"))


def test_a_mask_may_have_the_shape_of_the_choices() -> None:
    square = {"obs": VECTOR, "m": spaces.MultiBinary((2, 3))}
    env = spec(spaces.MultiDiscrete([3, 3]), square, "m")
    agent, obs = policy(env), draw(env, N)
    obs["m"] = torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.int8).expand(N, 2, 3)
    act = agent.act(obs, {}, torch.zeros(N, dtype=torch.bool), noise(agent, N))
    assert act.action.tolist() == [[1, 2]] * N
    assert act.logp.tolist() == [0.0] * N
