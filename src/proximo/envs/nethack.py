"""NetHack and MiniHack (the packages nle and minihack) as Gymnasium environments that repeat themselves.

Neither package seeds a game from `reset(seed=)`, both report an episode that was cut as one that ended, return the
engine's own buffers, and MiniHack needs the old `pkg_resources`. What they leave open is settled here; rules, rewards
and observations stay theirs (Küttler et al. 2020; Samvelyan et al. 2021). Written against nle 1.3 and minihack 1.0.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec as Registered

from proximo.core.seeds import integer_seed
from proximo.envs.nethack_view import CROPS, View, plain, slim
from proximo.envs.replay import GymEnv
from proximo.envs.spaces import Array
from proximo.errors import UserError

if TYPE_CHECKING:
    from proximo.config.experiment import EnvConfig

NAMES = ("NetHack", "MiniHack")
DEFAULT_KEYS = ("glyphs_crop", "blstats")
"""What the policy sees unless `env.kwargs.observation_keys` says: the hero's surroundings and the status line."""
_DRAWN = ("chars", "colors", "message", "inv_strs", "inv_letters", "tty_chars", "tty_colors", "tty_cursor")
"""Arrays that their pictures are made of."""


def looks_like(env_id: str) -> bool:
    """Whether an id is one of these games by its name alone."""
    return env_id.rpartition(":")[2].startswith(NAMES)


def installed() -> bool:
    """Whether the extra `nethack` is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("nle", "minihack"))


def register() -> None:
    """Let both packages add their ids to Gymnasium's registry; UserError where they are missing or broken."""
    if not installed():
        raise UserError("NetHack and MiniHack need nle and minihack: pip install 'proximo[nethack]' (Linux)")
    try:
        importlib.import_module("nle")
        with _pkg_resources():
            importlib.import_module("minihack")
    except ImportError as error:
        raise UserError(f"importing nle and minihack failed: {' '.join(str(error).split())}") from error


@contextmanager
def _pkg_resources() -> Iterator[None]:
    # MiniHack asks this module, which setuptools no longer has, for three of its own paths while it is imported.
    if "pkg_resources" in sys.modules or "minihack" in sys.modules:
        yield
        return

    def resource_filename(package: str, name: str) -> str:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        return str(Path(spec.origin or "").parent / name)

    stand_in = ModuleType("pkg_resources")
    vars(stand_in)["resource_filename"] = resource_filename
    sys.modules["pkg_resources"] = stand_in
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]


def is_game(spec: Registered) -> bool:
    """Whether an id of the registry is one of these games."""
    return str(spec.entry_point).startswith(("nle.", "minihack."))


def make_game(spec: Registered, config: EnvConfig, render_mode: str | None) -> NetHackGame:
    """One copy; UserError for observation keys that do not exist and for what cannot be seeded."""
    if spec.name == "NetHackChallenge":
        raise UserError(
            f"{config.id} refuses seeds, so nothing about a run could be repeated; NetHackScore-v0 with "
            "env.kwargs.character=@ is the same game with fewer keys"
        )
    kwargs = {"fix_moon_phase": True, **config.kwargs}
    mini = str(spec.entry_point).startswith("minihack.")
    keys = _checked(kwargs.pop("observation_keys", DEFAULT_KEYS), config.id, mini)
    levels = kwargs.pop("seeds", None)
    if config.max_episode_steps is not None:
        kwargs["max_episode_steps"] = config.max_episode_steps
    if mini:
        kwargs["observation_keys"] = list(keys)
    else:
        needed = [key.removesuffix("_crop") for key in keys]
        kwargs["observation_keys"] = list(dict.fromkeys([*needed, *(_DRAWN if render_mode else ())]))
    # Pictures of tiles are what others call rgb_array.
    kwargs["render_mode"] = "pixel" if render_mode == "rgb_array" else render_mode
    # Inside the entry: NLE's limit on steps has the name of Gymnasium's, which would take it for itself.
    entry = deepcopy(spec)
    entry.kwargs.update(kwargs)
    made: GymEnv = gym.make(entry, max_episode_steps=-1, disable_env_checker=True)
    return NetHackGame(made, keys, levels, render_mode)


