"""Small wrappers that the adapter itself puts around environments."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
from gymnasium import error as gym_error

from proximo.envs.replay import GymEnv, describe
from proximo.errors import RunError, UserError


def picture(env: GymEnv, env_id: str) -> Any:
    """What an environment renders; `RunError` if made without `render_mode`."""
    if env.render_mode is None:
        raise RunError(f"{env_id}: nothing to render; make it with render_mode='rgb_array'")
    try:
        return env.render()
    except gym_error.DependencyNotInstalled as error:
        raise UserError(f"rendering {env_id} needs pygame: pip install 'proximo[video]'") from error
    except Exception as error:
        raise RunError(f"{env_id}: render() raised {describe(error)}") from error


def layer_with(env: GymEnv, attribute: str) -> Any:
    """The outermost layer of a wrapped environment whose `attribute` is set (true), or None."""
    layer: Any = env
    while True:
        if getattr(layer, attribute, None):
            return layer
        if not isinstance(layer, gym.Wrapper):
            return None
        layer = layer.env


class RawEpisode(gym.Wrapper[Any, Any, Any, Any]):
    """Reports the true return and length of an episode below wrappers that change the reward."""

    reports_episodes = True

    def __init__(self, env: GymEnv) -> None:
        super().__init__(env)
        self._return, self._length = 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin to count."""
        self._return, self._length = 0.0, 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Count; at the end add what `episode` tells to `info`."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._return += float(reward)
        self._length += 1
        if terminated or truncated:
            info = {**info, **self.episode()}
        return obs, reward, terminated, truncated, info

    def episode(self) -> dict[str, Any]:
        """Return and length so far; asked for where a layer above ends the episode."""
        return {"episode_return": self._return, "episode_length": self._length}


class FreshWorld(gym.Wrapper[Any, Any, Any, Any]):
    """Gives a Box2D environment a new world for each episode, so that its seed alone determines it.

    Gymnasium's BipedalWalker and CarRacing keep one world for good; what earlier episodes left in it decides
    the order in which contacts are solved, so the same seed and actions give another episode later on.
    (LunarLander makes a new world itself.)
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Empty the old world, then reset in a new one with the same gravity and listener."""
        inner: Any = self.env.unwrapped
        old = getattr(inner, "world", None)
        if old is not None:
            inner._destroy()
            listener = old.contactListener
            world = importlib.import_module("Box2D").b2World(gravity=old.gravity)
            world.contactListener = listener
            inner.world = world
        return self.env.reset(seed=seed, options=options)
