"""Any `gymnasium.vector.VectorEnv` as a tensor environment, whichever way it resets itself.

Its autoreset mode is read from `metadata["autoreset_mode"]`, never guessed:
next-step (the row that only resets is not `valid`), same-step (the true last observation comes in
`info["final_obs"]`) or disabled (ended copies are reset here, through `options["reset_mask"]`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.rng import integer_seed
from proximo.core.types import Final, Obs, Step
from proximo.envs.infos import InfoReader
from proximo.envs.replay import Episodes, describe
from proximo.envs.spaces import (
    Array,
    check_action_space,
    find_mask,
    first_non_finite,
    mask_leaf,
    mask_size,
    observation_leaves,
)
from proximo.envs.tensors import InfoTensors, action_array, make_spec, to_tensors
from proximo.errors import ProximoError, RunError, UserError

GymVector = VectorEnv[Any, Any, Any]


def autoreset_mode(env: GymVector) -> AutoresetMode:
    """What `metadata["autoreset_mode"]` says; `UserError` where it says nothing."""
    given = env.metadata.get("autoreset_mode")
    for mode in AutoresetMode:
        if given in (mode, mode.value, mode.name):
            return mode
    raise UserError(
        f"{type(env.unwrapped).__name__}: metadata['autoreset_mode'] is {given!r}; the environment must say which "
        f"of {', '.join(mode.name for mode in AutoresetMode)} it does (gymnasium.vector.AutoresetMode)"
    )


class GymVectorEnv:
    """A Gymnasium vector environment behind `core.types.VecEnv`.

    Copies that accept a list of seeds get the same derived ones as `SyncEnv`; with autoreset disabled, each
    episode does. It cannot be restored by replay, so it has no `state_dict`: a resumed run begins new episodes.
    """

    def __init__(self, env: GymVector, config: EnvConfig, device: torch.device, first_env: int = 0) -> None:
        self._env, self._config, self._device = env, config, device
        self._mode = autoreset_mode(env)
        self._count, space = env.num_envs, env.single_action_space
        check_action_space(space, config.id)
        self._raw_leaves = observation_leaves(env.single_observation_space, config.id)
        # Only Gymnasium's own containers promise to take one seed per copy, and who says so.
        containers = isinstance(env.unwrapped, (SyncVectorEnv, AsyncVectorEnv))
        self._seeds_each = containers or getattr(env.unwrapped, "takes_a_seed_each", False)
        self._episodes = Episodes(config.id, self._count, first_env)
        mask_key = find_mask(self._raw_leaves, config.mask_key, space, config.id)
        self._info_mask = None
        if mask_key is None and mask_size(space) is not None:
            info = self._reset_all(0)[1]
            if config.mask_key in info:
                mask_key = config.mask_key
                self._info_mask = mask_leaf(mask_key, info[mask_key][0], space, config.id)
        leaves = (*self._raw_leaves, self._info_mask) if self._info_mask else self._raw_leaves
        self.spec = make_spec(config.id, leaves, space, self._count, device, mask_key)
        self._infos = InfoReader(config, self._count)
        self._info_tensors = InfoTensors(self._infos.columns, self._count, device)
        self._nobody = np.zeros(0, np.int64)
        self._was_done = np.zeros(self._count, np.bool_)
        self._started = False

    def reset(self, seed: int) -> Obs:
        """Begin new episodes everywhere; `[N, ...]` per key."""
        raw, info = self._reset_all(seed)
        self._was_done = np.zeros(self._count, np.bool_)
        self._started = True
        obs = self._read(raw, info)
        self._check_finite(obs, "at reset")
        return to_tensors(obs, self._device)

    def step(self, action: Tensor) -> Step:
        """Step every copy with `[N, *action_space.shape]`."""
        if not self._started:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        given = action_array(action, self.spec.action_space, self.spec.id)
        try:
            raw, reward, terminated, truncated, info = self._env.step(given)
        except Exception as error:
            raise RunError(f"{self.spec.id}, actions {given.tolist()}, raised {describe(error)}") from error
        rewards = np.array(reward, np.float32)
        ends, stops = np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        done = ends | stops
        valid = ~self._was_done if self._mode is AutoresetMode.NEXT_STEP else np.ones_like(done)
        if not np.isfinite(rewards).all():
            index = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise RunError(
                f"{self.spec.id}, environment {index}, action {given[index].tolist()}, gave the reward "
                f"{rewards[index]}; rewards must be finite"
            )
        obs = self._read(raw, info, np.flatnonzero(done) if self._mode is AutoresetMode.DISABLED else None)
        self._check_finite(obs, f"after the actions {given.tolist()}")
        rows = np.flatnonzero(done)
        self._numbers(info, rows)
        final, obs = self._final(rows, obs, info)
        if self._mode is AutoresetMode.NEXT_STEP and self.spec.mask_key is not None and len(rows):
            # The next action of these copies is thrown away; a mask that allows none must not stop the run.
            obs = {**obs, self.spec.mask_key: obs[self.spec.mask_key].copy()}
            obs[self.spec.mask_key][rows] = 1
        self._was_done = done
        device = self._device
        return Step(
            obs=to_tensors(obs, device),
            reward=torch.from_numpy(rewards).to(device),
            terminated=torch.from_numpy(ends).to(device),
            truncated=torch.from_numpy(stops).to(device),
            final=final,
            valid=torch.from_numpy(valid).to(device),
            info=self._info_tensors(self._infos.take()),
        )

    def configure(self, params: Mapping[str, Any]) -> None:
        """Hand parameters to the vector environment's own `configure`; `UserError` where it has none."""
        method = getattr(self._env.unwrapped, "configure", None)
        if not callable(method):
            raise UserError(
                f"{self.spec.id}: {type(self._env.unwrapped).__name__} has no configure method, so its parameters "
                "cannot be changed; use env.backend=sync"
            )
        method(**params)

    def render(self) -> Any:
        """The first copy's picture; `RunError` if made without `render_mode`."""
        frames: Any = self._env.render() if self._env.render_mode is not None else None
        if frames is None:
            raise RunError(f"{self.spec.id}: nothing to render; make it with render_mode='rgb_array'")
        return frames[0]

    def close(self) -> None:
        """Close it."""
        self._env.close()

    def _reset_all(self, seed: int) -> tuple[Any, dict[str, Any]]:
        self._episodes.start(seed, [0] * self._count)
        seeds: Any = integer_seed(seed, "env")
        if self._seeds_each:
            seeds = [self._episodes.seed_of(index) for index in range(self._count)]
        return self._reset(seeds, None)

    def _reset(self, seeds: Any, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        try:
            return self._env.reset(seed=seeds, options=options)
        except ProximoError:
            raise
        except Exception as error:
            raise RunError(f"{self._config.id} raised {describe(error)} in reset") from error

    def _read(self, raw: Any, info: Mapping[str, Any], without: Array | None = None) -> dict[str, Array]:
        # Copies, because most vector environments hand out their own buffers.
        obs = {leaf.key: np.array(leaf.get(raw), leaf.dtype) for leaf in self._raw_leaves}
        if self._info_mask is not None:
            key, present = self._info_mask.key, info.get(f"_{self._info_mask.key}")
            absent = np.zeros(0, np.int64) if present is None else np.flatnonzero(~present)
            if key not in info or not np.isin(absent, [] if without is None else without).all():
                raise RunError(f"{self.spec.id} gave no info[{key!r}]; the mask must always be there")
            obs[key] = np.array(info[key], self._info_mask.dtype)
        return obs

    def _final(
        self, rows: Array, obs: dict[str, Array], info: Mapping[str, Any]
    ) -> tuple[Final, dict[str, Array]]:
        """The true last observations of the ended `rows`, and the observations to act on next."""
        if not len(rows):
            return self._to_final(rows, {key: array[:0] for key, array in obs.items()}), obs
        if self._mode is not AutoresetMode.SAME_STEP:
            final = {key: array[rows] for key, array in obs.items()}
            if self._mode is AutoresetMode.DISABLED:
                obs = self._reset_rows(rows, obs)
            return self._to_final(rows, final), obs
        if "final_obs" not in info:
            raise RunError(
                f"{self.spec.id}: an episode ended but info['final_obs'] is missing, which same-step autoreset "
                "must give"
            )
        last, ending = info["final_obs"], info.get("final_info", {})
        each = isinstance(last, np.ndarray) and last.dtype == object
        final = {
            leaf.key: np.stack([np.asarray(leaf.get(last[row]), leaf.dtype) for row in rows])
            if each
            else np.array(leaf.get(last)[rows], leaf.dtype)
            for leaf in self._raw_leaves
        }
        if self._info_mask is not None:
            key = self._info_mask.key
            final[key] = np.array(ending[key] if key in ending else info[key], np.int8)[rows]
        self._check_finite(final, "at the end of an episode")
        return self._to_final(rows, final), obs

    def _to_final(self, rows: Array, final: Mapping[str, Array]) -> Final:
        return Final(torch.from_numpy(rows).to(self._device), to_tensors(final, self._device))

    def _reset_rows(self, rows: Array, obs: dict[str, Array]) -> dict[str, Array]:
        ended = np.zeros(self._count, np.bool_)
        ended[rows] = True
        for row in rows:
            self._episodes.next(int(row))
        seeds: Any = None
        if self._seeds_each:
            seeds = [self._episodes.seed_of(index) for index in range(self._count)]
        raw, info = self._reset(seeds, {"reset_mask": ended})
        fresh = self._read(raw, info, np.flatnonzero(~ended))
        self._check_finite({key: array[rows] for key, array in fresh.items()}, "at reset")
        return {
            key: np.where(ended.reshape(-1, *[1] * (array.ndim - 1)), fresh[key], array)
            for key, array in obs.items()
        }

    def _numbers(self, info: Mapping[str, Any], rows: Array) -> None:
        """Named numbers; of an ended row they are those of its last step."""
        ended = np.zeros(self._count, np.bool_)
        ended[rows] = True
        # Same-step: what `info` says of an ended row belongs to the reset.
        same = self._mode is AutoresetMode.SAME_STEP
        ending = info.get("final_info", {}) if same else info
        for key, name in self._infos.names:
            for source, wanted in ((info, ~ended), (ending, ended)):
                if key in source:
                    values = np.asarray(source[key])
                    there = np.asarray(source.get(f"_{key}", True)) & wanted
                    for index in np.flatnonzero(there):
                        self._infos.put(name, int(index), values[index], key)

    def _check_finite(self, obs: Mapping[str, Array], when: str) -> None:
        bad = first_non_finite(obs)
        if bad is not None:
            raise RunError(
                f"{self._config.id}, environment {bad[1]}, {when}, gave NaN or infinity in the observation "
                f"{bad[0]!r}; observations must be finite"
            )
