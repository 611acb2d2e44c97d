"""Environments in worker processes, several in each: for environments whose step costs more than a wake-up.

Actions, observations, rewards, flags, last observations and named numbers lie in shared memory; a byte in a pipe says
"step", another "done". Rows are the same as of `SyncEnv` with the same seed, and so is the saved state: a run may
be resumed with either. With `env.half_batches` each worker holds a part of both halves, so that all of them
work on one half while the policy acts on the other (`core.halves`).
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proximo.config.experiment import EnvConfig
from proximo.core.halves import join_steps
from proximo.core.types import Final, Obs, Step
from proximo.envs.group import Cut, Group, held, part, save
from proximo.envs.processors import cores
from proximo.envs.shared import About, Board, create, shares, split
from proximo.envs.spaces import buffers
from proximo.envs.tensors import (
    InfoTensors,
    action_array,
    check_count,
    check_saved,
    make_spec,
    to_tensor,
    to_tensors,
)
from proximo.envs.worker_process import SECONDS_TO_END, Died, WorkerProcess
from proximo.errors import ProximoError, RunError

SOON = 3
"""A worker that fails again within so many steps of its restart ends the run: restarting does not help."""


class WorkersEnv:
    """`num_envs` copies in `env.workers` processes; see `core.types.VecEnv` for the contract.

    Raises `UserError` for what cannot be made and `RunError`, naming copy, seed and last action, where a copy raises
    or its process dies. With `env.on_crash: restart` the process is started again instead: the episodes of its
    copies are cut (rows that are truncated and not valid) and new ones begin.
    """

    def __init__(
        self,
        config: EnvConfig,
        num_envs: int,
        device: torch.device,
        first_env: int = 0,
        *,
        render_mode: str | None = None,
        training: bool = True,
    ) -> None:
        self._config, self._device, self._first_env = config, device, first_env
        self._modes = [render_mode, training]
        bounds = split(num_envs, 2 if config.half_batches and num_envs > 1 else 1)
        count = min([config.workers or cores(), *(rows.stop - rows.start for rows in bounds)])
        self._shares = shares(bounds, count)
        self._memory = create()
        self._workers: list[WorkerProcess] = []
        self._end = weakref.finalize(self, _end, self._workers, self._memory)
        for _ in range(count):
            self._workers.append(WorkerProcess(self._memory))
        told = self._ask("make", [self._making(number) for number in range(count)])
        about = self._about = About.from_wire(told[0])
        self._board = Board(self._memory, about, num_envs, count, grow=True)
        self._ask("attach", [(num_envs, number, count) for number in range(count)])
        self.spec = make_spec(config.id, about.leaves, about.action_space, num_envs, device, about.mask_key)
        self.metadata = about.metadata
        self._groups = [Group(rows, config.id, first_env) for rows in bounds]
        self._views = [self._board.rows(rows) for rows in bounds]
        nobody = torch.zeros(0, dtype=torch.int64, device=device)
        self._no_final = Final(nobody, to_tensors(buffers(about.leaves, 0), device))
        self._infos = [InfoTensors(about.columns, group.count, device) for group in self._groups]
        self._valid = [torch.ones(group.count, dtype=torch.bool, device=device) for group in self._groups]
        self._params: dict[str, Any] = {}
        self._since = [SOON] * count
        """Steps of each worker since its restart; one that never was is long past it."""
        self.halves = (bounds[0], bounds[1]) if len(bounds) > 1 else None
        """Rows of the two halves, for `core.halves`; None: all are stepped together."""

    def reset(self, seed: int) -> Obs:
        """Begin episode 0 of every copy; `[N, ...]` per key."""
        for group in self._groups:
            group.start(seed, self._params)
        self._ask("start", [(seed, self._episodes(number)) for number in range(len(self._workers))])
        for group in self._groups:
            group.last = {key: array[group.rows].copy() for key, array in self._board.all.obs.items()}
        return to_tensors({key: array.copy() for key, array in self._board.all.obs.items()}, self._device)

    def step(self, action: Tensor) -> Step:
        """Step every copy with `[N, *action_space.shape]`, as `policy.to_env` gives it."""
        check_count(action, self.spec)
        for half, group in enumerate(self._groups):
            self.send(half, action[group.rows])
        if self.halves is None:
            return self.receive(0)
        return join_steps([self.receive(0), self.receive(1)], self.halves)

    def send(self, half: int, action: Tensor) -> None:
        """Begin a step of one half, to be followed by `receive`."""
        group = self._groups[half]
        if group.episodes.seed is None:
            raise RunError(f"{self.spec.id}: reset must be called before step")
        given = action_array(action, self.spec.action_space, self.spec.id)
        group.episodes.history.append(given)
        self._views[half].action[:] = given
        for number, worker in enumerate(self._workers):
            if number not in group.lost:
                worker.step(half)

    def receive(self, half: int) -> Step:
        """Wait for the step of one half; rows are those of the half."""
        group, view, device = self._groups[half], self._views[half], self._device
        cut = [number for number in range(len(self._workers)) if not self._stepped(number, group)]
        obs = {key: array.copy() for key, array in view.obs.items()}
        reward, terminated, truncated = view.reward.copy(), view.terminated.copy(), view.truncated.copy()
        info = view.info.copy()
        valid = self._valid[half]
        if cut:
            lost = group.cut(cut, view.final)
            reward[lost], terminated[lost], truncated[lost], info[:, lost] = 0.0, False, True, np.nan
            valid = torch.from_numpy(~lost).to(device)
        ended = (terminated | truncated).nonzero()[0]
        final = self._no_final
        if len(ended):
            last = {key: array[ended] for key, array in view.final.items()}
            final = Final(to_tensor(ended, device), to_tensors(last, device))
            for row in ended:
                if not cut or not lost[row]:
                    group.next(int(row), self._params)
        group.last = obs
        return Step(
            obs=to_tensors(obs, device),
            reward=to_tensor(reward, device),
            terminated=to_tensor(terminated, device),
            truncated=to_tensor(truncated, device),
            final=final,
            valid=valid,
            info=self._infos[half](dict(zip(self._about.columns, info, strict=True))),
        )

    def configure(self, params: Mapping[str, Any]) -> None:
        """Set parameters of the environments from each one's next reset on; `UserError` for unknown names."""
        for number in range(len(self._workers)):
            self._alone(number, "configure", dict(params))
        self._params = {**self._params, **params}

    def render(self) -> Any:
        """The first copy's picture; `RunError` if made without `render_mode`."""
        return self._alone(0, "render")

    def close(self) -> None:
        """Close every copy and end the processes; `RunError` with what a copy's `close` raised."""
        failed: list[str] = []
        until = time.monotonic() + SECONDS_TO_END
        for worker in self._workers:
            failed += worker.close(until)
        self._end()
        if failed:
            raise RunError(failed[-1])

    def state_dict(self) -> dict[str, Any]:
        """As `SyncEnv.state_dict`: either resumes what the other saved."""
        if self._groups[0].episodes.seed is None:
            return {"seed": None}
        native: list[dict[str, Any]] = []
        if self._about.native:
            told = [self._alone(number, "native") for number in range(len(self._workers))]
            native = [state for half in zip(*told, strict=True) for states in half for state in states]
        return save(self._groups, self.spec.action_space, self._params, native, self._board.all.obs)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the running episodes; `RunError` naming copy and key where one does not come back bitwise."""
        if state["seed"] is None:
            return
        check_saved(state, self.spec)
        shares = [[held(state, rows) for rows in share] for share in self._shares]
        self._ask("load", [([given for given, _ in share],) for share in shares])
        self._params = dict(state["params"])
        for half, group in enumerate(self._groups):
            group.load(part(state, group.rows))
            cuts = [share[half][1] for share in shares]
            group.lost = {number: cut for number, cut in enumerate(cuts) if cut is not None}

    def _making(self, number: int) -> tuple[Any, ...]:
        config = self._config.model_dump(mode="json")
        bounds = [[rows.start, rows.stop] for rows in self._shares[number]]
        return config, bounds, self._first_env, self._modes

    def _episodes(self, number: int) -> list[list[int]]:
        """The running episode of each of a worker's copies, group by group; the new one where it is lost."""
        return [
            [episode + (number in group.lost) for episode in group.episodes.index[group.local(rows)]]
            for group, rows in zip(self._groups, self._shares[number], strict=True)
        ]

    def _ask(self, name: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """A request to every worker at once; the first trouble is raised when all have answered."""
        for worker, given in zip(self._workers, arguments, strict=True):
            worker.send(name, *given)
        answers: list[Any] = []
        troubles: list[ProximoError] = []
        for number, worker in enumerate(self._workers):
            try:
                answers.append(worker.answer())
            except Died as died:
                troubles.append(RunError(f"{self._config.id}: worker process {number} {died} in {name!r}"))
            except ProximoError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]
        return answers

    def _alone(self, number: int, name: str, *arguments: Any) -> Any:
        """A request to one worker between steps, which is started again where it died."""
        try:
            return self._workers[number].ask(name, *arguments)
        except Died as died:
            self._restart(number, self._death(number, died))
        return self._alone(number, name, *arguments)

    def _stepped(self, number: int, group: Group) -> bool:
        """Wait for a worker; False where its copies have new episodes instead of a step."""
        if number in group.lost:
            return False
        try:
            self._workers[number].stepped()
        except Died as died:
            self._restart(number, self._death(number, died))
        except RunError as error:
            self._restart(number, str(error))
        else:
            self._since[number] += 1
            return True
        return False

    def _restart(self, number: int, reason: str) -> None:
        """A new process in the place of a dead one, its copies in new episodes; `RunError` unless so configured."""
        if self._config.on_crash != "restart":
            raise RunError(reason)
        if self._since[number] < SOON:
            raise RunError(f"{reason}; it was started again only {self._since[number]} steps before")
        print(f"{reason}; its process is started again, its episodes are cut", file=sys.stderr, flush=True)
        self._workers[number].end(kill=True)
        worker = self._workers[number] = WorkerProcess(self._memory)
        for group, rows in zip(self._groups, self._shares[number], strict=True):
            group.lost[number] = Cut(rows, [self._params] * (rows.stop - rows.start))
        try:
            worker.ask("make", *self._making(number))
            worker.ask("attach", self.spec.num_envs, number, len(self._workers))
            worker.ask("configure", self._params)
            worker.ask("start", self._groups[0].episodes.seed, self._episodes(number))
        except Died as died:
            raise RunError(f"{reason}; started again, it {died}") from died
        self._since[number] = 0

    def _death(self, number: int, died: Died) -> str:
        """How a worker died, with the copy that did it where it was stepped or reset just then."""
        half, index, resetting = self._board.mark[number].tolist()
        group = self._groups[max(half, 0)]
        row = group.local(self._shares[number][max(half, 0)]).start + max(index, 0)
        if group.episodes.seed is None:
            return f"{self._config.id}: worker process {number} {died}"
        resetting = resetting and half >= 0
        given = None if resetting else self._board.all.action[group.rows]
        where = group.episodes.where(row, given, ahead=int(resetting))
        if half >= 0:
            return f"{where} took its process with it, which {died}"
        return f"{where} was not being stepped when its process {died}"


def _end(workers: list[WorkerProcess], memory: int) -> None:
    for worker in workers:
        worker.end()
    os.close(memory)
