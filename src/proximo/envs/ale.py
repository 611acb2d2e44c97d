"""Atari games by ALE's own vector environment: all copies at once, in threads, in C++.

The preprocessing means what `AtariGame` (`envs.atari`) means; what ALE does otherwise is put right here. Its
`episodic_life` restarts the whole game at a lost life, so it is left off: the life counter ends an episode, and a
row that only serves (FIRE, where the game has it) begins the next one. Its picture stack begins with black
frames, here with copies of the first. Its rewards come raw, so that episodes can be told in the game's own score.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.rng import integer_seed
from proximo.core.types import Final, Obs, Step
from proximo.envs import atari
from proximo.envs.infos import InfoReader
from proximo.envs.replay import describe
from proximo.envs.single import find, registered
from proximo.envs.spaces import Array, observation_leaves
from proximo.envs.tensors import InfoTensors, action_array, make_spec, to_tensors
from proximo.envs.vector import autoreset_mode
from proximo.errors import RunError, UserError

KWARGS = ("repeat_action_probability", "full_action_space")
"""Of the game's constructor arguments, those that ALE's vector environment has too."""


def refuses(config: EnvConfig) -> str | None:
    """Why ALE's vector environment cannot step this configuration; None where it can."""
    target = find(config.id)
    spec = registered(target) if isinstance(target, str) else None
    if spec is None or not atari.is_game(spec, config.kwargs):
        return f"{config.id} is no Atari game seen as pictures"
    if config.wrappers:
        return "env.wrappers apply to single environments"
    other = sorted(set(config.kwargs) - set(KWARGS))
    return f"ALE's vector environment has no env.kwargs.{other[0]}" if other else None


