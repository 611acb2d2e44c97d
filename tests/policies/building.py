"""Small policies and observations for the tests beside this file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from proximo.config.experiment import PolicyConfig
from proximo.core.types import EnvSpec, Obs, Rollout
from proximo.policies.actor_critic import ActorCritic

VECTOR = spaces.Box(-np.inf, np.inf, (5,))
T, N = 12, 4
MIXED = {
    "camera": spaces.Box(0, 255, (36, 36, 1), np.uint8),
    "pose.arm": VECTOR,
    "gear": spaces.Discrete(3),
}
ACTIONS: dict[str, tuple[spaces.Space, dict[str, Any]]] = {
    "categorical": (spaces.Discrete(4), {}),
    "multi_discrete": (spaces.MultiDiscrete([3, 2, 4]), {}),
    "multi_binary": (spaces.MultiBinary(3), {}),
    "gaussian": (spaces.Box(-1, 1, (2,)), {}),
    "dependent": (spaces.Box(-1, 1, (2,)), {"head": {"type": "gaussian", "state_dependent_std": True}}),
    "squashed": (spaces.Box(-1, 1, (2,)), {"head": {"type": "squashed_gaussian"}}),
    "gsde": (spaces.Box(-1, 1, (2,)), {"head": {"type": "gsde"}}),
}
MASKS = {"categorical": 4, "multi_discrete": 9, "multi_binary": 3}
SMALL = {"type": "impala_cnn", "channels": [4], "features_dim": 6}


def spec(
    action: spaces.Space[Any], obs: dict[str, spaces.Space[Any]] | None = None, mask_key: str | None = None
) -> EnvSpec:
    """The spec of a made-up environment with `obs` (default: five numbers)."""
    return EnvSpec("Toy-v0", obs or {"obs": VECTOR}, action, 4, torch.device("cpu"), mask_key)


def policy(env: EnvSpec, streams: tuple[str, ...] = ("task",), seed: int = 0, **config: Any) -> ActorCritic:
    """A policy from torch seed `seed`; `config` as in a YAML file, with small layers unless said."""
    torch.manual_seed(seed)
    tree = PolicyConfig.model_validate({"hidden_sizes": (16, 12), **config})
    return ActorCritic(env, tree, streams)


def draw(env: EnvSpec, *lead: int, seed: int = 0) -> Obs:
    """Random raw observations `[*lead, ...]`; masks allow about two thirds and never nothing."""
    rng = np.random.default_rng(seed)
    result: Obs = {}
    for key, space in env.obs_spaces.items():
        if key == env.mask_key:
            mask = rng.random((*lead, int(np.prod(space.shape)))) < 0.66
            mask[..., 0] = True
            if isinstance(env.action_space, spaces.MultiDiscrete):
                first = np.cumsum([0, *env.action_space.nvec[:-1]])
                mask[..., first] = True
            result[key] = torch.as_tensor(mask.astype(np.int8)).reshape(*lead, *space.shape)
            continue
        space.seed(int(rng.integers(2**31)))
        rows = [space.sample() for _ in range(int(np.prod(lead)))]
        result[key] = torch.as_tensor(np.stack(rows)).reshape(*lead, *(space.shape or ()))
    return result


def noise(agent: ActorCritic, *lead: int, seed: int = 0) -> Tensor:
    """The random numbers `agent` needs, `[*lead, dim]`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*lead, agent.noise.dim)
    if agent.noise.kind == "uniform":
        return torch.rand(shape, generator=generator)
    return torch.randn(shape, generator=generator)


def rollout(agent: ActorCritic, obs: Obs, fresh: bool = True) -> Rollout:
    flags = torch.zeros(T, N, dtype=torch.bool)
    none = torch.zeros(0, dtype=torch.long)
    return Rollout(
        source="env",
        obs=obs,
        action=torch.zeros(T, N),
        logp_behavior=torch.zeros(T, N),
        start=flags,
        reward=torch.zeros(T, N),
        terminated=flags,
        truncated=flags,
        valid=~flags,
        final_t=none,
        final_n=none,
        final_obs={},
        last_obs={},
        last_start=flags[0],
        state={},
        sequence_length=T,
        stats=agent.snapshot(),
        fresh=fresh,
    )


def build(
    action: str = "categorical",
    obs: dict[str, spaces.Space] | None = None,
    masked: bool = False,
    **config: Any,
) -> tuple[ActorCritic, EnvSpec]:
    space, extra = ACTIONS[action]
    shown = dict(obs or {"obs": VECTOR})
    if masked:
        shown["allowed"] = spaces.MultiBinary(MASKS[action])
    env = spec(space, shown, "allowed" if masked else None)
    agent = policy(env, **{**extra, **config})
    with torch.no_grad():
        # Away from the near-uniform start, so that a wrong input shows in the output.
        for parameter in agent.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return agent, env
