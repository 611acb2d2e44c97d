"""A worker process: steps its share of the copies on one byte's notice; its arrays lie in shared memory.

Imports no PyTorch, so that it starts fast and stays small. Ctrl-C reaches it too where it shares a terminal with
the learner: it ignores that, and ends when the learner closes the pipe or is gone.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

from proximo.envs import wire
from proximo.envs.ahead import resets_ahead, spares_for
from proximo.envs.copies import Copies, Rows
from proximo.envs.layers import picture
from proximo.envs.replay import GymEnv, describe, native_owner
from proximo.envs.shared import About, Board, View
from proximo.envs.single import make_single
from proximo.envs.wire import DONE, MESSAGE
from proximo.errors import ProximoError, RunError

_PATIENCE_MS = 2000
"""How often a worker looks whether its parent lives, should another process hold the pipe open."""


def main(commands: int, answers: int, memory: int, parent: int) -> None:
    """Serve until the learner closes `commands`; descriptors of pipes and shared memory, parent's process id."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    for descriptor in (commands, answers, memory):
        # A program that an environment starts would keep the pipe open, and hide that this process died.
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_die_with, args=(commands, parent), daemon=True).start()
    worker = Worker(memory)
    watch = select.poll()
    watch.register(commands, select.POLLIN)
    while True:
        # Nothing to do: time for a reset that will be needed.
        while not watch.poll(0) and worker.reset_ahead():
            pass
        first = os.read(commands, 1)
        if not first:
            return
        if first == MESSAGE:
            name, *arguments = wire.receive(commands)
            _answer(answers, worker, name, arguments)
            if name == "close":
                return
            continue
        try:
            worker.step(first[0])
        except ProximoError as error:
            wire.write(answers, MESSAGE + _failure(error))
        else:
            os.write(answers, DONE)


def _die_with(commands: int, parent: int) -> None:
    """Wait until the learner is gone, then end at once, in whatever an environment may be doing."""
    watch = select.poll()
    watch.register(commands, 0)
    while not watch.poll(_PATIENCE_MS) and os.getppid() == parent:
        pass
    os._exit(1)


def _answer(answers: int, worker: Worker, name: str, arguments: list[Any]) -> None:
    try:
        frame = wire.encode({"value": _called(worker, name, arguments)})
    except ProximoError as error:
        frame = _failure(error)
    wire.write(answers, MESSAGE + frame)


def _called(worker: Worker, name: str, arguments: list[Any]) -> Any:
    try:
        return getattr(worker, name)(*arguments)
    except ProximoError:
        raise
    # SystemExit, which would end the process as if all were well.
    except (Exception, SystemExit) as error:
        raise RunError(f"a worker process raised {describe(error)} in {name!r}") from error


def _failure(error: ProximoError) -> bytes:
    return wire.encode({"error": str(error), "code": error.exit_code})


class Worker:
    """What the learner can ask for; each public method but `step` and `reset_ahead` is a message."""

    def __init__(self, memory: int) -> None:
        self._memory, self._number = memory, 0
        self._slices: list[slice] = []
        self._groups: list[Copies] = []
        self._rows: list[Rows] = []
        self._views: list[View] = []
        self._told: list[bool] = []
        """Whether the last step of each group left numbers in the shared `info`."""
        self._about: About | None = None
        self._mark: Any = None

    def make(
        self, config: dict[str, Any], rows: list[list[int]], first_env: int, modes: list[Any]
    ) -> dict[str, Any]:
        """Make the copies of each group of `rows` (first, last); tells what they look like."""
        wrappers = tuple(SimpleNamespace(**wrapper) for wrapper in config["wrappers"])
        given: Any = SimpleNamespace(**{**config, "wrappers": wrappers})
        render_mode, training = modes
        self._slices = [slice(*bounds) for bounds in rows]

        def copies(count: int) -> list[GymEnv]:
            return [make_single(given, render_mode=render_mode, training=training) for _ in range(count)]

        for part in self._slices:
            envs = copies(part.stop - part.start)
            spares = copies(spares_for(len(envs))) if resets_ahead(envs[0], given) else []
            self._groups.append(Copies(envs, given, first_env + part.start, spares))
        first = self._groups[0]
        fps = (first.envs[0].metadata or {}).get("render_fps")
        columns, native = tuple(first.infos.columns), native_owner(first.envs[0]) is not None
        self._about = About(first.leaves, first.space, first.mask_key, columns, {"render_fps": fps}, native)
        return self._about.to_wire()

    def attach(self, count: int, number: int, workers: int) -> None:
        """Open the shared memory, as worker `number` of `workers` that step `count` copies together."""
        assert self._about is not None
        board = Board(self._memory, self._about, count, workers)
        self._mark = board.mark[number]
        self._mark[0] = -1
        for part, group in zip(self._slices, self._groups, strict=True):
            group.mark = self._mark[1:]
            view = board.rows(part)
            view.info[:] = np.nan
            self._views.append(view)
            self._rows.append(Rows(view.obs, view.reward, view.terminated, view.truncated))
            self._told.append(False)

    def start(self, seed: int, episodes: list[list[int]]) -> None:
        """Begin the given episode of every copy of every group."""
        for group, rows, numbers in zip(self._groups, self._rows, episodes, strict=True):
            group.start(seed, numbers, rows.obs)

    def step(self, number: int) -> None:
        """Step a group with the actions in shared memory; everything that follows goes there too."""
        group, rows, view = self._groups[number], self._rows[number], self._views[number]
        self._mark[0] = number
        # A copy: environments may keep what they are given, and the next actions go into the same memory.
        ended = group.step(view.action.copy(), rows)
        if ended:
            for key, array in rows.obs.items():
                view.final[key][ended] = array[ended]
            group.go_on(ended, rows.obs)
        cells = group.infos.take()
        if cells or self._told[number]:
            for column, name in enumerate(group.infos.columns):
                view.info[column] = cells.get(name, np.nan)
            self._told[number] = bool(cells)
        self._mark[0] = -1

    def reset_ahead(self) -> bool:
        """Reset one spare; False where there is nothing to do."""
        for number, group in enumerate(self._groups):
            if self._rows:
                self._mark[0] = number
                busy = group.reset_ahead()
                self._mark[0] = -1
                if busy:
                    return True
        return False

    def configure(self, params: dict[str, Any]) -> None:
        """Parameters of all copies from each one's next reset on."""
        for group in self._groups:
            group.configure(params)

    def native(self) -> list[list[dict[str, Any]]]:
        """The states of the copies, group by group, where they save themselves."""
        return [group.native() for group in self._groups]

    def load(self, states: list[dict[str, Any]]) -> None:
        """Restore the running episodes of each group."""
        for group, rows, state in zip(self._groups, self._rows, states, strict=True):
            group.load(state, state["obs"], state["actions"])
            for key, array in rows.obs.items():
                array[:] = state["obs"][key]

    def render(self) -> Any:
        """The first copy's picture."""
        env = self._groups[0].envs[0]
        return picture(env, self._groups[0].env_id)

    def close(self) -> None:
        """Close all copies; the process ends after its answer."""
        failed = None
        for group in self._groups:
            try:
                group.close()
            except RunError as error:
                failed = error
        if failed is not None:
            raise failed
