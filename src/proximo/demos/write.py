"""Writing a data set in Minari's format: all of it or nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec as Registered
from gymnasium.spaces import Space

from proximo.config.experiment import EnvConfig
from proximo.demos import store
from proximo.demos.dataset import Form
from proximo.demos.pieces import LOGP, POLICY_ACTION
from proximo.envs.single import find
from proximo.errors import RunError, UserError

BUFFERED_STEPS = 5_000
"""Steps that are kept before they are written: opening the file costs more than a short episode."""


@dataclass
class Recorded:
    """One episode while it is recorded; L steps have L + 1 observations."""

    seed: int
    observations: list[Any] = field(default_factory=list)
    masks: list[Any] = field(default_factory=list)
    """The action mask beside each observation, where the environment gives it in `info`."""
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    logps: list[float] = field(default_factory=list)
    """Empty where the policy does not know them."""
    policy_actions: list[Any] = field(default_factory=list)
    """Empty where they are those of the environment."""

    @property
    def return_(self) -> float:
        """Sum of the rewards."""
        return float(np.sum(self.rewards))


class Writer:
    """A data set in the making: `add` episodes, then `publish`, or `discard` in any other case.

    Raises: UserError for a bad name, and where the data set exists and is not to be replaced.
    """

    def __init__(
        self,
        name: str,
        obs_space: Space[Any],
        action_space: Space[Any],
        config: EnvConfig,
        *,
        form: Form,
        policy: str,
        seed: int,
        format_: str = "hdf5",
        overwrite: bool = False,
    ) -> None:
        store.require_minari()
        if store.folder(name).exists() and not overwrite:
            raise UserError(f"data set {name} exists: give --overwrite, or another version")
        from minari import __version__ as minari_version
        from minari.dataset.minari_storage import MinariStorage

        self.name, self.config, self.form = name, config, form
        self.episodes = 0
        self._spaces = obs_space, action_space
        self._waiting: list[Recorded] = []
        self._partial = store.begin_partial(name)
        try:
            self._storage: Any = MinariStorage.new(
                self._partial / "data",
                observation_space=obs_space,
                action_space=action_space,
                env_spec=_specification(config),
                data_format=format_,
                # JPEG would change the pictures.
                jpeg_encoding=False,
            )
            own = {"env": config.model_dump(mode="json"), "form": form, "policy": policy, "seed": seed}
            self._storage.update_metadata(
                {
                    "dataset_id": name,
                    "minari_version": minari_version,
                    "algorithm_name": policy,
                    "proximo": own,
                }
            )
        except NotImplementedError as error:
            self.discard()
            raise UserError(
                f"{config.id}: Minari cannot keep its spaces ({error}): convert them with a wrapper"
            ) from error

    def add(self, episode: Recorded) -> None:
        """Append an episode; RunError where the disk is full."""
        self._waiting.append(episode)
        self.episodes += 1
        if sum(len(waiting.rewards) for waiting in self._waiting) >= BUFFERED_STEPS:
            self._flush()

    def _flush(self) -> None:
        from minari.data_collector import EpisodeBuffer

        buffers = [EpisodeBuffer(**self._arrays(episode)) for episode in self._waiting]
        self._waiting = []
        try:
            self._storage.update_episodes(buffers)
        except OSError as error:
            cause = error.strerror or str(error)
            raise RunError(f"cannot write {store.folder(self.name)}: {cause}; free some space") from error

    def _arrays(self, episode: Recorded) -> dict[str, Any]:
        obs_space, action_space = self._spaces
        length = len(episode.rewards)
        ends = np.zeros((2, length), np.bool_)
        ends[0 if episode.terminated else 1, -1] = True
        infos: dict[str, Any] = {}
        if episode.logps:
            # A list: Minari's Arrow reader cannot read back a one-dimensional array.
            infos[LOGP] = [math.nan, *episode.logps]
        if episode.policy_actions:
            rows = np.stack(episode.policy_actions)
            infos[POLICY_ACTION] = np.concatenate([np.zeros_like(rows[:1]), rows])
        if episode.masks:
            infos[self.config.mask_key] = np.stack([np.asarray(mask, np.int8) for mask in episode.masks])
        return {
            "seed": episode.seed,
            "observations": stacked(obs_space, episode.observations),
            "actions": stacked(action_space, episode.actions),
            "rewards": np.asarray(episode.rewards, np.float64),
            "terminations": ends[0],
            "truncations": ends[1],
            "infos": infos,
        }

    def publish(self) -> Path:
        """Put the data set in its place, in one step; UserError where no episode was recorded."""
        if self.episodes == 0:
            self.discard()
            raise UserError(f"no episode was finished and good enough: {self.name} was not written")
        self._flush()
        place = store.publish(self._partial, self.name)
        store.remember_own(self.name)
        return place

    def discard(self) -> None:
        """Forget everything; nothing happens after `publish`."""
        store.remove(self._partial)


def stacked(space: Space[Any], values: list[Any]) -> Any:
    """Samples of a space as arrays `[len(values), ...]`, in the nesting of the space."""
    if isinstance(space, spaces.Dict):
        return {key: stacked(child, [value[key] for value in values]) for key, child in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(stacked(child, [value[i] for value in values]) for i, child in enumerate(space.spaces))
    return np.stack([np.asarray(value, dtype=space.dtype) for value in values])


def _specification(config: EnvConfig) -> Registered | None:
    """What lets Minari's own tools make the environment again; None for what only Proximo can make."""
    target = find(config.id)
    if not isinstance(target, str) or config.wrappers:
        return None
    spec = copy.deepcopy(gym.spec(target))
    spec.kwargs = {**spec.kwargs, **config.kwargs}
    if config.max_episode_steps is not None:
        spec.max_episode_steps = config.max_episode_steps
    try:
        spec.to_json()
    except (TypeError, ValueError):
        return None
    return spec
