"""Small policies and observations for the tests beside this file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from proximo.config.experiment import PolicyConfig
from proximo.core.types import EnvSpec, Obs
from proximo.policies.actor_critic import ActorCritic

VECTOR = spaces.Box(-np.inf, np.inf, (5,))


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