def _checked(keys: Any, env_id: str, mini: bool) -> tuple[str, ...]:
    described = importlib.import_module("nle.nethack").OBSERVATION_DESC
    known = [*described, *CROPS]
    if mini:
        known += [*importlib.import_module("minihack.base").MINIHACK_SPACE_FUNCS, "pixel"]
    if isinstance(keys, str) or not keys:
        raise UserError(f"env.kwargs.observation_keys: {keys!r} must be a list such as {list(DEFAULT_KEYS)}")
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(set(known)))}"
            raise UserError(f"env.kwargs.observation_keys: {env_id} has no {key!r}{hint}")
    return tuple(keys)


class NetHackGame(gym.Wrapper[Any, Any, Any, Any]):
    """One game whose episode follows from its seed and its actions; a cut episode is truncated, not terminated.

    Observations are arrays of their own, a Dict of `keys`; `*_crop` are squares around the hero. `info["is_success"]`
    tells at the end whether a task with a goal was solved. `levels`: the level seeds to draw from, instead of all.
    """

    def __init__(
        self, env: GymEnv, keys: Sequence[str], levels: Sequence[int] | None, render_mode: str | None
    ) -> None:
        super().__init__(env)
        game: Any = env.unwrapped
        self._game, self._levels, self._shown = game, levels, render_mode
        self._quit = game._quit_game
        self._unfinished: tuple[Any, bool] | None = None
        self._aborted = game.StepStatus.ABORTED
        self._solved = getattr(game.StepStatus, "TASK_SUCCESSFUL", None)
        self._boxoban = type(game).__module__.endswith("boxohack")
        game._quit_game = self._quit_later
        self._view = View.of(game, keys)
        if self._view is not None:
            self.observation_space = self._view.space
            game._get_observation = self._view
            if render_mode is None and plain(game):
                slim(game, keys)
        self.metadata = {**env.metadata, "render_modes": [*env.metadata["render_modes"], "rgb_array"]}

    @property
    def render_mode(self) -> str | None:  # type: ignore[override]
        """As asked for: `rgb_array` (tiles), `human` (printed), `ansi`, `full`."""
        return self._shown

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """A new game. Its three generators (events, display, levels) are seeded each time, as NLE asks for."""
        self._finish()
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        if self._levels:
            level = self._levels[integer_seed(seed, "level") % len(self._levels)]
            core, disp, lgen = level, level, None
        else:
            core, disp, lgen = (integer_seed(seed, f"nethack/{name}") for name in ("core", "disp", "lgen"))
        # Not by `seed`: where MiniHack overrides it, it takes fewer arguments.
        self._game.nethack.set_initial_seeds(core, disp, False, lgen)
        # NLE counts on from the last episode.
        self._game._frozen_steps = 0
        with self._levels_drawn_from(seed):
            obs, info = self.env.reset(options=options)
        self._show()
        return self._own(obs), info

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """One key press."""
        obs, reward, ended, _, info = self.env.step(action)
        truncated = False
        if ended:
            # NLE quits a game that goes on, which is either solved or cut; where the hero died there is no need.
            truncated = self._unfinished is not None and info["end_status"] == self._aborted
            if self._solved is not None:
                info["is_success"] = info["end_status"] == self._solved
        self._show()
        return self._own(obs), float(reward), bool(ended and not truncated), truncated, info

    def render(self) -> Any:
        """A picture `[H, W, 3]` of tiles for `rgb_array`, text for `ansi`; `human` prints after every step."""
        drawn: Any = self.env.render()
        return drawn.copy() if isinstance(drawn, np.ndarray) else drawn

    def close(self) -> None:
        """Quit a game that waits for it, so that what NLE records of it is complete."""
        self._finish()
        self.env.close()  # type: ignore[no-untyped-call]

    @contextmanager
    def _levels_drawn_from(self, seed: int) -> Iterator[None]:
        """Two families draw levels outside of the engine: from MiniGrid, and from Python's own generator."""
        if hasattr(self._game, "minigrid_env"):
            self._game.minigrid_env.reset(seed=seed)
        if not self._boxoban:
            yield
            return
        before = random.getstate()
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)

    def _quit_later(self, observation: Any, done: bool) -> None:
        # Quitting writes over the last observation, and takes half as long as a reset: it can wait for that.
        self._unfinished = (observation, done)

    def _finish(self) -> None:
        if self._unfinished is not None:
            given, self._unfinished = self._unfinished, None
            self._quit(*given)

    def _show(self) -> None:
        if self._shown == "human":
            self.env.render()

    def _own(self, obs: dict[str, Array]) -> dict[str, Array]:
        return obs if self._view is not None else {key: np.array(value) for key, value in obs.items()}
