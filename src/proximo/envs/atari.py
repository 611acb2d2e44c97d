"""Atari games with the field's standard preprocessing.

Up to 30 no-ops at the start, every action held for 4 frames, pixel-wise maximum of the last two, 84×84 grey,
the last 4 pictures stacked, FIRE pressed where a game waits for it; in training only, a lost life ends the
episode (without restarting the game) and rewards are reduced to their sign (Mnih et al. 2015; Machado et al.
2018 for sticky actions and for what evaluation leaves out).

Written against the emulator itself, hence independent of Gymnasium's version. Sticky actions are drawn here,
from the episode's seed: seeding the emulator instead means loading the game again, 70 ms per episode.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec as Registered
from gymnasium.spaces import Box

from proximo.envs.replay import GymEnv
from proximo.envs.spaces import Array
from proximo.errors import UserError

NOOPS, SKIP, SIZE, STACK = 30, 4, 84, 4
MAX_FRAMES = 108_000
"""Half an hour of play, the usual limit of an episode."""
STICKY = 0.25
"""Where the id does not say: probability that a frame repeats the previous action (Machado et al. 2018)."""


def looks_like(env_id: str) -> bool:
    """Whether an id is an Atari game's by its name alone (for the message when ale-py is missing)."""
    return env_id.startswith("ALE/") or bool(re.search(r"(NoFrameskip|Deterministic)-v[04]$", env_id))


def is_game(spec: Registered, kwargs: Mapping[str, Any]) -> bool:
    """Whether the standard preprocessing applies: an ALE game seen as pictures with discrete actions."""
    if not str(spec.entry_point).startswith("ale_py"):
        return False
    options = {**spec.kwargs, **kwargs}
    return options.get("obs_type") != "ram" and not options.get("continuous") and not options.get("sound_obs")


def base_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of the game below the preprocessing, which skips frames and repeats actions."""
    ale_py = importlib.import_module("ale_py")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    if importlib.util.find_spec("cv2") is None:
        raise UserError("Atari preprocessing needs cv2: pip install 'proximo[atari]'")
    if "frameskip" in kwargs:
        raise UserError(
            f"env.kwargs.frameskip: the standard preprocessing holds each action for {SKIP} frames; for "
            "another number put AtariPreprocessing in env.wrappers, which replaces it"
        )
    return {**kwargs, "frameskip": 1, "obs_type": "grayscale", "repeat_action_probability": 0.0}


def stickiness(spec: Registered, kwargs: Mapping[str, Any]) -> float:
    """Probability that a frame repeats the previous action, from the id's registration or `env.kwargs`."""
    return float({**spec.kwargs, **kwargs}.get("repeat_action_probability", STICKY))


