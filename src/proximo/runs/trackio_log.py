"""trackio: a local dashboard of runs."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from proximo.config.experiment import Experiment, TrackioTracker
from proximo.runs.extras import optional
from proximo.runs.run import Run

Say = Callable[[str], None]


class TrackioLog:
    """trackio: a local dashboard; `trackio show --project …` opens it. Videos stay in the run's folder."""

    def __init__(self, config: TrackioTracker, say: Say) -> None:
        self._config = config
        self._say = say
        self._trackio: Any = None

    def start(self, run: Run, experiment: Experiment, resume_step: int | None) -> None:
        """Open the run under its folder's name; a resumed one goes on."""
        trackio = optional("trackio", "trackio")
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.init(
                project=self._config.project,
                name=run.path.name,
                config=experiment.model_dump(mode="json"),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self._trackio = trackio
        self._say(f"trackio: watch with `trackio show --project {self._config.project}`")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Send finite values; the library queues them."""
        finite = {k: v for k, v in values.items() if k != "step" and math.isfinite(v)}
        self._trackio.log(finite, step=step)

    def video(self, step: int, path: Path) -> None:
        """Nothing: it lies in the run's folder."""

    def artifact(self, path: Path) -> None:
        """Nothing: it lies in the run's folder."""

    def close(self, status: str) -> None:
        """Wait for the queue."""
        if self._trackio is not None:
            with contextlib.redirect_stdout(io.StringIO()):
                self._trackio.finish()
