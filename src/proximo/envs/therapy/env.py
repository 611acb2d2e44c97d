"""`proximo/Therapy-v0`: one client as a Gymnasium environment, a batch of one of `Clients`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from proximo.envs.therapy.clients import Clients, Outcome
from proximo.envs.therapy.octants import NOBODY, OCTANTS
from proximo.envs.therapy.parameters import PATTERNS, Parameters, parameters_of
from proximo.envs.therapy.picture import Scene, Trace
from proximo.errors import RunError, UserError

RENDER_MODES = ("ansi", "rgb_array")
SEEDS = 2**31
NUMBERS = (
    *("session", "rs", "bond", "progress", "progress_before", "client_action", "therapist_action"),
    *("perceived_action", "success", "dropped_out", "max_reached", "is_success"),
)
"""What `info` holds after every session (`is_success` only after the last)."""


def observation_space(parameters: Parameters) -> spaces.Dict:
    """What the therapist sees: the client's octant, the share of sessions used, their history."""
    return spaces.Dict(
        {
            "client_action": spaces.Discrete(OCTANTS),
            "history": spaces.MultiDiscrete([NOBODY + 1] * (2 * parameters.history_pairs)),
            "session_number": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
    )


class TherapyEnv(gym.Env[dict[str, Any], np.int64]):
    """A client to be treated: show one of eight octants per session, after the client has shown its own.

    Keyword arguments are the fields of `Parameters`; raises UserError for unknown names and values without
    meaning. `reset(seed=s)` begins the client of seed `s`, the same as in a batch; without a seed the next one
    follows from the environment's generator.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}

    def __init__(self, *, render_mode: str | None = None, **parameters: Any) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UserError(f"render_mode {render_mode!r} is none of {', '.join(RENDER_MODES)}")
        self.render_mode = render_mode
        self.clients = Clients(1, parameters_of(parameters))
        self.observation_space = observation_space(self.clients.parameters)
        self.action_space = spaces.Discrete(OCTANTS)
        self._running = False
        self._trace = Trace()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; `options` are not used."""
        super().reset(seed=seed, options=options)
        if seed is None:
            seed = int(self.np_random.integers(SEEDS))
        self.clients.begin(np.array([seed % 2**62]))
        self._running = True
        if self.render_mode is not None:
            self._trace = Trace.begin(self.clients)
        return self._observation(), first_info(self.clients)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One session; raises RunError for an action that is no octant and before the first reset."""
        if not self._running:
            raise RunError("proximo/Therapy-v0: reset must be called before step")
        if not self.action_space.contains(np.int64(action)):
            raise RunError(f"proximo/Therapy-v0: action {action!r} is none of 0 to {OCTANTS - 1}")
        outcome = self.clients.step(np.array([action], np.int64))
        if self.render_mode is not None:
            self._trace.add(outcome)
        info = {name: _plain(value[0]) for name, value in numbers(outcome).items()}
        ended = bool(outcome.ended[0])
        if not ended:
            del info["is_success"]
        terminated = ended and not info["max_reached"]
        return self._observation(), float(outcome.reward[0]), terminated, info["max_reached"], info

    def configure(self, **parameters: Any) -> None:
        """Change parameters from the next reset on; raises UserError as the constructor does."""
        self.clients.parameters = self.clients.parameters.changed(parameters)

    def check_configure(self, parameters: Mapping[str, Any]) -> None:
        """Raise what `configure` would, and change nothing."""
        self.clients.parameters.changed(parameters)

    def render(self) -> Any:
        """The circle and the course of the episode: text (`ansi`) or `[H, W, 3]` bytes (`rgb_array`)."""
        if self.render_mode is None:
            raise RunError("proximo/Therapy-v0: nothing to render; make it with render_mode='rgb_array'")
        if not self._running:
            raise RunError("proximo/Therapy-v0: reset must be called before render")
        scene = Scene.of(self.clients, self._trace)
        return scene.text() if self.render_mode == "ansi" else scene.picture()

    def _observation(self) -> dict[str, Any]:
        seen = {key: value[0] for key, value in self.clients.observe().items()}
        return {**seen, "client_action": np.int64(seen["client_action"])}


def numbers(outcome: Outcome) -> dict[str, np.ndarray[Any, Any]]:
    """`NUMBERS` of every client, `[N]` each."""
    o = outcome
    values = (o.session, o.rs, o.bond, o.progress, o.progress_before, o.client, o.therapist, o.perceived)
    return dict(zip(NUMBERS, (*values, o.success, o.dropped_out, o.max_reached, o.success), strict=True))


def first_info(clients: Clients) -> dict[str, Any]:
    """What `reset` tells of a single client."""
    return {
        "pattern": PATTERNS[int(clients.pattern[0])],
        "entropy": float(clients.number("entropy")[0]),
        "rs_threshold": float(
            clients.rs_min[0] + clients.number("threshold")[0] * (clients.rs_max - clients.rs_min)[0]
        ),
        "initial_rs": float(clients.initial_rs[0]),
        "initial_bond": float(clients.initial_bond[0]),
        "episode_seed": int(clients.seed[0]),
    }


def _plain(value: Any) -> Any:
    return value.item()
