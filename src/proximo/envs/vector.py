"""Any `gymnasium.vector.VectorEnv` as a tensor environment, whichever way it resets itself.

Its autoreset mode is read from `metadata["autoreset_mode"]`, never guessed:
next-step (the row that only resets is not `valid`), same-step (the true last observation comes in
`info["final_obs"]`) or disabled (ended copies are reset here, through `options["reset_mask"]`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    all_finite,
    buffers,
    check_action_space,
    find_mask,
    first_non_finite,
    mask_leaf,
    mask_size,
    observation_leaves,
)
from proximo.envs.tensors import InfoTensors, action_array, make_spec, stepped, to_tensors
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


def _take_over_check(env: GymVector) -> Callable[[Any], bool] | None:
    """The action check of Gymnasium's own tasks, which they then no longer make; None for all others.

    It is a quarter of their step, and what a policy's head gives lies in the space by construction.
    """
    if not type(env.unwrapped).__module__.startswith("gymnasium.envs."):
        return None
    space = env.unwrapped.action_space
    check: Callable[[Any], bool] = space.contains
    vars(space)["contains"] = lambda _: True
    return check


class GymVectorEnv:
    """A Gymnasium vector environment behind `core.types.VecEnv`.

    Copies that accept a list of seeds get the same derived ones as `SyncEnv`; with autoreset disabled, each
    episode does. It cannot be restored by replay, so it has no `state_dict`: a resumed run begins new episodes.
    """

    def __init__(self, env: GymVector, config: EnvConfig, device: torch.device, first_env: int = 0) -> None:
        self._env, self._config, self._device = env, config, device
        self.metadata = dict(env.metadata)
        self.params: dict[str, Any] = {}
        """What `configure` changed so far: a resumed run must change it again."""
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
        self._leaves = (*self._raw_leaves, self._info_mask) if self._info_mask else self._raw_leaves
        self.spec = make_spec(config.id, self._leaves, space, self._count, device, mask_key)
        self._infos = InfoReader(config, self._count)
        self._info_tensors = InfoTensors(self._infos.columns, self._count, device)
        self._nobody = np.zeros(0, np.int64)
        self._no_final = self._to_final(self._nobody, buffers(self._leaves, 0))
        self._contains = _take_over_check(env)
        self._was_done = np.zeros(self._count, np.bool_)
        self._started = False

    def reset(self, seed: int) -> Obs:
        """Begin new episodes everywhere; `[N, ...]` per key."""
        raw, info = self._reset_all(seed)
        self._was_done = np.zeros(self._count, np.bool_)
        self._started = True
        obs = buffers(self._leaves, self._count)
        self._read(raw, info, obs)
        self._check_finite(obs, "at reset")
        return to_tensors(obs, self._device)

    def step(self, action: Tensor) -> Step:
        """Step every copy with `[N, *action_space.shape]`."""
        given = action_array(action, self.spec.action_space, self.spec.id)
        if self._contains is not None and not self._contains(given):
            raise RunError(f"{self.spec.id}: actions {given.tolist()} are not in {self.spec.action_space}")
        return stepped(self, self._leaves, given)

    def step_into(
        self,
        given: Array,
        obs: dict[str, Array],
        reward: Array,
        terminated: Array,
        truncated: Array,
        valid: Array,
    ) -> tuple[Final, dict[str, Tensor]]:
        """Step with `[N, ...]` actions that lie in the space, as a policy's do; the answers go into given memory."""
        if not self._started:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        try:
            raw, rewards, ends, stops, info = self._env.step(given)
        except Exception as error:
            raise RunError(f"{self.spec.id}, actions {given.tolist()}, raised {describe(error)}") from error
        self._fill(reward, rewards, "reward")
        self._fill(terminated, ends, "terminated")
        self._fill(truncated, stops, "truncated")
        done = terminated | truncated
        if self._mode is AutoresetMode.NEXT_STEP:
            np.logical_not(self._was_done, out=valid)
        else:
            valid[:] = True
        if not all_finite(reward):
            self._refuse_reward(reward, given)
        # The cheapest way to ask whether any is True.
        rows = np.flatnonzero(done) if 1 in done.tobytes() else self._nobody
        self._read(raw, info, obs, rows if self._mode is AutoresetMode.DISABLED else None)
        self._check_finite(obs, given)
        if info and self._infos.names:
            self._numbers(info, rows)
        final = self._final(rows, obs, info) if len(rows) else self._no_final
        self._was_done = done
        return final, self._info_tensors(self._infos.take()) if self._infos.names else {}

    def configure(self, params: Mapping[str, Any]) -> None:
        """Hand parameters to the vector environment's own `configure`; `UserError` where it has none."""
        method = getattr(self._env.unwrapped, "configure", None)
        if not callable(method):
            raise UserError(
                f"{self.spec.id}: {type(self._env.unwrapped).__name__} has no configure method, so its parameters "
                "cannot be changed; use env.backend=sync"
            )
        method(**params)
        self.params |= params

    def render(self) -> Any:
        """The first copy's picture; `RunError` if made without `render_mode`."""
        frames: Any = self._env.render() if self._env.render_mode is not None else None
        if frames is None:
            raise RunError(f"{self.spec.id}: nothing to render; make it with render_mode='rgb_array'")
        return frames[0]

    def close(self) -> None:
        """Close it. Raises: RunError where its own `close` raises."""
        try:
            self._env.close()
        except Exception as error:
            raise RunError(f"{self._config.id}: close() raised {describe(error)}") from error

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

    def _read(
        self, raw: Any, info: Mapping[str, Any], obs: dict[str, Array], without: Array | None = None
    ) -> None:
        # Copies, because most vector environments hand out their own buffers.
        for leaf in self._raw_leaves:
            self._fill(obs[leaf.key], leaf.get(raw), leaf.key)
        if self._info_mask is not None:
            key, present = self._info_mask.key, info.get(f"_{self._info_mask.key}")
            absent = self._nobody if present is None else np.flatnonzero(~present)
            if key not in info or not np.isin(absent, [] if without is None else without).all():
                raise RunError(f"{self.spec.id} gave no info[{key!r}]; the mask must always be there")
            obs[key][...] = info[key]

    def _fill(self, target: Array, value: Any, name: str) -> None:
        # NumPy would spread one copy's numbers over all. Asking an array itself is the cheaper question.
        if getattr(value, "shape", None) != target.shape and np.shape(value) != target.shape:
            raise RunError(
                f"{self._config.id} gave {name!r} in shape {np.shape(value)}, not {target.shape}: one row a copy"
            )
        target[...] = value

    def _final(self, rows: Array, obs: dict[str, Array], info: Mapping[str, Any]) -> Final:
        """The true last observations of the ended `rows`; `obs` then holds those to act on next."""
        if self._mode is AutoresetMode.SAME_STEP:
            return self._to_final(rows, self._final_of_info(rows, info))
        final = self._to_final(rows, {key: array[rows] for key, array in obs.items()})
        if self._mode is AutoresetMode.DISABLED:
            self._reset_rows(rows, obs)
        elif self.spec.mask_key is not None:
            # The next action of these copies is thrown away; a mask that allows none must not stop the run.
            obs[self.spec.mask_key][rows] = 1
        return final

    def _final_of_info(self, rows: Array, info: Mapping[str, Any]) -> dict[str, Array]:
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
        return final

    def _to_final(self, rows: Array, final: Mapping[str, Array]) -> Final:
        return Final(torch.from_numpy(rows).to(self._device), to_tensors(final, self._device))

    def _reset_rows(self, rows: Array, obs: dict[str, Array]) -> None:
        ended = np.zeros(self._count, np.bool_)
        ended[rows] = True
        for row in rows:
            self._episodes.next(int(row))
        seeds: Any = None
        if self._seeds_each:
            seeds = [self._episodes.seed_of(index) for index in range(self._count)]
        raw, info = self._reset(seeds, {"reset_mask": ended})
        fresh = buffers(self._leaves, self._count)
        self._read(raw, info, fresh, np.flatnonzero(~ended))
        for key, array in obs.items():
            array[rows] = fresh[key][rows]
        self._check_finite({key: array[rows] for key, array in obs.items()}, "at reset")

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

    def _refuse_reward(self, reward: Array, given: Array) -> None:
        index = int(np.flatnonzero(~np.isfinite(reward))[0])
        raise RunError(
            f"{self.spec.id}, environment {index}, action {given[index].tolist()}, gave the reward "
            f"{reward[index]}; rewards must be finite"
        )

    def _check_finite(self, obs: Mapping[str, Array], when: str | Array) -> None:
        bad = first_non_finite(obs)
        if bad is not None:
            when = when if isinstance(when, str) else f"after the actions {when.tolist()}"
            raise RunError(
                f"{self._config.id}, environment {bad[1]}, {when}, gave NaN or infinity in the observation "
                f"{bad[0]!r}; observations must be finite"
            )
