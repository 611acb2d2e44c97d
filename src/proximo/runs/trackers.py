"""Trackers: where numbers and files go. CSV and JSONL always; TensorBoard, W&B, trackio, your own on request.

One step axis for all of them: valid environment steps. A tracker that is not installed, or cannot reach its
service, says so in one line and training goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from proximo.config.experiment import (
    Custom,
    Experiment,
    TensorboardTracker,
    TrackioTracker,
    WandbTracker,
)
from proximo.config.registry import build, resolve
from proximo.errors import ProximoError, user_code
from proximo.runs.extras import optional
from proximo.runs.log import Progress
from proximo.runs.run import Run

Say = Callable[[str], None]


class Tracker(Protocol):
    """A sink for scalars and files; a class of your own is given as `track: [{type: "module:Class"}]`."""

    def start(self, run: Run, experiment: Experiment, resume_step: int | None) -> None:
        """Called once; raise `UserError` to be left out with one printed line.

        `resume_step`: None for a fresh run, else the step from which it goes on.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics of one update; non-finite values may occur."""

    def video(self, step: int, path: Path) -> None:
        """A finished video file."""

    def artifact(self, path: Path) -> None:
        """A folder worth keeping: the final checkpoint."""

    def close(self, status: str) -> None:
        """The run is `finished`, `stopped` or `failed`."""


class CsvTracker:
    """`progress.csv`: a row per update."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._progress: Progress | None = None

    def start(self, run: Run, experiment: Experiment, resume_step: int | None) -> None:
        """Begin the file, or go on with it without the rows past the checkpoint."""
        self._progress = run.progress(self._columns, resume_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append the row soon: hundreds may come a second."""
        assert self._progress is not None
        self._progress.later(values)

    def flush(self) -> None:
        """Put every row on disk."""
        if self._progress is not None:
            self._progress.flush()

    def video(self, step: int, path: Path) -> None:
        """Nothing: it lies in the run's folder."""

    def artifact(self, path: Path) -> None:
        """Nothing: it lies in the run's folder."""

    def close(self, status: str) -> None:
        """Put every row on disk and give the file back."""
        if self._progress is not None:
            self._progress.close()


class JsonlTracker:
    """`events.jsonl`: a record of kind `update`, `video` or `artifact` for everything that is tracked."""

    def __init__(self) -> None:
        self._run: Run | None = None

    def start(self, run: Run, experiment: Experiment, resume_step: int | None) -> None:
        """Remember the run."""
        self._run = run
        self._last = 0

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append the record soon."""
        assert self._run is not None
        self._last = step
        self._run.events.later("update", step, values)

    def flush(self) -> None:
        """Put every record on disk."""
        if self._run is not None:
            self._run.events.flush()

    def video(self, step: int, path: Path) -> None:
        """Append where it is."""
        assert self._run is not None
        self._run.event("video", step, {"path": self._inside(path)})

    def artifact(self, path: Path) -> None:
        """Append where it is."""
        assert self._run is not None
        self._run.event("artifact", self._last, {"path": self._inside(path)})

    def close(self, status: str) -> None:
        """Put every record on disk."""
        self.flush()

    def _inside(self, path: Path) -> str:
        assert self._run is not None
        root = self._run.path
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


class TensorboardLog:
    """TensorBoard event files, one event per update; needs no TensorFlow."""

    def __init__(self) -> None:
        self._writer: Any = None

    def start(self, run: Run, experiment: Experiment, resume_step: int | None) -> None:
        """Open the writer; after a resume TensorBoard is told to forget later steps."""
        writers = optional("tensorboard.summary.writer.event_file_writer", "tensorboard")
        events = optional("tensorboard.compat.proto.event_pb2", "tensorboard")
        self._event = events.Event
        self._summary = optional("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
        self._writer = writers.EventFileWriter(str(run.tensorboard(experiment)), flush_secs=10)
        if resume_step is not None:
            begins = events.SessionLog(status=events.SessionLog.START)
            step = resume_step + 1
            self._writer.add_event(self._event(wall_time=time.time(), step=step, session_log=begins))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write all metrics as one event."""
        rows = [self._summary.Value(tag=k, simple_value=v) for k, v in values.items() if k != "step"]
        summary = self._summary(value=rows)
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))

    def video(self, step: int, path: Path) -> None:
        """Nothing: TensorBoard shows no mp4."""

    def artifact(self, path: Path) -> None:
        """Nothing: it lies in the run's folder."""

    def close(self, status: str) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


