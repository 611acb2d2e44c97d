"""All copies of `proximo/Therapy-v0` stepped at once: `env.backend: batch`.

Episodes have the seeds that `env.backend: sync` would give them, so both backends give the same data bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.rng import integer_seed
from proximo.core.types import Final, Obs, Step
from proximo.envs.hashing import Ints
from proximo.envs.infos import InfoReader
from proximo.envs.registration import THERAPY
from proximo.envs.spaces import observation_leaves
from proximo.envs.tensors import check_saved, make_spec, to_tensor, to_tensors
from proximo.envs.therapy import sight
from proximo.envs.therapy.clients import ALL, Clients, Outcome, Rows
from proximo.envs.therapy.env import NUMBERS, TherapyEnv, numbers
from proximo.envs.therapy.octants import OCTANTS
from proximo.envs.therapy.parameters import COLUMNS, parameters_of
from proximo.envs.therapy.picture import Scene, Trace
from proximo.errors import RunError, UserError


def refuses(config: EnvConfig) -> str | None:
    """Why a configuration needs real Gymnasium environments; None where `BatchTherapy` can stand in."""
    if config.id != THERAPY:
        return f"it has {THERAPY} only"
    entry = gym.registry[THERAPY].entry_point
    if entry != f"{TherapyEnv.__module__}:{TherapyEnv.__name__}":
        return f"{entry} is registered in its place"
    if config.max_episode_steps is not None:
        return "it takes no env.max_episode_steps (env.kwargs.max_sessions limits episodes)"
    return sight.refuses(config.wrappers)


class BatchTherapy:
    """`num_envs` clients; see `core.types.VecEnv` for the contract.

    `first_env` is the global index of the first copy: it enters the seeds. Raises `UserError` for configurations
    it cannot stand in for, `RunError` for actions that are no octants.
    """

    def __init__(
        self,
        config: EnvConfig,
        num_envs: int,
        device: torch.device,
        first_env: int = 0,
        *,
        render_mode: str | None = None,
    ) -> None:
        reason = refuses(config)
        if reason is not None:
            raise UserError(f"env.backend=batch cannot run {config.id}: {reason}; set env.backend=sync")
        # One real environment checks the arguments and gives the spaces.
        single: Any = TherapyEnv(render_mode=render_mode, **config.kwargs)
        for wrapper in config.wrappers:
            single = sight.KNOWN[wrapper.name](single, **wrapper.kwargs)
        self._sight = sight.sight_of(config.wrappers)
        self.metadata: dict[str, Any] = dict(single.metadata)
        self.render_mode = render_mode
        leaves = observation_leaves(single.observation_space, config.id)
        self.spec = make_spec(config.id, leaves, single.action_space, num_envs, device, None)
        self.clients = Clients(num_envs, parameters_of(config.kwargs))
        self._names = InfoReader(config, num_envs).names
        self._seed: int | None = None
        self._first_env = first_env
        self._episode: Ints = np.zeros(num_envs, np.int64)
        self._trace = Trace()
        self._valid = torch.ones(num_envs, dtype=torch.bool, device=device)
        self._nobody = np.zeros(0, np.int64)

    def reset(self, seed: int) -> Obs:
        """Begin episode 0 of every copy; `[N, ...]` per key."""
        self._seed = seed
        self._episode[:] = 0
        self._begin(np.arange(self.spec.num_envs))
        return self._tensors(self._seen(ALL))

    def step(self, action: Tensor) -> Step:
        """One session of every client with octants `[N]`."""
        outcome = self.clients.step(self._given(action))
        if self.render_mode is not None:
            self._trace.add(outcome)
        ended = np.flatnonzero(outcome.ended)
        final = self._tensors(self._seen(ended if len(ended) else self._nobody))
        if len(ended):
            self._episode[ended] += 1
            self._begin(ended)
        terminated = outcome.success | outcome.dropped_out
        device = self.spec.device
        return Step(
            obs=self._tensors(self._seen(ALL)),
            reward=to_tensor(outcome.reward.astype(np.float32), device),
            terminated=to_tensor(terminated, device),
            truncated=to_tensor(outcome.max_reached, device),
            final=Final(to_tensor(ended, device), final),
            valid=self._valid,
            info=self._info(outcome),
        )

    def configure(self, params: Mapping[str, Any]) -> None:
        """Change parameters from each client's next reset on; `UserError` as the constructor raises."""
        self.clients.parameters = self.clients.parameters.changed(params)

    def render(self) -> Any:
        """The first client's picture or text; `RunError` if made without `render_mode`."""
        if self.render_mode is None:
            raise RunError(f"{self.spec.id}: nothing to render; make it with render_mode='rgb_array'")
        if self._seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before render")
        scene = Scene.of(self.clients, self._trace)
        return scene.text() if self.render_mode == "ansi" else scene.picture()

    def close(self) -> None:
        """Nothing to close."""

    def state_dict(self) -> dict[str, Any]:
        """Seed, episode numbers, every client, and the parameters of the episodes to come."""
        if self._seed is None:
            return {"seed": None}
        arrays = {name: torch.from_numpy(value) for name, value in self.clients.state_dict().items()}
        pending = {"patterns": list(self.clients.parameters.patterns)}
        for name in (*COLUMNS, "utility_width"):
            pending[name] = getattr(self.clients.parameters, name)
        episode = torch.from_numpy(self._episode.copy())
        return {"seed": self._seed, "episode": episode, "clients": arrays, "pending": pending}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken; `RunError` where it is not of this many clients."""
        if state["seed"] is None:
            return
        if "clients" not in state:
            raise RunError(
                f"{self.spec.id}: the checkpoint was not made with env.backend=batch; resume with its own backend"
            )
        check_saved(state, self.spec)
        self._seed = int(state["seed"])
        self._episode[:] = state["episode"].cpu().numpy()
        self.clients.load_state_dict({name: v.cpu().numpy() for name, v in state["clients"].items()})
        self.clients.parameters = self.clients.parameters.changed(state["pending"])
        # Pictures show the episode from here on.
        self._trace = Trace.begin(self.clients)

    def _begin(self, who: Ints) -> None:
        assert self._seed is not None
        seeds = [
            integer_seed(self._seed, "env", self._first_env + int(i), int(self._episode[i])) for i in who
        ]
        everyone = len(who) == self.spec.num_envs
        self.clients.begin(np.array(seeds), ALL if everyone else who)
        if self.render_mode is not None and 0 in who:
            self._trace = Trace.begin(self.clients)

    def _seen(self, rows: Rows) -> Mapping[str, npt.NDArray[Any]]:
        return self._sight(self.clients, rows)

    def _tensors(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Obs:
        return to_tensors({key: arrays[key] for key in self.spec.obs_spaces}, self.spec.device)

    def _given(self, action: Tensor) -> Ints:
        if self._seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        if tuple(action.shape) != (self.spec.num_envs,):
            raise RunError(
                f"{self.spec.id}: actions have shape {tuple(action.shape)}, expected [{self.spec.num_envs}]"
            )
        given: Ints = action.detach().to("cpu", torch.int64).numpy()
        wrong = (given < 0) | (given >= OCTANTS)
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise RunError(
                f"{self.spec.id}, environment {self._first_env + index} (episode {self._episode[index]}): "
                f"action {given[index]} is none of 0 to {OCTANTS - 1}"
            )
        return given

    def _info(self, outcome: Outcome) -> dict[str, Tensor]:
        if not self._names:
            return {}
        known, info = numbers(outcome), {}
        for key, name in self._names:
            value = np.full(self.spec.num_envs, np.nan, np.float32)
            if key in NUMBERS:
                value[:] = np.where(outcome.ended, known[key], np.nan) if key == "is_success" else known[key]
            info[name] = to_tensor(value, self.spec.device)
        return info
