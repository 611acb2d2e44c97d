"""What the policy sees of NetHack's arrays, and no more than that filled and copied."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict

from proximo.envs.spaces import Array

CROPS = ("glyphs_crop", "chars_crop", "colors_crop", "specials_crop")
"""Squares around the hero."""
_SIDE = 9
_RULED = ("glyphs", "blstats", "message", "program_state", "internal")
"""Arrays that the games' own rules read."""
_RULES = ("step", "reset", "_is_episode_end", "_reward_fn", "_get_observation")


class View:
    """What the policy sees of the engine's arrays, as copies: whole arrays and squares around the hero."""

    def __init__(self, game: Any, keys: Sequence[str], side: int, padding: int) -> None:
        position = {key: index for index, key in enumerate(game._observation_keys)}
        self._whole = [(key, position[key]) for key in keys if key not in CROPS]
        self._crops: list[tuple[str, int, Array, Array]] = []
        self._hero, self._side = position["blstats"], side
        whole, spaces = dict(importlib.import_module("nle.env.base").NLE_SPACE_ITEMS), {}
        for key in keys:
            space = whole[key.removesuffix("_crop")]
            if key in CROPS:
                margin = side // 2
                field = np.full([n + 2 * margin for n in space.shape], padding, space.dtype)
                inside = field[margin:-margin, margin:-margin] if margin else field
                self._crops.append((key, position[key.removesuffix("_crop")], field, inside))
                space = Box(space.low.flat[0], space.high.flat[0], (side, side), space.dtype)
            spaces[key] = space
        self.space = Dict(spaces)

    @classmethod
    def of(cls, game: Any, keys: Sequence[str]) -> View | None:
        """None where MiniHack's own reading is needed: pictures, other crops, statistics of an older NLE."""
        height, width = (getattr(game, f"obs_crop_{side}", _SIDE) for side in "hw")
        seen = {key.removesuffix("_crop") if key in CROPS else key for key in keys}
        if not seen <= set(game._observation_keys) or height != width:
            return None
        if getattr(game, "remove_alignment_blstats", False):
            return None
        return cls(game, keys, height, getattr(game, "obs_crop_pad", 0))

    def __call__(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Copies by key, in place of the environment's own reading."""
        obs = {key: arrays[index].copy() for key, index in self._whole}
        if self._crops:
            x, y = arrays[self._hero][:2].tolist()
            for key, index, field, inside in self._crops:
                inside[:] = arrays[index]
                obs[key] = field[y : y + self._side, x : x + self._side].copy()
        return obs


def plain(game: Any) -> bool:
    """Whether a MiniHack game has no rules of its own, which might read any array."""
    base = sys.modules["minihack.base"].MiniHack if "minihack.base" in sys.modules else None
    if base is None or not isinstance(game, base) or game.reward_manager is not None:
        return False
    return all(getattr(type(game), name) is getattr(base, name) for name in _RULES)


def slim(game: Any, keys: Sequence[str]) -> None:
    """Let the engine fill only the arrays that rules and policy read: MiniHack copies all of them twice a step."""
    engine = game.nethack
    wanted = {*_RULED, *(key.removesuffix("_crop") for key in keys)}
    kept = {key: array for key, array in engine._obs_buffers.items() if key in wanted}
    engine._pynethack.set_buffers(**kept)
    # Whoever reads another array finds it empty, which raises.
    nothing = np.zeros(0, np.uint8)
    engine._obs = tuple(kept.get(key, nothing) for key in game._observation_keys)
    engine._obs_buffers = kept
