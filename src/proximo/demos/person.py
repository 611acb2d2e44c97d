"""A person who plays: keys in, actions out. Nobody knows the probabilities of what a person does."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from proximo.config.experiment import EnvConfig
from proximo.demos.boards import FPS, Board, Terminal, Window, choose_view
from proximo.demos.controls import Controls, controls
from proximo.demos.dataset import Form
from proximo.demos.record import Choice
from proximo.envs.replay import GymEnv
from proximo.envs.single import make_single


class Person:
    """Plays one environment on a board, in real time where no key is an action too, else a step for each key."""

    label = "person"
    form: Form = "environment"
    places = 1

    def __init__(self, board: Board, controls: Controls, fps: float, mask_key: str = "action_mask") -> None:
        self.board, self.controls, self.fps, self.mask_key = board, controls, fps, mask_key
        self.render_mode = board.render_mode
        self._env: Any = None
        self._episode = 0

    def close(self) -> None:
        """Close the window, or give the terminal back."""
        self.board.close()

    def begin(self, place: int, env: GymEnv, seed: int) -> None:
        """An episode begins."""
        self._env, self._episode = env, self._episode + 1

    def act(self, places: list[int], obs: list[Any], infos: list[dict[str, Any]]) -> list[Choice]:
        """Show where things stand, and take the action of the next keys that mean one."""
        picture = None if self.render_mode is None else self._env.render()
        self.board.show(picture, obs[0], f"episode {self._episode}: {self.controls.help()}")
        while True:
            held = self.board.wait() if self.controls.waits else self.board.held(self.fps)
            action = self.controls.action(held)
            if action is not None and self._allowed(action, obs[0], infos[0]):
                return [Choice(action)]

    def _allowed(self, action: Any, obs: Any, info: dict[str, Any]) -> bool:
        space = self.controls.space
        held = obs if isinstance(obs, dict) and self.mask_key in obs else info
        if self.mask_key not in held or not isinstance(space, Discrete):
            return True
        return bool(np.asarray(held[self.mask_key]).reshape(-1)[int(action) - int(space.start)])


def person(
    config: EnvConfig, *, keys: str | None = None, view: str = "auto", fps: float | None = None
) -> Person:
    """A person in front of this machine; UserError without display and terminal, or without known keys."""
    env = make_single(config, training=False)
    try:
        metadata = env.metadata or {}
        modes = list(metadata.get("render_modes") or [])
        table = controls(env, config.id, keys)
    finally:
        env.close()  # type: ignore[no-untyped-call]
    board: Board = Window(config.id) if choose_view(view, modes) == "window" else Terminal(modes)
    return Person(board, table, fps or float(metadata.get("render_fps") or FPS), config.mask_key)