class AtariGame(gym.Wrapper[Any, Any, Any, Any]):
    """The standard preprocessing around one game; observations `[4, 84, 84]` uint8, the newest picture last.

    With `training` a lost life ends the episode, rewards are -1, 0 or 1, and `info` carries the game's true
    `episode_return` and `episode_length` (in steps of the agent) when the game itself ends. After any other end than
    a lost life the next reset begins a new game.
    """

    def __init__(
        self, env: GymEnv, *, training: bool, sticky: float, max_episode_steps: int | None = None
    ) -> None:
        super().__init__(env)
        env.reset(seed=0)
        game: Any = env.unwrapped
        self._ale, self._actions = game.ale, list(game._action_set)
        self._power_on = self._ale.cloneState(include_rng=True)
        self._cv2 = importlib.import_module("cv2")
        self._alestate = importlib.import_module("ale_py").ALEState
        meanings = game.get_action_meanings()
        self._fires = len(meanings) >= 3 and meanings[1] == "FIRE"
        self._training, self._sticky = training, sticky
        self.reports_episodes = training
        self._limit = MAX_FRAMES if max_episode_steps is None else max_episode_steps * SKIP
        height, width = self._ale.getScreenDims()
        self._screens = np.zeros((2, height, width), np.uint8)
        self._stack = np.zeros((STACK, SIZE, SIZE), np.uint8)
        self.observation_space = Box(0, 255, self._stack.shape, np.uint8)
        self._seed, self._draws, self._random = 0, 0, np.random.Generator(np.random.PCG64(0))
        self._running, self._goes_on, self._pressed = False, False, 0
        self._lives, self._frames, self._length = 0, 0, 0
        self._return = 0.0

    def abandon(self) -> None:
        """The next reset begins a new game even if the present one could go on with its next life."""
        self._goes_on = False

    def episode(self) -> dict[str, Any]:
        """The game's return and length so far; nothing where the next reset only begins its next life."""
        return {} if self._goes_on else {"episode_return": self._return, "episode_length": self._length}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """A new game, or after a lost life the same game's next life."""
        if self._goes_on:
            self._advance(0)
        else:
            self._new_game(seed)
        self._goes_on = False
        self._serve()
        if not self._running:
            self._new_game(None)
            self._serve()
        self._lives = self._ale.lives()
        self._stack[:] = self._picture()
        return self._stack.copy(), {"lives": self._lives}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Hold `action` for 4 frames."""
        reward = self._advance(int(action))
        self._length += 1
        lost = self._ale.lives() < self._lives
        if lost and not self._training:
            # In training a reset does it; an agent that never learnt to serve would wait here for ever.
            reward += self._serve()
        # Any other end, such as a layer above makes, is the game's.
        self._goes_on = lost and self._training and self._running
        self._lives = self._ale.lives()
        self._stack[:-1] = self._stack[1:]
        self._stack[-1] = self._picture()
        over = bool(self._ale.game_over(with_truncation=False))
        truncated = not over and not self._running
        info: dict[str, Any] = {"lives": self._lives}
        if self._training:
            if not self._running:
                info.update(self.episode())
            over, reward = over or (lost and not truncated), float(np.sign(reward))
        return self._stack.copy(), reward, over, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """The emulator's memory, the pictures, the counters and the position in the random numbers."""
        emulator = self._ale.cloneState(include_rng=True).serialize()
        return {
            "emulator": np.frombuffer(emulator, np.uint8).copy(),
            "stack": self._stack.copy(),
            "screens": self._screens.copy(),
            "seed": self._seed,
            "draws": self._draws,
            "running": self._running,
            "goes_on": self._goes_on,
            "pressed": self._pressed,
            "lives": self._lives,
            "frames": self._frames,
            "length": self._length,
            "return": self._return,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` took."""
        emulator = np.asarray(state["emulator"], dtype=np.uint8).tobytes()
        self._ale.restoreState(self._alestate(emulator))
        self._stack[:], self._screens[:] = np.asarray(state["stack"]), np.asarray(state["screens"])
        self._seed, self._draws = int(state["seed"]), int(state["draws"])
        self._random = np.random.Generator(np.random.PCG64(self._seed).advance(self._draws))
        self._running, self._goes_on = bool(state["running"]), bool(state["goes_on"])
        self._pressed = int(state["pressed"])
        self._lives, self._frames = int(state["lives"]), int(state["frames"])
        self._length, self._return = int(state["length"]), float(state["return"])

    def _new_game(self, seed: int | None) -> None:
        if seed is not None:
            self._seed, self._draws = seed, 0
            self._random = np.random.Generator(np.random.PCG64(seed))
        self._ale.restoreState(self._power_on)
        self._running, self._return, self._length, self._frames, self._pressed = True, 0.0, 0, 0, 0
        for _ in range(1 + int(self._draw() * NOOPS)):
            self._ale.act(self._actions[0])
            self._frames += 1
            if self._ale.game_over():
                self._ale.restoreState(self._power_on)
        self._ale.getScreenGrayscale(self._screens[0])
        self._screens[1] = self._screens[0]

    def _advance(self, action: int) -> float:
        # Hold the action; the last two frames stay in `_screens`.
        ale, reward = self._ale, 0.0
        for frame in range(SKIP):
            if not self._sticky or self._draw() >= self._sticky:
                self._pressed = action
            reward += ale.act(self._actions[self._pressed])
            self._frames += 1
            if frame >= SKIP - 2:
                ale.getScreenGrayscale(self._screens[frame - SKIP + 2])
            if ale.game_over() or self._frames >= self._limit:
                self._running = False
                break
        self._return += reward
        return reward

    def _serve(self) -> float:
        # Games that wait for FIRE (then, in some, for a move) at the start and after a lost life.
        reward = 0.0
        for action in (1, 2) if self._fires else ():
            if self._running:
                reward += self._advance(action)
        return reward

    def _draw(self) -> float:
        # One double is one step of PCG64, so a count of draws is the generator's whole state.
        self._draws += 1
        return self._random.random()

    def _picture(self) -> Array:
        picture = np.maximum(self._screens[0], self._screens[1])
        resized: Array = self._cv2.resize(picture, (SIZE, SIZE), interpolation=self._cv2.INTER_AREA)
        return resized