class AleVectorEnv:
    """`num_envs` copies of one game; see `core.types.VecEnv` for the contract.

    ALE resets a copy in the step after its game ended; such rows, and those that serve, are not `valid`. A game's
    random numbers run on from reset to reset (seeding one loads it again, 90 ms), and ALE tells nobody its
    state, so it has no `state_dict`: a resumed run begins new games. Raises UserError where `refuses` says why.
    """

    def __init__(
        self,
        config: EnvConfig,
        num_envs: int,
        device: torch.device,
        first_env: int = 0,
        training: bool = True,
    ) -> None:
        reason = refuses(config)
        if reason is not None:
            raise UserError(f"env.backend=ale: {reason}; use env.backend=sync")
        spec = registered(str(find(config.id)))
        options, limit = {**spec.kwargs, **config.kwargs}, config.max_episode_steps
        self._env: Any = importlib.import_module("ale_py.vector_env").AtariVectorEnv(
            options["game"],
            num_envs,
            max_num_frames_per_episode=atari.MAX_FRAMES if limit is None else limit * atari.SKIP,
            repeat_action_probability=atari.stickiness(spec, config.kwargs),
            full_action_space=bool(options.get("full_action_space", False)),
            img_height=atari.SIZE,
            img_width=atari.SIZE,
            stack_num=atari.STACK,
            frameskip=atari.SKIP,
            noop_max=atari.NOOPS,
            reward_clipping=False,
        )
        mode = autoreset_mode(self._env)
        if mode is not AutoresetMode.NEXT_STEP:
            raise UserError(
                f"env.backend=ale: ale-py resets by {mode.name}, not NEXT_STEP; use env.backend=sync"
            )
        self._config, self._count, self._device = config, num_envs, device
        self._first_env, self._training = first_env, training
        self._leaves = observation_leaves(self._env.single_observation_space, config.id)
        self.spec = make_spec(config.id, self._leaves, self._env.single_action_space, num_envs, device, None)
        self._key = self._leaves[0].key
        # Action 1 is FIRE in every game that has it.
        self._serve = int(self._env.ale.get_action_set()[1].name == "FIRE")
        self._actions = int(self._env.single_action_space.n)
        self._infos = InfoReader(config, num_envs, reports_episodes=training)
        self._info_tensors = InfoTensors(self._infos.columns, num_envs, device)
        self._started = False

    def reset(self, seed: int) -> Obs:
        """Begin a new game in every copy; `[N, 4, 84, 84]` uint8."""
        count = self._count
        copies = range(self._first_env, self._first_env + count)
        seeds = np.array([integer_seed(seed, "env", index, 0) for index in copies])
        pictures, info = self._call("reset", lambda: self._env.reset(seed=seeds))
        self._lives = np.array(info["lives"])
        self._ended, self._serving = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self._return, self._owed = np.zeros(count), np.zeros(count, np.float32)
        self._length, self._age = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._first = np.zeros((count, atari.SIZE, atari.SIZE), np.uint8)
        self._started = True
        return to_tensors({self._key: self._stack(pictures, np.ones(count, np.bool_))}, self._device)

    def step(self, action: Tensor) -> Step:
        """Hold each copy's action `[N]` for 4 frames; where a copy resets or serves it counts for nothing."""
        if not self._started:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        given = action_array(action, self.spec.action_space, self.spec.id)
        self._check(given)
        resetting, serving = self._ended, self._serving
        given[serving] = self._serve
        answer = self._call(f"actions {given.tolist()}", lambda: self._env.step(given))
        pictures, points, over, stopped, info = answer
        over, stopped, reward = np.array(over), np.array(stopped), np.array(points, np.float32)
        done, lives = over | stopped, np.array(info["lives"])
        obs = {self._key: self._stack(pictures, resetting | serving)}
        lost = ~resetting & ~done & (lives < self._lives)
        self._count_game(reward, resetting, serving, done, info)
        valid = ~(resetting | serving)
        if self._training:
            over = (over | lost) & valid
            stopped &= valid
            reward = np.sign(reward) * valid
        else:
            # What a serve earns belongs to the step before it, which is gone: the next one reports it.
            valid |= serving & done
            reward, self._owed = (
                np.where(valid, reward + self._owed, 0.0).astype(np.float32),
                np.where(valid, 0.0, reward + self._owed).astype(np.float32),
            )
        self._ended, self._serving, self._lives = done, lost, lives
        rows = np.flatnonzero(over | stopped)
        device = self._device
        return Step(
            obs=to_tensors(obs, device),
            reward=torch.from_numpy(reward).to(device),
            terminated=torch.from_numpy(over).to(device),
            truncated=torch.from_numpy(stopped).to(device),
            final=Final(
                torch.from_numpy(rows).to(device), to_tensors({self._key: obs[self._key][rows]}, device)
            ),
            valid=torch.from_numpy(valid).to(device),
            info=self._info_tensors(self._infos.take()),
        )

    def configure(self, params: Mapping[str, Any]) -> None:
        """Always a UserError: ALE's vector environment has nothing to change."""
        raise UserError(f"{self.spec.id}: env.backend=ale has no parameters to change; use env.backend=sync")

    def render(self) -> Any:
        """Always a RunError: ALE's vector environment draws nothing (`make_env` takes `sync` for drawing)."""
        raise RunError(f"{self.spec.id}: nothing to render; make it with render_mode='rgb_array'")

    def close(self) -> None:
        """Nothing to do: the emulators go with the object."""

    def _check(self, given: Array) -> None:
        # ALE waits for ever where a thread of its own raises.
        wrong = np.flatnonzero((given < 0) | (given >= self._actions))
        if len(wrong):
            raise RunError(
                f"{self.spec.id}, environment {self._first_env + int(wrong[0])}: action {given[wrong[0]]} is none of "
                f"0 to {self._actions - 1}"
            )
        if len(given) != self._count:
            raise RunError(f"{self.spec.id}: {len(given)} actions for {self._count} environments")

    def _call(self, what: str, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except Exception as error:
            raise RunError(f"{self._config.id}, {what}, raised {describe(error)}") from error

    def _stack(self, pictures: Array, begins: Array) -> Array:
        """The last four pictures, none of them from before the episode: there its first one stands instead."""
        stack = np.array(pictures)
        self._age = np.where(begins, 0, self._age + 1)
        self._first[begins] = stack[begins, -1]
        rows = np.flatnonzero(self._age < atari.STACK - 1)
        if len(rows):
            before = np.arange(atari.STACK - 1, -1, -1) > self._age[rows, None]
            stack[rows] = np.where(before[:, :, None, None], self._first[rows, None], stack[rows])
        return stack

    def _count_game(self, reward: Array, resetting: Array, serving: Array, done: Array, info: Any) -> None:
        self._return = np.where(resetting, 0.0, self._return + reward)
        self._length = np.where(resetting, 0, self._length + ~serving)
        for key, name in self._infos.names:
            if key in info:
                for index in range(self._count):
                    self._infos.put(name, index, info[key][index], key)
        if self._training:
            for row in np.flatnonzero(done):
                self._infos.put("episode_return", int(row), self._return[row], "episode_return")
                self._infos.put("episode_length", int(row), self._length[row], "episode_length")
