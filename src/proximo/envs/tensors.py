"""Where environments' arrays become tensors and policies' tensors arrays; what lies below needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces import Space
from torch import Tensor

from proximo.core.stepping import WritingEnv
from proximo.core.types import EnvSpec, Obs, Step
from proximo.envs.replay import Episodes
from proximo.envs.spaces import Array, Leaf, buffers
from proximo.errors import RunError


def make_spec(
    env_id: str,
    leaves: tuple[Leaf, ...],
    action_space: Space[Any],
    num_envs: int,
    device: torch.device,
    mask_key: str | None,
) -> EnvSpec:
    """What policies are told."""
    return EnvSpec(
        id=env_id,
        obs_spaces={leaf.key: leaf.space for leaf in leaves},
        action_space=action_space,
        num_envs=num_envs,
        device=device,
        mask_key=mask_key,
    )


def action_array(action: Tensor, space: Space[Any], env_id: str) -> Array:
    """`[N, *space.shape]` as a NumPy array of its own, in the space's type; `RunError` for another shape."""
    if tuple(action.shape[1:]) != tuple(space.shape or ()):
        raise RunError(f"{env_id}: actions have shape {tuple(action.shape)}, expected [N, *{space.shape}]")
    dtype = np.int64 if isinstance(space, spaces.Discrete) else space.dtype
    return np.array(action.numpy(force=True), dtype)


def to_tensor(array: Array, device: torch.device) -> Tensor:
    """A tensor that shares the array's memory (copied only to another device)."""
    tensor = torch.from_numpy(array)
    # `to` costs as much again, even where there is nothing to do.
    return tensor if device.type == "cpu" else tensor.to(device)


def to_tensors(arrays: Mapping[str, Array], device: torch.device) -> Obs:
    """`to_tensor` by key."""
    return {key: to_tensor(array, device) for key, array in arrays.items()}


def stepped(env: WritingEnv, leaves: tuple[Leaf, ...], given: Array) -> Step:
    """One step of `env` into new memory, as tensors; `given` `[N, ...]` now belongs to the environments."""
    count, device = env.spec.num_envs, env.spec.device
    obs, reward = buffers(leaves, count), np.empty(count, np.float32)
    terminated, truncated, valid = (np.empty(count, np.bool_) for _ in range(3))
    final, info = env.step_into(given, obs, reward, terminated, truncated, valid)
    return Step(
        obs=to_tensors(obs, device),
        reward=to_tensor(reward, device),
        terminated=to_tensor(terminated, device),
        truncated=to_tensor(truncated, device),
        final=final,
        valid=to_tensor(valid, device),
        info=info,
    )


def check_count(action: Tensor, spec: EnvSpec) -> None:
    """`RunError` unless there is one action for each environment."""
    if action.shape[0] != spec.num_envs:
        raise RunError(f"{spec.id}: {action.shape[0]} actions for {spec.num_envs} environments")


def check_saved(state: Mapping[str, Any], spec: EnvSpec) -> None:
    """`RunError` where saved episodes are those of another number of environments."""
    saved = len(state["episode"])
    if saved != spec.num_envs:
        raise RunError(
            f"{spec.id}: the checkpoint holds {saved} environments, but env.num_envs is {spec.num_envs}; resume "
            "with the same number"
        )


def episode_actions(episodes: Episodes, space: Space[Any]) -> list[Tensor]:
    """The running episodes' actions so far, `[length, ...]` for each environment."""
    dtype = np.int64 if isinstance(space, spaces.Discrete) else space.dtype
    taken = [episodes.history.of(index) for index in range(len(episodes.index))]
    return [
        torch.from_numpy(np.array(rows, dtype=dtype).reshape(len(rows), *(space.shape or ())))
        for rows in taken
    ]


class InfoTensors:
    """Named numbers of `info` as tensors `[N]`: NaN where there are none, always the same names."""

    def __init__(self, names: Sequence[str], num_envs: int, device: torch.device) -> None:
        nothing = torch.full((num_envs,), float("nan"), device=device)
        self._blank: dict[str, Tensor] = dict.fromkeys(names, nothing)
        self._device = device

    def __call__(self, cells: Mapping[str, Array]) -> dict[str, Tensor]:
        """One step's numbers, to be read only; those that `cells` lacks are NaN."""
        if not cells:
            return self._blank
        out = dict(self._blank)
        for name, cell in cells.items():
            out[name] = to_tensor(cell, self._device)
        return out
