"""N alike Gymnasium environments stepped one after the other: NumPy arrays in and out.

What steps environments in the learner's process (`SyncEnv`) and in worker processes; it needs no PyTorch.
Every episode is reset with a seed of its own, derived from (seed, environment, episode), so the data do not
depend on how copies are spread over processes, nor on whether a spare was reset ahead of time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Discrete

from proximo.envs import guard, replay
from proximo.envs.ahead import Spares
from proximo.envs.configure import apply_params, check_params
from proximo.envs.infos import InfoReader
from proximo.envs.layers import layer_with
from proximo.envs.replay import Episodes, GymEnv
from proximo.envs.spaces import (
    Array,
    Leaf,
    all_finite,
    buffers,
    check_action_space,
    check_shapes,
    find_mask,
    fits,
    mask_leaf,
    mask_size,
    observation_leaves,
)
from proximo.errors import ProximoError, RunError

if TYPE_CHECKING:
    from proximo.config.experiment import EnvConfig


@dataclass
class Rows:
    """What a step of the copies gives, one row each."""

    obs: dict[str, Array]
    reward: Array
    terminated: Array
    truncated: Array


class Copies:
    """Steps `envs` (all alike) one by one; `first_env` is the global index of the first one.

    Raises `UserError` for unsupported spaces and `RunError`, naming copy, episode, seed, step and action, where
    a copy fails.
    """

    def __init__(
        self, envs: Sequence[GymEnv], config: EnvConfig, first_env: int = 0, spares: Sequence[GymEnv] = ()
    ) -> None:
        self.envs, self._config, self.env_id = list(envs), config, config.id
        first, count = self.envs[0], len(self.envs)
        self.space = first.action_space
        check_action_space(self.space, config.id)
        self._raw_leaves = observation_leaves(first.observation_space, config.id)
        mask_key = find_mask(self._raw_leaves, config.mask_key, self.space, config.id)
        self._info_mask = None if mask_key else self._probe_mask()
        self.leaves = (*self._raw_leaves, self._info_mask) if self._info_mask else self._raw_leaves
        self.mask_key = self._info_mask.key if self._info_mask else mask_key
        self._discrete = isinstance(self.space, Discrete)
        self._plain = self._raw_leaves[0].key if not self._raw_leaves[0].path else None
        self._reports = layer_with(first, "reports_episodes") is not None
        self.infos = InfoReader(config, count, reports_episodes=self._reports)
        self.episodes = Episodes(config.id, count, first_env)
        self.params: dict[str, Any] = {}
        self.applied: list[dict[str, Any]] = [self.params] * count
        """The parameters that each running episode began with."""
        self.mark: Any = [0, 0]
        """What is going on: the copy that is stepped or reset, and 1 while it is reset. Outlives the process where
        it lies in shared memory."""
        self.arguments: Callable[[Array], list[Any]] = self._listed
        """`[N, ...]` actions → what each copy's `step` gets; replaced by who begins to work ahead there."""
        self._current: dict[int, dict[str, Any]] = {id(env): self.params for env in [*envs, *spares]}
        self._spares = Spares(spares, buffers(self.leaves, count)) if spares else None

    def reset(self, seed: int, obs: dict[str, Array]) -> None:
        """Begin episode 0 of every copy."""
        self.start(seed, [0] * len(self.envs), obs)

    def start(self, seed: int, episodes: list[int], obs: dict[str, Array]) -> None:
        """Begin episode `episodes[i]` of every copy `i`, under the base seed `seed`."""
        self.episodes.start(seed, episodes)
        if self._spares is not None:
            self._spares.forget()
        for index, env in enumerate(self.envs):
            game = layer_with(env, "abandon")
            if game is not None:
                game.abandon()
            self._begin(index, obs)
        self._check_obs(obs, None)

    def step(self, given: Array, rows: Rows) -> list[int]:
        """Step every copy with `[N, ...]` actions; returns the copies whose episode ended, to be given to `go_on`."""
        # A copy for the record: environments may keep or change what they are given.
        self.episodes.history.append(given.copy())
        arguments = self.arguments(given)
        obs, reward = rows.obs, rows.reward
        rows.terminated[:] = rows.truncated[:] = False
        ended: list[int] = []
        plain = None if self._plain is None else obs[self._plain]
        shape = self._raw_leaves[0].shape
        mask, infos, mark, index = self._info_mask, self.infos, self.mark, 0
        wanted = infos.wanted
        try:
            for index, (env, argument) in enumerate(zip(self.envs, arguments, strict=True)):
                mark[0] = index
                raw, reward[index], ends, stops, info = env.step(argument)
                if plain is not None and getattr(raw, "shape", None) == shape:
                    plain[index] = raw
                else:
                    self._write(index, raw, obs)
                if mask is not None:
                    obs[mask.key][index] = info[mask.key]
                if ends or stops:
                    rows.terminated[index], rows.truncated[index] = ends, stops
                    ended.append(index)
                    if self._reports and "episode_return" not in info:
                        # A layer above the one that counts has ended the episode.
                        info = {**info, **layer_with(env, "reports_episodes").episode()}
                for key in wanted:
                    if key in info:
                        infos.read(index, info)
                        break
        except ProximoError:
            raise
        # SystemExit, which would end the program as if all were well.
        except (Exception, SystemExit) as error:
            where = self.episodes.where(index, given)
            raise RunError(f"{where} {guard.fault(error, __file__)}") from error
        self._check_reward(reward, given)
        self._check_obs(obs, given)
        return ended

    def go_on(self, ended: list[int], obs: dict[str, Array]) -> None:
        """Begin the next episodes of the copies in `ended`; their rows of `obs` become the first observations."""
        for index in ended:
            self.episodes.next(index)
            self._begin(index, obs)
        self._check_obs({key: array[ended] for key, array in obs.items()}, None, ended)

    def reset_ahead(self) -> bool:
        """Reset one spare for the episode that will follow in its place; False where none is left to do."""
        if self._spares is None or self.episodes.seed is None:
            return False
        history = self.episodes.history
        index = self._spares.waiting(self.params, [history.length(copy) for copy in range(len(self.envs))])
        if index is None:
            return False
        seed = self.episodes.seed_of(index, ahead=1)
        with self._spares.preparing(index, seed, self.params) as spare:
            self._open(spare, index, self._spares.obs, ahead=1)
        return True

    def configure(self, params: Mapping[str, Any]) -> None:
        """Set parameters of the environments from each one's next reset on; `UserError` for unknown names."""
        merged = {**self.params, **params}
        check_params(self.envs[0], merged, self._config.id)
        self.params = merged

    def close(self) -> None:
        """Close every copy."""
        guard.close([*self.envs, *(self._spares.envs if self._spares else ())], self._config.id)

    def native(self) -> list[dict[str, Any]]:
        """States of the copies where they save themselves, else an empty list."""
        native = [replay.save_native(env) for env in self.envs]
        return [state for state in native if state is not None]

    def load(self, state: Mapping[str, Any], saved: Mapping[str, Array], actions: list[Array]) -> None:
        """Restore the running episodes; `RunError` naming copy and key where one does not come back bitwise.

        `saved` are the last observations, `actions` those of every running episode (empty for copies that save
        themselves).
        """
        count = len(self.envs)
        if self._spares is not None:
            self._spares.forget()
        self.episodes.start(int(state["seed"]), [int(episode) for episode in state["episode"]])
        obs = buffers(self.leaves, count)
        for index in range(count):
            self.params = dict(state["applied"][index])
            self._begin(index, obs)
            name = self.episodes.name(index)
            if state["native"]:
                replay.load_native(self.envs[index], state["native"][index], name)
            else:
                self._replay(index, actions[index], obs)
                replay.compare(self.leaves, index, obs, saved, name)
        if actions:
            self.episodes.history.restore(actions)
        self.params = dict(state["params"])

    def _listed(self, given: Array) -> list[Any]:
        return given.tolist() if self._discrete else list(given)

    def _replay(self, index: int, actions: Array, obs: dict[str, Array]) -> None:
        if len(actions):
            # Copies: environments may change what they are given.
            given = self._listed(actions.copy())
            raw, info = replay.replay(self.envs[index], given, self.episodes.name(index))
            self._write(index, raw, obs)
            if self._info_mask is not None:
                obs[self._info_mask.key][index] = info[self._info_mask.key]

    def _begin(self, index: int, obs: dict[str, Array]) -> None:
        """The running episode of one copy begins: with a spare that was reset for it, else by a reset now."""
        spares = self._spares
        if spares is not None and spares.ready(index, self.episodes.seed_of(index), self.params):
            self.envs[index] = spares.take(index, self.envs[index], obs)
        else:
            self._open(self.envs[index], index, obs)
        self.applied[index] = self.params

    def _open(self, env: GymEnv, index: int, obs: dict[str, Array], ahead: int = 0) -> None:
        # The one place that resets an environment.
        def where() -> str:
            return self.episodes.where(index, None, ahead)

        self.mark[0], self.mark[1] = index, 1
        if self._current[id(env)] is not self.params:
            apply_params(env, self.params, where)
            self._current[id(env)] = self.params
        raw, info = guard.reset(env, self.episodes.seed_of(index, ahead), where)
        self.mark[1] = 0
        check_shapes(self._raw_leaves, raw, where())
        self._write(index, raw, obs)
        if self._info_mask is not None:
            if self._info_mask.key not in info:
                raise RunError(
                    f"{where()} gave no info[{self._info_mask.key!r}]; the mask must always be there"
                )
            obs[self._info_mask.key][index] = info[self._info_mask.key]

    def _write(self, index: int, raw: Any, obs: dict[str, Array]) -> None:
        for leaf in self._raw_leaves:
            value = leaf.get(raw)
            if not fits(leaf, value):
                raise ValueError(f"observation {leaf.key!r} of shape {np.shape(value)}, not {leaf.shape}")
            obs[leaf.key][index] = value

    def _probe_mask(self) -> Leaf | None:
        # Only a reset tells whether `info` has a mask; every episode is seeded, so this one leaves no trace.
        env = self.envs[0]
        if mask_size(env.action_space) is None:
            return None
        _, info = guard.reset(env, 0, lambda: f"{self._config.id}, at reset,")
        key, game = self._config.mask_key, layer_with(env, "abandon")
        if game is not None:
            game.abandon()
        return mask_leaf(key, info[key], env.action_space, self._config.id) if key in info else None

    def _check_reward(self, reward: Array, given: Array) -> None:
        if not all_finite(reward):
            index = int(np.flatnonzero(~np.isfinite(reward))[0])
            where = self.episodes.where(index, given)
            raise RunError(f"{where} gave the reward {reward[index]}; rewards must be finite")

    def _check_obs(
        self, obs: Mapping[str, Array], given: Array | None, rows: list[int] | None = None
    ) -> None:
        problem = guard.find_bad(self._raw_leaves, obs)
        if problem is not None:
            row, text = problem
            where = self.episodes.where(row if rows is None else rows[row], given)
            raise RunError(f"{where} gave {text}")
