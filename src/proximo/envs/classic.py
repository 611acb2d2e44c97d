"""Gymnasium's classic-control tasks, all copies stepped at once: by the kernels, or as an array program.

Both compute the same numbers. First states are a hash of (seed, global environment index, episode), so the data
do not depend on how copies are spread over processes. The state is a handful of arrays, saved as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import addressof
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import error as gym_error
from gymnasium.spaces import Discrete
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.engines.native import classic as native
from proximo.core.engines.native.classic import PARAMETERS, STATE, Classic, Floats, Ints
from proximo.core.rng import stream_key
from proximo.core.types import PLAIN_KEY, Final, Obs, Step
from proximo.envs.classic_tasks import CODES, KWARGS, TASKS, Task, draws
from proximo.envs.infos import InfoReader
from proximo.envs.single import make_single
from proximo.envs.spaces import observation_leaves
from proximo.envs.tensors import InfoTensors, make_spec
from proximo.errors import RunError, UserError

_SAVED = ("episode", "elapsed", "state", "parameters", "pending")


def refuses(config: EnvConfig) -> str | None:
    """Why a configuration needs real Gymnasium environments; None where `BatchClassic` can stand in."""
    if config.id not in TASKS:
        return f"it has {', '.join(TASKS)} only"
    entry = gym.registry[config.id].entry_point
    if entry != f"gymnasium.envs.classic_control.{TASKS[config.id].entry}":
        return f"{entry} is registered in its place"
    if config.wrappers:
        return "it takes no env.wrappers"
    foreign = [key for key in config.kwargs if key not in KWARGS]
    return f"it takes no env.kwargs.{foreign[0]}" if foreign else None


class BatchClassic:
    """`num_envs` copies of one task; see `core.types.VecEnv` for the contract.

    `first_env` is the global index of the first copy. `kernels=False` keeps to the array program. Raises
    `UserError` for configurations it cannot stand in for, `RunError` for actions and numbers without meaning.
    """

    def __init__(
        self,
        config: EnvConfig,
        num_envs: int,
        device: torch.device,
        first_env: int = 0,
        *,
        render_mode: str | None = None,
        kernels: bool = True,
    ) -> None:
        reason = refuses(config)
        if reason is not None:
            raise UserError(f"env.backend=batch cannot run {config.id}: {reason}; set env.backend=sync")
        # One real environment gives spaces, constants, time limit and pictures.
        self._single = make_single(config, render_mode=render_mode)
        self.metadata: dict[str, Any] = dict(self._single.metadata)
        self.render_mode = render_mode
        leaves = observation_leaves(self._single.observation_space, config.id)
        space = self._single.action_space
        self.spec = make_spec(config.id, leaves, space, num_envs, device, None)
        self._task: Task = TASKS[config.id]
        self._choices = int(space.n) if isinstance(space, Discrete) else None
        registered = self._single.spec
        assert registered is not None
        assert registered.max_episode_steps is not None
        self._max_steps = config.max_episode_steps or registered.max_episode_steps
        self._seed: int | None = None
        self._key, self._first_env = 0, first_env
        self._episode: Ints = np.full(num_envs, -1, np.int64)
        self._elapsed: Ints = np.zeros(num_envs, np.int64)
        self._state: Floats = np.zeros((num_envs, STATE))
        self._pending: Floats = np.zeros(PARAMETERS)
        for index, name in enumerate(self._task.parameters):
            self._pending[index] = _number(name, getattr(self._single.unwrapped, name))
        self._parameters: Floats = np.tile(self._pending, (num_envs, 1))
        self._library: Any = native.kernels() if kernels else None
        self._struct: Classic | None = None
        if self._library is not None:
            arrays = (self._state, self._episode, self._elapsed)
            self._struct = native.bind(
                self._task.kind, *arrays, self._max_steps, first_env, self._parameters, self._pending
            )
            self._address = addressof(self._struct)
        nobody = torch.zeros(0, dtype=torch.int64, device=device)
        self._no_final = Final(nobody, {PLAIN_KEY: torch.zeros(0, self._task.obs_width, device=device)})
        self._infos = InfoTensors(InfoReader(config, num_envs).columns, num_envs, device)
        self._valid = torch.ones(num_envs, dtype=torch.bool, device=device)

    @property
    def native(self) -> Classic | None:
        """The copies as the kernels see them, for callers that step them in their own loop; None without kernels.

        Such a caller changes the same arrays, so `state_dict` and `render` need not be told.
        """
        return self._struct

    def reset(self, seed: int) -> Obs:
        """Begin episode 0 of every copy; `[N, D]`."""
        self._start(seed)
        self._episode.fill(-1)
        if self._struct is not None:
            obs = torch.empty(self.spec.num_envs, self._task.obs_width)
            self._library.proximo_classic_reset(self._address, obs.data_ptr())
        else:
            everyone = np.arange(self.spec.num_envs)
            self._begin(everyone)
            obs = torch.from_numpy(self._observe(everyone))
        self._show()
        return {PLAIN_KEY: obs.to(self.spec.device)}

    def step(self, action: Tensor) -> Step:
        """Step every copy with `[N]` choices or `[N, 1]` numbers, as `policy.to_env` gives them."""
        given = self._given(action)
        count, width = self.spec.num_envs, self._task.obs_width
        obs, reward = torch.empty(count, width), torch.empty(count)
        terminated, truncated = torch.empty(count, dtype=torch.bool), torch.empty(count, dtype=torch.bool)
        finals, ended = torch.empty(count, width), torch.empty(count, dtype=torch.int64)
        out = (obs, reward, terminated, truncated, finals, ended)
        ends = self._step_arrays(given, *out) if self._struct is None else self._step_kernels(given, *out)
        if ends < 0:
            raise RunError(self._meaningless(-1 - ends, given))
        self._show()
        device = self.spec.device
        final = self._no_final
        if ends:
            # Copies of the few rows, lest a Final keep N rows alive.
            final = Final(ended[:ends].clone().to(device), {PLAIN_KEY: finals[:ends].clone().to(device)})
        return Step(
            obs={PLAIN_KEY: obs.to(device)},
            reward=reward.to(device),
            terminated=terminated.to(device),
            truncated=truncated.to(device),
            final=final,
            valid=self._valid,
            info=self._infos({}),
        )

    def configure(self, params: Mapping[str, Any]) -> None:
        """Set attributes of the Gymnasium environment by name, from each copy's next reset on.

        As there, attributes computed from others (CartPole's `total_mass`) do not follow them. Raises `UserError`
        for attributes that the dynamics do not read and values that are no numbers.
        """
        known = [name for name in self._task.parameters if not name.startswith("_")]
        values = {}
        for name, value in params.items():
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UserError(f"{self.spec.id} has no parameter {name!r}; {hint}it has: {', '.join(known)}")
            if name not in CODES and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise UserError(f"{self.spec.id}: the parameter {name!r} must be a number, not {value!r}")
            values[name] = _number(name, value)
        for name, number in values.items():
            self._pending[self._task.parameters.index(name)] = number

    def render(self) -> Any:
        """The first copy's picture, drawn by Gymnasium; `RunError` if made without `render_mode`."""
        if self.render_mode is None:
            raise RunError(f"{self.spec.id}: nothing to render; make it with render_mode='rgb_array'")
        if self._seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before render")
        target: Any = self._single.unwrapped
        width = 4 if self._task.obs_width > 3 else 2
        target.state = self._state[0, :width].copy()
        # Pendulum draws the torque it was last given, which nobody keeps here.
        target.last_u = None
        for name, value in zip(self._task.parameters, self._parameters[0], strict=False):
            if name not in CODES:
                setattr(target, name, float(value))
        try:
            return target.render()
        except gym_error.DependencyNotInstalled as error:
            raise UserError(f"rendering {self.spec.id} needs pygame: pip install 'proximo[video]'") from error

    def close(self) -> None:
        """Close the window, if there is one."""
        self._single.close()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        """Seed, episode numbers, steps, states, parameters (now and from the next reset on), as tensors."""
        if self._seed is None:
            return {"seed": None}
        arrays = {name: torch.from_numpy(getattr(self, f"_{name}").copy()) for name in _SAVED}
        return {"seed": self._seed, **arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken; `RunError` where it is not of this many copies."""
        if state["seed"] is None:
            return
        if not all(name in state for name in _SAVED):
            raise RunError(
                f"{self.spec.id}: the checkpoint was not made with env.backend=batch; resume with its own backend"
            )
        count = len(state["episode"])
        if count != self.spec.num_envs:
            raise RunError(
                f"{self.spec.id}: the checkpoint holds {count} environments, but "
                f"env.num_envs is {self.spec.num_envs}; resume with the same number"
            )
        self._start(int(state["seed"]))
        for name in _SAVED:
            # In place: the kernels hold the addresses.
            getattr(self, f"_{name}")[...] = state[name].cpu().numpy()

    def _start(self, seed: int) -> None:
        self._seed, self._key = seed, stream_key(seed, "env")
        if self._struct is not None:
            self._struct.key = self._key

    def _given(self, action: Tensor) -> Tensor:
        if self._seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        shape = (self.spec.num_envs, *(self.spec.action_space.shape or ()))
        if tuple(action.shape) != shape:
            raise RunError(
                f"{self.spec.id}: actions have shape {tuple(action.shape)}, expected {list(shape)}"
            )
        dtype = torch.float32 if self._choices is None else torch.int64
        return action.detach().to("cpu", dtype).contiguous()

    def _step_kernels(self, given: Tensor, *out: Tensor) -> int:
        choice, action = (None, given.data_ptr()) if self._choices is None else (given.data_ptr(), None)
        addresses = (tensor.data_ptr() for tensor in out)
        return int(self._library.proximo_classic_step(self._address, choice, action, *addresses))

    def _step_arrays(self, given: Tensor, *out: Tensor) -> int:
        obs, reward, terminated, truncated, finals, ended = (tensor.numpy() for tensor in out)
        action = given.numpy()
        if self._choices is not None and ((action < 0) | (action >= self._choices)).any():
            return -1 - int(np.flatnonzero((action < 0) | (action >= self._choices))[0])
        columns = tuple(self._parameters.T[: len(self._task.parameters)])
        with np.errstate(all="ignore"):
            state, gain, terminated[:] = self._task.step(tuple(self._state.T), action, columns)
            self._state[:] = np.stack(state, axis=1)
            reward[:], obs[:] = gain, self._observe(np.arange(len(obs)))
        sane = np.isfinite(obs).all(axis=1) & np.isfinite(reward)
        if not sane.all():
            return -1 - int(np.flatnonzero(~sane)[0])
        self._elapsed += 1
        truncated[:] = self._elapsed >= self._max_steps
        who = np.flatnonzero(terminated | truncated)
        if len(who):
            finals[: len(who)], ended[: len(who)] = obs[who], who
            self._begin(who)
            obs[who] = self._observe(who)
        return len(who)

    def _begin(self, who: Ints) -> None:
        self._episode[who] += 1
        self._elapsed[who] = 0
        self._parameters[who] = self._pending
        u = draws(self._key, self._first_env + who, self._episode[who])
        self._state[who] = np.stack(self._task.first(u), axis=1)

    def _observe(self, who: Ints) -> Any:
        return np.stack(self._task.observe(tuple(self._state[who].T)), axis=1).astype(np.float32)

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _meaningless(self, index: int, given: Tensor) -> str:
        action: Any = given[index].tolist()
        name = f"{self.spec.id}, environment {self._first_env + index} (episode {self._episode[index]})"
        if self._choices is not None and not 0 <= action < self._choices:
            return f"{name}: action {action} is none of 0 to {self._choices - 1}"
        return (
            f"{name}, action {action}, gave NaN or infinity; actions and parameters must be sensible numbers"
        )


def _number(name: str, value: Any) -> float:
    return CODES[name](value) if name in CODES else float(value)
