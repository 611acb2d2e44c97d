"""Recording: someone acts in an environment, whole episodes are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from proximo.config.experiment import EnvConfig
from proximo.core.seeds import integer_seed
from proximo.demos.dataset import Form
from proximo.demos.write import Recorded, Writer
from proximo.envs.infos import number
from proximo.envs.replay import GymEnv
from proximo.envs.single import make_single
from proximo.envs.spaces import observation_leaves
from proximo.errors import UserError, user_code

EPISODE_LIMIT = 200_000
"""Steps after which an episode that does not end by itself is truncated."""
TRIES = 100
"""Episodes that are played at most for each one that is to be good enough."""
REPORTS = 10
"""Lines of progress while recording."""


@dataclass(frozen=True)
class Choice:
    """An action for the environment, and what is known of where it came from."""

    action: Any
    logp: float | None = None
    policy_action: Any = None
    """Before it was clipped or rescaled, `[k]`; `logp` is its density."""


class Stop(Exception):
    """Raised by a demonstrator that ends the recording: the running episode is dropped, finished ones are kept."""


class Again(Exception):
    """Raised by a demonstrator that wants to begin the running episode once more."""


class Demonstrator(Protocol):
    """Someone who acts in up to `places` environments at once."""

    label: str
    """For the data set's metadata."""
    form: Form
    """Of its `policy_action` and `logp`."""
    places: int
    render_mode: str | None

    def begin(self, place: int, env: GymEnv, seed: int) -> None: ...
    def act(self, places: list[int], obs: list[Any], infos: list[dict[str, Any]]) -> Sequence[Choice]: ...
    def close(self) -> None: ...


@dataclass
class Summary:
    """What was recorded."""

    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)
    """Empty where the environment does not tell."""
    seconds: float = 0.0
    tried: int = 0
    """Episodes that were played, those that were not good enough included."""
    stopped: bool = False
    """The demonstrator stopped before all episodes were played."""

    def line(self) -> str:
        """The result so far in words."""
        returns = np.asarray(self.returns)
        text = f"return {returns.mean():.2f} (from {returns.min():.2f} to {returns.max():.2f})"
        if self.successes:
            text += f", success {np.mean(self.successes):.0%}"
        return f"{text}, {sum(self.lengths):,} steps"


@dataclass
class _Place:
    """A copy of the environment and its running episode."""

    env: GymEnv
    number: int = -1
    """Of the running episode; -1: none."""
    obs: Any = None
    info: dict[str, Any] = field(default_factory=dict)
    episode: Recorded = field(default_factory=lambda: Recorded(0))


def record(
    config: EnvConfig,
    who: Demonstrator,
    writer: Writer,
    episodes: int,
    seed: int,
    say: Callable[[str], None] = print,
    min_return: float = -math.inf,
) -> Summary:
    """Let `who` play until `episodes` episodes with a return of at least `min_return` are in `writer`.

    Episodes are kept in the order of their seeds, however long they take, so that short ones are not preferred.

    Raises: RunError where the environment fails, UserError for an action that it does not take.
    """
    begun, summary = time.perf_counter(), Summary()
    count = min(who.places, episodes)
    places = [_Place(make_single(config, render_mode=who.render_mode, training=False)) for _ in range(count)]
    try:
        session = _Session(config, who, writer, episodes, seed, places, summary, min_return)
        try:
            while session.step():
                if session.news():
                    rate = sum(summary.lengths) / max(time.perf_counter() - begun, 1e-9)
                    say(
                        f"episode {len(summary.returns)} of {episodes}: {summary.line()}, {rate:,.0f} steps/s"
                    )
        except Stop:
            summary.stopped = True
            session.keep_all()
    finally:
        for place in places:
            place.env.close()  # type: ignore[no-untyped-call]
    summary.seconds = time.perf_counter() - begun
    return summary


