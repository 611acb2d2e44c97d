"""The learner's end of a worker process: start it, talk to it, learn how it died."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from proximo.envs import wire
from proximo.envs.wire import DONE, MESSAGE
from proximo.errors import ProximoError, RunError, UserError

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from proximo.envs.worker_main import main; main(*map(int, sys.argv[2:]))"
)
"""Not `python -m`: what the learner can import, the worker must find in the same places."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_STEPS = (b"\0", b"\1")
"""The byte that begins a step of each group."""
SECONDS_TO_END = 5.0
"""How long a worker is waited for at the end: first for what it still does, then for its process."""


class Died(Exception):
    """The process is gone; the text says how (`killed by SIGKILL`)."""


class WorkerProcess:
    """One process; requests are answered in order, so up to one step of every group may be under way."""

    def __init__(self, memory: int) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._owed = 0
        """Answers that have not been read to their end."""
        passed = (commands, answers, memory)
        environment = {**dict.fromkeys(_THREADS, "1"), **os.environ}
        # Imports pass over whatever is no string.
        places = json.dumps([place for place in sys.path if isinstance(place, str)])
        arguments = [places, *map(str, (*passed, os.getpid()))]
        # Ctrl-C must find it deaf from its first moment on; it inherits what is blocked here.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env=environment,
            )
        except OSError as error:
            self._hang_up()
            raise RunError(
                f"a worker process cannot be started ({error.strerror}); lower env.workers"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(commands)
            os.close(answers)

    def send(self, name: str, *arguments: Any) -> None:
        """Begin a request, to be followed by `answer`; that the process is gone is told there."""
        frame = wire.encode([name, *arguments])
        self._owed += 1
        with suppress(BrokenPipeError):
            wire.write(self._commands, MESSAGE + frame)

    def answer(self) -> Any:
        """What a request gave; its `UserError` or `RunError`; `Died` where there is no process any more."""
        self._first()
        value = self._rest()
        self._owed -= 1
        return value

    def ask(self, name: str, *arguments: Any) -> Any:
        """A request and its answer."""
        self.send(name, *arguments)
        return self.answer()

    def step(self, group: int) -> None:
        """Begin a step of a group, to be followed by `stepped`."""
        self._owed += 1
        try:
            os.write(self._commands, _STEPS[group])
        except BrokenPipeError:
            return

    def stepped(self) -> None:
        """Wait for the end of the step; `RunError` where a copy failed, `Died`."""
        if self._first() != DONE:
            self._rest()
        self._owed -= 1

    def close(self, until: float) -> list[str]:
        """Let it close its environments and end; what went wrong. It may finish its work `until` that moment."""
        if self._commands < 0:
            return []
        try:
            if self._settled(until):
                self.ask("close")
        except Died:
            # Had it mattered, a step would have told.
            return []
        except RunError as error:
            return [str(error)]
        return []

    def _settled(self, until: float) -> bool:
        """Whether all that is owed comes before that moment of `time.monotonic`."""
        watch = select.poll()
        watch.register(self._answers, select.POLLIN)
        while self._owed:
            if not watch.poll(max(0.0, until - time.monotonic()) * 1000):
                return False
            # Another trouble was told first, or nobody waits for this any more.
            with suppress(ProximoError):
                self.stepped()
        return True

    def end(self, *, kill: bool = False) -> None:
        """Hang up; the process then ends by itself, or is killed (at once with `kill`)."""
        self._hang_up()
        if kill:
            self.process.kill()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _hang_up(self) -> None:
        for pipe in (self._commands, self._answers):
            if pipe >= 0:
                os.close(pipe)
        self._commands = self._answers = -1

    def _first(self) -> bytes:
        first = os.read(self._answers, 1)
        if not first:
            raise Died(self._how())
        return first

    def _rest(self) -> Any:
        try:
            answer = wire.receive(self._answers)
        except EOFError:
            raise Died(self._how()) from None
        if "error" in answer:
            self._owed -= 1
            kind: type[ProximoError] = UserError if answer["code"] == UserError.exit_code else RunError
            raise kind(answer["error"])
        return answer["value"]

    def _how(self) -> str:
        code = self.process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
