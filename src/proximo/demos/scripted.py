"""Who may act besides a trained agent: chance, the scripted therapists, a class of the user's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from proximo.config.experiment import EnvConfig
from proximo.config.registry import build, nearest, resolve
from proximo.core.seeds import integer_seed
from proximo.demos.dataset import Form
from proximo.demos.record import Choice, Demonstrator
from proximo.envs.registration import THERAPY
from proximo.envs.replay import GymEnv
from proximo.envs.therapy.therapists import THERAPISTS
from proximo.errors import RunError, UserError, user_code

RANDOM = "random"
KEYBOARD = "keyboard"


def scripted(name: str, config: EnvConfig, seed: int) -> Demonstrator:
    """The policy that a word names: `random`, a therapist (in their environment), or `module:Class`.

    Raises: UserError for an unknown name.
    """
    if name == RANDOM:
        return Uniform(config, seed)
    if ":" in name:
        return Own(name)
    therapists = [known for known in THERAPISTS if known != RANDOM] if config.id == THERAPY else []
    if name in therapists:
        return Therapist(name)
    known = [RANDOM, KEYBOARD, *therapists, "module:Class"]
    raise UserError(f"--policy {name}: it is {', '.join(known)}{nearest(name, known)}")


class Uniform:
    """Every allowed action with the same probability, which it tells; unbounded numbers by Gymnasium's own choice."""

    form: Form = "environment"
    places = 1
    render_mode: str | None = None
    label = RANDOM

    def __init__(self, config: EnvConfig, seed: int) -> None:
        self.mask_key, self.env_id = config.mask_key, config.id
        self.generator = np.random.default_rng(integer_seed(seed, "demos/random", 0))

    def close(self) -> None:
        """Nothing is held."""

    def begin(self, place: int, env: GymEnv, seed: int) -> None:
        """Nothing is carried from one episode to the next but the generator."""
        self.space = env.action_space
        self.space.seed(seed)

    def act(self, places: list[int], obs: list[Any], infos: list[dict[str, Any]]) -> list[Choice]:
        """A choice for each."""
        return [self._choose(seen, info) for seen, info in zip(obs, infos, strict=True)]

    def _choose(self, obs: Any, info: dict[str, Any]) -> Choice:
        held = obs if isinstance(obs, dict) and self.mask_key in obs else info
        mask = held.get(self.mask_key)
        allowed = None if mask is None else np.asarray(mask).reshape(-1).astype(bool)
        space = self.space
        if isinstance(space, spaces.Discrete):
            pick, logp = self._one(allowed, int(space.n))
            return Choice(space.start + pick, logp)
        if isinstance(space, spaces.MultiDiscrete):
            counts = space.nvec.reshape(-1)
            parts = [None] * len(counts) if allowed is None else np.split(allowed, np.cumsum(counts)[:-1])
            drawn = [self._one(part, int(n)) for part, n in zip(parts, counts, strict=True)]
            picks = np.array([pick for pick, _ in drawn]).reshape(space.shape)
            return Choice(space.start + picks, sum(logp for _, logp in drawn))
        if isinstance(space, spaces.MultiBinary):
            free = np.ones(math.prod(space.shape), bool) if allowed is None else allowed
            bits = self.generator.integers(0, 2, free.shape) * free
            return Choice(bits.reshape(space.shape), -math.log(2) * int(free.sum()))
        assert isinstance(space, spaces.Box)
        if not space.is_bounded("both"):
            return Choice(space.sample())
        action = self.generator.uniform(space.low, space.high)
        return Choice(action, -float(np.log((space.high - space.low).astype(np.float64)).sum()))

    def _one(self, allowed: Any, count: int) -> tuple[int, float]:
        options = np.arange(count) if allowed is None else np.flatnonzero(allowed)
        if len(options) == 0:
            raise RunError(
                f"{self.env_id}: its action mask allows nothing; allow at least one action in every state"
            )
        return int(self.generator.choice(options)), -math.log(len(options))


class Therapist:
    """A scripted therapist of the simulated client; what it knows of the client is not in the recorded observation."""

    form: Form = "environment"
    places = 1
    render_mode: str | None = None

    def __init__(self, name: str) -> None:
        self.label, self.treat = name, THERAPISTS[name]

    def close(self) -> None:
        """Nothing is held."""

    def begin(self, place: int, env: GymEnv, seed: int) -> None:
        """The client to be treated."""
        self.clients = env.unwrapped.clients  # type: ignore[attr-defined]

    def act(self, places: list[int], obs: list[Any], infos: list[dict[str, Any]]) -> list[Choice]:
        """Its answer, which is certain: a probability of 1."""
        return [Choice(self.treat(self.clients)[0], 0.0)]


class Own:
    """A class of the user's: `Class(env)`, `act(obs, info)` gives an action or `(action, logp)`.

    It may have `reset(seed)`, called when an episode begins.
    """

    form: Form = "environment"
    places = 1
    render_mode: str | None = None

    def __init__(self, name: str) -> None:
        self.label, self.cls = name, resolve(name)
        if not callable(getattr(self.cls, "act", None)):
            raise UserError(f"--policy {name}: it needs a method act(obs, info) that gives an action")
        self.policy: Any = None

    def close(self) -> None:
        """Nothing is held."""

    def begin(self, place: int, env: GymEnv, seed: int) -> None:
        """Make it with the first environment, tell it of each episode."""
        if self.policy is None:
            self.policy = build(self.cls, {}, env, where=f"--policy {self.label}")
        if hasattr(self.policy, "reset"):
            with user_code(f"{self.label}.reset"):
                self.policy.reset(seed)

    def act(self, places: list[int], obs: list[Any], infos: list[dict[str, Any]]) -> list[Choice]:
        """What it says; the log-probability is of the action as the environment takes it."""
        with user_code(f"{self.label}.act"):
            said = self.policy.act(obs[0], infos[0])
        if isinstance(said, tuple) and len(said) == 2:
            return [Choice(said[0], float(said[1]))]
        return [Choice(said)]