class _Session:
    """The copies, the queue of episodes, and those that wait for an earlier one to end."""

    def __init__(
        self,
        config: EnvConfig,
        who: Demonstrator,
        writer: Writer,
        episodes: int,
        seed: int,
        places: list[_Place],
        summary: Summary,
        min_return: float,
    ) -> None:
        self.config, self.who, self.writer, self.episodes, self.seed = config, who, writer, episodes, seed
        self.places, self.summary = places, summary
        env = places[0].env
        keys = [leaf.key for leaf in observation_leaves(env.observation_space, config.id)]
        self.mask_in_info = config.mask_key not in keys
        self.min_return = min_return
        self.last = episodes if min_return == -math.inf else episodes * TRIES
        self.next = 0
        self.waiting: dict[int, tuple[Recorded, bool | None]] = {}
        self.reported = 0
        for index in range(len(places)):
            self._begin(index)

    def step(self) -> bool:
        """One step of every copy that plays; False when all episodes are recorded."""
        active = [index for index, place in enumerate(self.places) if place.number >= 0]
        if not active or self._full():
            return False
        playing = [self.places[index] for index in active]
        try:
            choices = self.who.act(
                active, [place.obs for place in playing], [place.info for place in playing]
            )
        except Again:
            for place in playing:
                self._reset(place)
            return True
        for index, choice in zip(active, choices, strict=True):
            self._step(index, choice)
        return True

    def news(self) -> bool:
        """Whether a tenth more has been recorded."""
        tenth = len(self.summary.returns) * REPORTS // self.episodes
        moved, self.reported = tenth > self.reported, tenth
        return moved

    def keep_all(self) -> None:
        """Write what has ended, although an earlier episode never will."""
        for key in sorted(self.waiting):
            self._keep(*self.waiting.pop(key))

    def _begin(self, index: int) -> None:
        place = self.places[index]
        if self.next == self.last or self._full():
            place.number = -1
            return
        place.number, self.next = self.next, self.next + 1
        self._reset(place)
        self.who.begin(index, place.env, place.episode.seed)

    def _reset(self, place: _Place) -> None:
        seed = integer_seed(self.seed, "demos", place.number)
        with user_code(f"{self.config.id}, episode {place.number},", " (--debug shows where)"):
            place.obs, place.info = place.env.reset(seed=seed)
        place.episode = Recorded(seed)
        self._see(place)

    def _see(self, place: _Place) -> None:
        place.episode.observations.append(_kept(place.obs))
        if self.mask_in_info and self.config.mask_key in place.info:
            place.episode.masks.append(np.array(place.info[self.config.mask_key]).reshape(-1))

    def _step(self, index: int, choice: Choice) -> None:
        place = self.places[index]
        action = self._checked(place.env, choice.action)
        with user_code(f"{self.config.id}, episode {place.number},", " (--debug shows where)"):
            place.obs, reward, terminated, truncated, place.info = place.env.step(action)
        episode = place.episode
        episode.actions.append(np.array(action))
        episode.rewards.append(float(reward))
        if choice.logp is not None:
            episode.logps.append(choice.logp)
        if choice.policy_action is not None:
            episode.policy_actions.append(choice.policy_action)
        self._see(place)
        if terminated or truncated or len(episode.rewards) >= EPISODE_LIMIT:
            episode.terminated = bool(terminated)
            told = place.info.get(self.config.success_key)
            self.waiting[place.number] = episode, None if told is None else bool(number(told, "success"))
            while self.summary.tried in self.waiting and not self._full():
                self._keep(*self.waiting.pop(self.summary.tried))
            self._begin(index)

    def _full(self) -> bool:
        return len(self.summary.returns) == self.episodes

    def _keep(self, episode: Recorded, success: bool | None) -> None:
        self.summary.tried += 1
        if episode.return_ < self.min_return:
            return
        self.writer.add(episode)
        self.summary.returns.append(episode.return_)
        self.summary.lengths.append(len(episode.rewards))
        if success is not None:
            self.summary.successes.append(success)

    def _checked(self, env: GymEnv, action: Any) -> Any:
        """The action as its space has it; UserError for one outside."""
        space = env.action_space
        try:
            given = np.asarray(action, dtype=space.dtype)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.who.label}: {action!r} is no action of {space}") from error
        if not space.contains(given[()] if given.ndim == 0 else given):
            raise UserError(f"{self.who.label}: {np.array2string(given)} is no action of {space}")
        return given[()] if given.ndim == 0 else given


def _kept(obs: Any) -> Any:
    """A copy: some environments write the next observation into the same memory."""
    if isinstance(obs, dict):
        return {key: _kept(value) for key, value in obs.items()}
    if isinstance(obs, tuple):
        return tuple(_kept(value) for value in obs)
    return np.array(obs)
