"""N Gymnasium environments stepped one after the other in this process, as one tensor environment.

Same-step autoreset is done here: where an episode ends, `Step.final` holds its true last observation and
`Step.obs` already the first one of the next episode. Every episode is reset with a seed of its own, derived from
(seed, environment, episode), so the data do not depend on how copies are spread over processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.rng import integer_seed
from proximo.core.types import EnvSpec, Final, Obs, Step
from proximo.envs import replay
from proximo.envs.configure import apply_params, check_params
from proximo.envs.infos import InfoReader
from proximo.envs.replay import ActionHistory, GymEnv
from proximo.envs.spaces import (
    Array,
    Leaf,
    buffers,
    check_action_space,
    check_shapes,
    find_mask,
    first_non_finite,
    mask_leaf,
    mask_size,
    observation_leaves,
)
from proximo.errors import RunError


class SyncEnv:
    """Steps `envs` one by one; see `core.types.VecEnv` for the contract.

    Args: the copies (all alike), their configuration, the device of returned tensors, the global index of the
    first copy (it enters the seeds). Raises `UserError` for unsupported spaces, `RunError` where a copy fails.
    """

    def __init__(
        self, envs: Sequence[GymEnv], config: EnvConfig, device: torch.device, first_env: int = 0
    ) -> None:
        self._envs = list(envs)
        self._config = config
        self._device = device
        self._first_env = first_env
        first, count = self._envs[0], len(self._envs)
        check_action_space(first.action_space, config.id)
        self._leaves = observation_leaves(first.observation_space, config.id)
        mask_key = find_mask(self._leaves, config.mask_key, first.action_space, config.id)
        self._info_mask = None if mask_key else self._probe_mask()
        all_leaves = self._leaves if self._info_mask is None else (*self._leaves, self._info_mask)
        self._all_leaves = all_leaves
        self.spec = EnvSpec(
            id=config.id,
            obs_spaces={leaf.key: leaf.space for leaf in all_leaves},
            action_space=first.action_space,
            num_envs=count,
            device=device,
            mask_key=mask_key if self._info_mask is None else self._info_mask.key,
        )
        self._discrete = isinstance(first.action_space, Discrete)
        self._action_shape = (count, *(first.action_space.shape or ()))
        self._action_dtype = np.dtype(np.int64) if self._discrete else first.action_space.dtype
        self._plain = self._leaves[0].key if not self._leaves[0].path else None
        self._infos = InfoReader(first, config, count, device)
        self._valid = torch.ones(count, dtype=torch.bool, device=device)
        self._no_final = Final(
            torch.zeros(0, dtype=torch.int64, device=device), self._tensors(self._empty(0))
        )
        self._history = ActionHistory(count)
        self._seed: int | None = None
        self._episode = [0] * count
        self._params: dict[str, Any] = {}
        self._applied: list[dict[str, Any]] = [self._params] * count
        self._last: dict[str, Array] = {}

    # ---------------------------------------------------------------- the contract

    def reset(self, seed: int) -> Obs:
        """Begin episode 0 of every copy; `[N, ...]` per key."""
        self._seed = seed
        self._episode = [0] * len(self._envs)
        self._history = ActionHistory(len(self._envs))
        obs = self._empty(len(self._envs))
        for index, env in enumerate(self._envs):
            restart = getattr(env, "restart", None)
            if restart is not None:
                restart()
            self._begin(index, obs)
        self._check_obs(obs, None)
        self._last = obs
        return self._tensors(obs)

    def step(self, action: Tensor) -> Step:
        """Step every copy with `[N, *action_space.shape]`, as `policy.to_env` gives it."""
        given = self._actions(action)
        self._history.append(given.copy())
        arguments = given.tolist() if self._discrete else given
        count = len(self._envs)
        obs, reward = self._empty(count), np.empty(count, np.float32)
        terminated, truncated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        ended: list[int] = []
        plain = None if self._plain is None else obs[self._plain]
        mask, infos, index = self._info_mask, self._infos, 0
        try:
            for index, env in enumerate(self._envs):
                raw, reward[index], ends, stops, info = env.step(arguments[index])
                if plain is not None:
                    plain[index] = raw
                else:
                    self._write(index, raw, obs)
                if mask is not None:
                    obs[mask.key][index] = info[mask.key]
                if ends or stops:
                    terminated[index], truncated[index] = ends, stops
                    ended.append(index)
                if info and infos.wanted:
                    infos.read(index, info)
        except Exception as error:
            where = self._where(index, given)
            raise RunError(f"{where} raised {type(error).__name__}: {error}") from error
        self._check_reward(reward, given)
        self._check_obs(obs, given)
        final = self._autoreset(ended, obs) if ended else self._no_final
        self._last = obs
        return Step(
            obs=self._tensors(obs),
            reward=self._tensor(reward),
            terminated=self._tensor(terminated),
            truncated=self._tensor(truncated),
            final=final,
            valid=self._valid,
            info=infos.take(),
        )

    def configure(self, params: Mapping[str, Any]) -> None:
        """Set parameters of the environments, from each one's next reset on (`UserError` for unknown names)."""
        merged = {**self._params, **params}
        check_params(self._envs[0], merged, self.spec.id)
        self._params = merged

    def render(self) -> Any:
        """The first copy's picture (`RunError` if made without `render_mode`)."""
        if self._envs[0].render_mode is None:
            raise RunError(f"{self.spec.id}: nothing to render; make it with render_mode='rgb_array'")
        return self._envs[0].render()

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()

    # ---------------------------------------------------------------- saving and restoring

    def state_dict(self) -> dict[str, Any]:
        """Seeds, episode indices, actions of the running episodes and last observations (tensors, JSON values)."""
        if self._seed is None:
            return {"seed": None}
        native = [replay.save_native(env) for env in self._envs]
        saved = native[0] is not None
        return {
            "seed": self._seed,
            "episode": list(self._episode),
            "actions": [] if saved else [self._episode_actions(i) for i in range(len(self._envs))],
            "native": native if saved else [],
            "obs": {key: torch.from_numpy(array.copy()) for key, array in self._last.items()},
            "params": self._params,
            "applied": [dict(params) for params in self._applied],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the running episodes; `RunError` naming environment and key where they do not come back bitwise."""
        if state["seed"] is None:
            return
        count = len(self._envs)
        if len(state["episode"]) != count:
            raise RunError(
                f"{self.spec.id}: the checkpoint holds {len(state['episode'])} environments but env.num_envs is {count}"
            )
        self._seed, self._episode = int(state["seed"]), [int(e) for e in state["episode"]]
        saved = {key: np.array(value) for key, value in state["obs"].items()}
        actions = [np.array(rows) for rows in state["actions"]]
        obs = self._empty(count)
        self._history = ActionHistory(count)
        for index in range(count):
            self._params = dict(state["applied"][index])
            self._begin(index, obs)
            if state["native"]:
                replay.load_native(self._envs[index], state["native"][index], self._name(index))
            else:
                self._replay(index, actions[index], obs, saved)
        if actions:
            self._history.restore(actions)
        self._params = dict(state["params"])
        self._last = saved

    def _episode_actions(self, index: int) -> Tensor:
        rows = self._history.of(index)
        shape = (len(rows), *self._action_shape[1:])
        return torch.from_numpy(np.array(rows, dtype=self._action_dtype).reshape(shape))

    def _replay(self, index: int, actions: Array, obs: dict[str, Array], saved: dict[str, Array]) -> None:
        name, env = self._name(index), self._envs[index]
        arguments = actions.tolist() if self._discrete else list(actions.astype(self._action_dtype))
        if arguments:
            raw, info = replay.replay(env, None, arguments, name)
            self._write(index, raw, obs)
            if self._info_mask is not None:
                obs[self._info_mask.key][index] = info[self._info_mask.key]
        row = {key: array[index] for key, array in obs.items()}
        replay.compare(self._all_leaves, row, {key: array[index] for key, array in saved.items()}, name)

    # ---------------------------------------------------------------- one copy

    def _begin(self, index: int, obs: dict[str, Array]) -> None:
        env = self._envs[index]
        if self._applied[index] is not self._params:
            apply_params(env, self._params)
            self._applied[index] = self._params
        try:
            raw, info = env.reset(seed=self._episode_seed(index))
        except Exception as error:
            raise RunError(f"{self._name(index)} raised {type(error).__name__} in reset: {error}") from error
        check_shapes(self._leaves, raw, self._name(index))
        self._write(index, raw, obs)
        if self._info_mask is not None:
            if self._info_mask.key not in info:
                raise RunError(f"{self._name(index)}: info of reset lacks {self._info_mask.key!r}")
            obs[self._info_mask.key][index] = info[self._info_mask.key]
        self._history.begin(index)

    def _autoreset(self, ended: list[int], obs: dict[str, Array]) -> Final:
        final = {key: array[ended] for key, array in obs.items()}
        for index in ended:
            self._episode[index] += 1
            self._begin(index, obs)
        self._check_obs({key: array[ended] for key, array in obs.items()}, None, ended)
        return Final(self._tensor(np.array(ended, dtype=np.int64)), self._tensors(final))

    def _write(self, index: int, raw: Any, obs: dict[str, Array]) -> None:
        for leaf in self._leaves:
            obs[leaf.key][index] = leaf.get(raw)

    def _probe_mask(self) -> Leaf | None:
        # Whether `info` carries a mask is known only after a reset; each episode is seeded, so this one leaves no trace.
        env = self._envs[0]
        if mask_size(env.action_space) is None:
            return None
        try:
            _, info = env.reset(seed=0)
        except Exception as error:
            raise RunError(f"{self._config.id} raised {type(error).__name__} in reset: {error}") from error
        mask = info.get(self._config.mask_key)
        return (
            None
            if mask is None
            else mask_leaf(self._config.mask_key, mask, env.action_space, self._config.id)
        )

    # ---------------------------------------------------------------- numbers in and out

    def _actions(self, action: Tensor) -> Array:
        if self._seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        if tuple(action.shape) != self._action_shape:
            raise RunError(
                f"{self.spec.id}: actions have shape {tuple(action.shape)}, expected {self._action_shape}"
            )
        return np.array(action.detach().cpu().numpy(), dtype=self._action_dtype)

    def _empty(self, rows: int) -> dict[str, Array]:
        return buffers(self._all_leaves, rows)

    def _tensor(self, array: Array) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor if self._device.type == "cpu" else tensor.to(self._device)

    def _tensors(self, arrays: Mapping[str, Array]) -> Obs:
        return {key: self._tensor(array) for key, array in arrays.items()}

    # ---------------------------------------------------------------- what went wrong, and where

    def _check_reward(self, reward: Array, given: Array) -> None:
        if not np.isfinite(reward).all():
            index = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise RunError(
                f"{self._where(index, given)} gave the reward {reward[index]}; rewards must be finite"
            )

    def _check_obs(
        self, obs: Mapping[str, Array], given: Array | None, rows: list[int] | None = None
    ) -> None:
        bad = first_non_finite(obs)
        if bad is not None:
            key, row = bad
            index = row if rows is None else rows[row]
            raise RunError(
                f"{self._where(index, given)} gave NaN or infinity in the observation {key!r}; "
                "observations must be finite"
            )

    def _episode_seed(self, index: int) -> int:
        assert self._seed is not None
        return integer_seed(self._seed, "env", self._first_env + index, self._episode[index])

    def _name(self, index: int) -> str:
        return (
            f"{self.spec.id}, environment {self._first_env + index} (episode {self._episode[index]}, "
            f"seed {self._episode_seed(index)})"
        )

    def _where(self, index: int, given: Array | None) -> str:
        if given is None:
            return f"{self._name(index)}, at reset,"
        action = given[index].tolist()
        return f"{self._name(index)}, step {self._history.length(index)}, action {action},"