class Trackers:
    """All trackers of a run as one: CSV, JSONL, and what `track` asks for."""

    def __init__(
        self,
        run: Run,
        experiment: Experiment,
        say: Say = print,
        columns: Sequence[str] = ("step",),
        warn: Say = print,
    ) -> None:
        """`columns`: names of all metrics that may come (an unforeseen one rewrites `progress.csv` once).

        `say` and `warn` get single lines; `warn` those of trackers that fail later on.

        Raises: UserError where a tracker of the user's own cannot be made.
        """
        self._run, self._experiment, self._columns = run, experiment, columns
        self._say, self._warn = say, warn
        # W&B first, because the last one opened is closed first: it uploads TensorBoard's finished files.
        wanted = sorted(experiment.track, key=lambda config: not isinstance(config, WandbTracker))
        self._wanted = [(config.type, _make(config, say)) for config in wanted]
        self._files: list[CsvTracker | JsonlTracker] = []
        """Every run has them, and fails where they cannot be written."""
        self._others: list[tuple[str, Tracker]] = []
        """Those that training goes on without, with their names."""

    def start(self, resume_step: int | None = None) -> None:
        """Open them; one that cannot be opened says why in one line and is left out.

        `resume_step`: the step of the loaded checkpoint, None for a fresh run.
        """
        self._files = [CsvTracker(self._columns), JsonlTracker()]
        for file in self._files:
            file.start(self._run, self._experiment, resume_step)
        for name, tracker in self._wanted:
            try:
                with user_code("it", hint=""):
                    tracker.start(self._run, self._experiment, resume_step)
            except ProximoError as error:
                self._say(f"not tracked by {name}: {error}")
            else:
                self._others.append((name, tracker))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics of one update, to all."""
        # A copy: the files write it later, and hooks may go on with theirs.
        row = {**values, "step": step}
        for file in self._files:
            file.scalars(step, row)
        if self._others:
            self._tell(lambda tracker: tracker.scalars(step, row))

    def flush(self) -> None:
        """Put what the run's own files still hold back on disk."""
        for file in self._files:
            file.flush()

    def video(self, step: int, path: Path) -> None:
        """A finished video file, to all."""
        for file in self._files:
            file.video(step, path)
        self._tell(lambda tracker: tracker.video(step, path))

    def artifact(self, path: Path) -> None:
        """The final checkpoint's folder, to all."""
        for file in self._files:
            file.artifact(path)
        self._tell(lambda tracker: tracker.artifact(path))

    def close(self, status: str) -> None:
        """Close all, the last one opened first."""
        self._others.reverse()
        self._tell(lambda tracker: tracker.close(status))
        for file in reversed(self._files):
            file.close(status)
        self._others, self._files = [], []

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        """Call all but the files; one that fails is left out from then on."""
        for named in list(self._others):
            name, tracker = named
            try:
                with user_code("it", hint=""):
                    call(tracker)
            except ProximoError as error:
                self._warn(f"no longer tracked by {name}: {error}")
                self._others.remove(named)


def _make(config: Any, say: Say) -> Tracker:
    if isinstance(config, TensorboardTracker):
        return TensorboardLog()
    if isinstance(config, WandbTracker):
        from proximo.runs.wandb_log import WandbLog

        return WandbLog(config, say)
    if isinstance(config, TrackioTracker):
        from proximo.runs.trackio_log import TrackioLog

        return TrackioLog(config, say)
    assert isinstance(config, Custom)
    tracker: Tracker = build(resolve(config.type), config.kwargs, where="track")
    return tracker
