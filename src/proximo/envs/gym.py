"""N Gymnasium environments stepped one after the other in this process, as one tensor environment.

Same-step autoreset is done here: where an episode ends, `Step.final` holds its true last observation and
`Step.obs` already the first one of the next episode. Every episode is reset with a seed of its own, derived
from (seed, environment, episode), so the data do not depend on how copies are spread over processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import error as gym_error
from gymnasium.spaces import Discrete
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.types import Final, Obs, Step
from proximo.envs import guard, replay
from proximo.envs.configure import apply_params, check_params
from proximo.envs.infos import InfoReader
from proximo.envs.layers import layer_with
from proximo.envs.replay import Episodes, GymEnv, describe
from proximo.envs.spaces import (
    Array,
    Leaf,
    action_array,
    all_finite,
    buffers,
    check_action_space,
    check_shapes,
    find_mask,
    fits,
    make_spec,
    mask_leaf,
    mask_size,
    observation_leaves,
    to_tensor,
    to_tensors,
)
from proximo.errors import ProximoError, RunError, UserError


class SyncEnv:
    """Steps `envs` (all alike) one by one; see `core.types.VecEnv` for the contract.

    `first_env` is the global index of the first copy: it enters the seeds. Raises `UserError` for unsupported
    spaces and `RunError`, naming copy, episode, seed, step and action, where a copy fails.
    """

    def __init__(
        self, envs: Sequence[GymEnv], config: EnvConfig, device: torch.device, first_env: int = 0
    ) -> None:
        self._envs, self._config, self._device = list(envs), config, device
        first, count = self._envs[0], len(self._envs)
        space = first.action_space
        check_action_space(space, config.id)
        self._raw_leaves = observation_leaves(first.observation_space, config.id)
        mask_key = find_mask(self._raw_leaves, config.mask_key, space, config.id)
        self._info_mask = None if mask_key else self._probe_mask()
        self._leaves = (*self._raw_leaves, self._info_mask) if self._info_mask else self._raw_leaves
        mask_key = self._info_mask.key if self._info_mask else mask_key
        self.spec = make_spec(config.id, self._leaves, space, count, device, mask_key)
        self._discrete = isinstance(space, Discrete)
        self._plain = self._raw_leaves[0].key if not self._raw_leaves[0].path else None
        reports = layer_with(first, "reports_episodes") is not None
        self._infos = InfoReader(config, count, device, reports_episodes=reports)
        self._valid = torch.ones(count, dtype=torch.bool, device=device)
        nobody = torch.zeros(0, dtype=torch.int64, device=device)
        self._no_final = Final(nobody, to_tensors(buffers(self._leaves, 0), device))
        self._episodes = Episodes(config.id, count, first_env)
        self._params: dict[str, Any] = {}
        self._applied: list[dict[str, Any]] = [self._params] * count
        self._last: dict[str, Array] = {}

    def reset(self, seed: int) -> Obs:
        """Begin episode 0 of every copy; `[N, ...]` per key."""
        count = len(self._envs)
        self._episodes.start(seed, [0] * count)
        obs = buffers(self._leaves, count)
        for index, env in enumerate(self._envs):
            game = layer_with(env, "abandon")
            if game is not None:
                game.abandon()
            self._begin(index, obs)
        self._check_obs(obs, None)
        self._last = obs
        return to_tensors(obs, self._device)

    def step(self, action: Tensor) -> Step:
        """Step every copy with `[N, *action_space.shape]`, as `policy.to_env` gives it."""
        given = self._actions(action)
        arguments = self._arguments(given)
        count = len(self._envs)
        obs, reward = buffers(self._leaves, count), np.empty(count, np.float32)
        terminated, truncated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        ended: list[int] = []
        plain = None if self._plain is None else obs[self._plain]
        shape = self._raw_leaves[0].shape
        mask, infos, index = self._info_mask, self._infos, 0
        wanted = infos.wanted
        try:
            for index, (env, argument) in enumerate(zip(self._envs, arguments, strict=True)):
                raw, reward[index], ends, stops, info = env.step(argument)
                if plain is not None and getattr(raw, "shape", None) == shape:
                    plain[index] = raw
                else:
                    self._write(index, raw, obs)
                if mask is not None:
                    obs[mask.key][index] = info[mask.key]
                if ends or stops:
                    terminated[index], truncated[index] = ends, stops
                    ended.append(index)
                for key in wanted:
                    if key in info:
                        infos.read(index, info)
                        break
        except ProximoError:
            raise
        # SystemExit, which would end the program as if all were well.
        except (Exception, SystemExit) as error:
            where = self._episodes.where(index, given)
            raise RunError(f"{where} {guard.fault(error, __file__)}") from error
        self._check_reward(reward, given)
        self._check_obs(obs, given)
        final = self._autoreset(ended, obs) if ended else self._no_final
        self._last = obs
        device = self._device
        return Step(
            obs=to_tensors(obs, device),
            reward=to_tensor(reward, device),
            terminated=to_tensor(terminated, device),
            truncated=to_tensor(truncated, device),
            final=final,
            valid=self._valid,
            info=infos.take(),
        )

    def configure(self, params: Mapping[str, Any]) -> None:
        """Set parameters of the environments from each one's next reset on; `UserError` for unknown names."""
        merged = {**self._params, **params}
        check_params(self._envs[0], merged, self.spec.id)
        self._params = merged

    def render(self) -> Any:
        """The first copy's picture; `RunError` if made without `render_mode`."""
        if self._envs[0].render_mode is None:
            raise RunError(f"{self.spec.id}: nothing to render; make it with render_mode='rgb_array'")
        try:
            return self._envs[0].render()
        except gym_error.DependencyNotInstalled as error:
            raise UserError(f"rendering {self.spec.id} needs pygame: pip install 'proximo[video]'") from error
        except Exception as error:
            raise RunError(f"{self.spec.id}: render() raised {describe(error)}") from error

    def close(self) -> None:
        """Close every copy."""
        guard.close(self._envs, self.spec.id)

    def state_dict(self) -> dict[str, Any]:
        """Seeds, episode indices, the running episodes' actions, last observations (tensors, JSON values)."""
        if self._episodes.seed is None:
            return {"seed": None}
        native = [replay.save_native(env) for env in self._envs]
        saved = native[0] is not None
        return {
            "seed": self._episodes.seed,
            "episode": list(self._episodes.index),
            "actions": [] if saved else [self._taken(index) for index in range(len(self._envs))],
            "native": native if saved else [],
            "obs": {key: torch.from_numpy(array.copy()) for key, array in self._last.items()},
            "params": self._params,
            "applied": [dict(params) for params in self._applied],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the running episodes; `RunError` naming copy and key where one does not come back bitwise."""
        if state["seed"] is None:
            return
        count = len(self._envs)
        if len(state["episode"]) != count:
            raise RunError(
                f"{self.spec.id}: the checkpoint holds {len(state['episode'])} environments, but "
                f"env.num_envs is {count}; resume with the same number"
            )
        self._episodes.start(int(state["seed"]), [int(episode) for episode in state["episode"]])
        saved = {key: value.cpu().numpy() for key, value in state["obs"].items()}
        actions = [rows.cpu().numpy() for rows in state["actions"]]
        obs = buffers(self._leaves, count)
        for index in range(count):
            self._params = dict(state["applied"][index])
            self._begin(index, obs)
            name = self._episodes.name(index)
            if state["native"]:
                replay.load_native(self._envs[index], state["native"][index], name)
            else:
                self._replay(index, actions[index], obs)
                replay.compare(self._leaves, index, obs, saved, name)
        if actions:
            self._episodes.history.restore(actions)
        self._params = dict(state["params"])
        self._last = saved

    def _taken(self, index: int) -> Tensor:
        space = self.spec.action_space
        dtype = np.int64 if self._discrete else space.dtype
        rows = self._episodes.history.of(index)
        return torch.from_numpy(np.array(rows, dtype=dtype).reshape(len(rows), *(space.shape or ())))

    def _replay(self, index: int, actions: Array, obs: dict[str, Array]) -> None:
        if len(actions):
            arguments = actions.tolist() if self._discrete else list(actions)
            raw, info = replay.replay(self._envs[index], arguments, self._episodes.name(index))
            self._write(index, raw, obs)
            if self._info_mask is not None:
                obs[self._info_mask.key][index] = info[self._info_mask.key]

    def _begin(self, index: int, obs: dict[str, Array]) -> None:
        # The one place that resets a copy.
        env = self._envs[index]
        if self._applied[index] is not self._params:
            apply_params(env, self._params)
            self._applied[index] = self._params
        raw, info = guard.reset(env, self._episodes.seed_of(index), lambda: self._episodes.where(index, None))
        check_shapes(self._raw_leaves, raw, self._episodes.where(index, None))
        self._write(index, raw, obs)
        if self._info_mask is not None:
            if self._info_mask.key not in info:
                where = self._episodes.where(index, None)
                raise RunError(
                    f"{where} gave no info[{self._info_mask.key!r}]; the mask must always be there"
                )
            obs[self._info_mask.key][index] = info[self._info_mask.key]

    def _autoreset(self, ended: list[int], obs: dict[str, Array]) -> Final:
        final = {key: array[ended] for key, array in obs.items()}
        for index in ended:
            self._episodes.next(index)
            self._begin(index, obs)
        self._check_obs({key: array[ended] for key, array in obs.items()}, None, ended)
        who = torch.tensor(ended, dtype=torch.int64, device=self._device)
        return Final(who, to_tensors(final, self._device))

    def _write(self, index: int, raw: Any, obs: dict[str, Array]) -> None:
        for leaf in self._raw_leaves:
            value = leaf.get(raw)
            if not fits(leaf, value):
                raise ValueError(f"observation {leaf.key!r} of shape {np.shape(value)}, not {leaf.shape}")
            obs[leaf.key][index] = value

    def _probe_mask(self) -> Leaf | None:
        # Only a reset tells whether `info` has a mask; every episode is seeded, so this one leaves no trace.
        env = self._envs[0]
        if mask_size(env.action_space) is None:
            return None
        _, info = guard.reset(env, 0, lambda: f"{self._config.id}, at reset,")
        key, game = self._config.mask_key, layer_with(env, "abandon")
        if game is not None:
            game.abandon()
        return mask_leaf(key, info[key], env.action_space, self._config.id) if key in info else None

    def _actions(self, action: Tensor) -> Array:
        if self._episodes.seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        if action.shape[0] != len(self._envs):
            raise RunError(f"{self.spec.id}: {action.shape[0]} actions for {len(self._envs)} environments")
        given = action_array(action, self.spec.action_space, self.spec.id)
        # A copy for the record: environments may keep or change what they are given.
        self._episodes.history.append(given.copy())
        return given

    def _arguments(self, given: Array) -> list[Any]:
        # What each copy's `step` gets; a subclass may begin to work ahead here.
        return given.tolist() if self._discrete else list(given)

    def _check_reward(self, reward: Array, given: Array) -> None:
        if not all_finite(reward):
            index = int(np.flatnonzero(~np.isfinite(reward))[0])
            where = self._episodes.where(index, given)
            raise RunError(f"{where} gave the reward {reward[index]}; rewards must be finite")

    def _check_obs(
        self, obs: Mapping[str, Array], given: Array | None, rows: list[int] | None = None
    ) -> None:
        problem = guard.find_bad(self._raw_leaves, obs)
        if problem is not None:
            row, text = problem
            where = self._episodes.where(row if rows is None else rows[row], given)
            raise RunError(f"{where} gave {text}")
