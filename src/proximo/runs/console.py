"""What a training prints: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

REFRESH_SECONDS = 0.5
PLAIN_LINES = 20
"""Without a terminal: about this many progress lines for a whole run."""
QUIET, NORMAL, VERBOSE = -1, 0, 1
_MAIN = ("return_mean", "length_mean", "success_rate", "eval/return_mean")
_DETAIL = (
    "policy_loss",
    "value_loss",
    "entropy",
    "kl",
    "clip_fraction",
    "explained_variance",
    "learning_rate",
)


class Console:
    """Prints progress: `QUIET` nothing but warnings, `NORMAL` the essentials, `VERBOSE` the losses too."""

    def __init__(self, total_steps: int, verbosity: int = NORMAL, file: TextIO | None = None) -> None:
        self.total_steps = total_steps
        self.verbosity = verbosity
        self._rich = RichConsole(file=file, highlight=False, markup=False)
        # Rich asks the environment and the system each time, which would be a quarter of a fast update's log.
        self._is_terminal = self._rich.is_terminal
        self._live: Live | None = None
        self._shown_at = -math.inf
        self._shown_step = 0
        self._origin: tuple[int, float] | None = None
        self._phases: dict[str, float] = {}

    def line(self, text: str, level: int = NORMAL) -> None:
        """Print a line of text (above the table, where there is one) if the verbosity is at least `level`."""
        if self.verbosity >= level:
            self._rich.print(text, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a line to standard error, whatever the verbosity."""
        if self._live is not None:
            self._rich.print(f"warning: {text}", soft_wrap=True)
        else:
            print(f"warning: {text}", file=sys.stderr, flush=True)

    def update(self, step: int, metrics: Mapping[str, float], phases: Mapping[str, float]) -> None:
        """Show an update: `metrics` by column name, `phases` in seconds since the last update."""
        now = time.perf_counter()
        if self._origin is None:
            self._origin = (step, now)
        for name, seconds in phases.items():
            self._phases[name] = self._phases.get(name, 0.0) + seconds
        if self.verbosity <= QUIET:
            return
        if self._is_terminal:
            # Rendering costs milliseconds, so it happens twice a second and never in a thread of its own.
            if now - self._shown_at >= REFRESH_SECONDS or step >= self.total_steps:
                self._shown_at = now
                self._show(self._table(step, metrics, now))
        elif self._is_due(step):
            self._shown_step = step
            self._rich.print(self._plain(step, metrics, now), soft_wrap=True)

    def close(self) -> None:
        """Leave the last table standing and give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _is_due(self, step: int) -> bool:
        first = self._shown_step == 0
        spacing = self.total_steps / PLAIN_LINES
        passed = int(step / spacing) > int(self._shown_step / spacing)
        return first or passed or self.verbosity >= VERBOSE or step >= self.total_steps

    def _show(self, table: Table) -> None:
        if self._live is None:
            self._live = Live(table, console=self._rich, auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(table, refresh=True)

    def _remaining(self, step: int, now: float) -> str:
        if self._origin is None or step <= self._origin[0]:
            return "–"
        rate = (step - self._origin[0]) / max(now - self._origin[1], 1e-9)
        return clock(max(self.total_steps - step, 0) / rate)

    def _names(self, metrics: Mapping[str, float]) -> list[str]:
        wanted = _MAIN + (_DETAIL if self.verbosity >= VERBOSE else ())
        return [n for n in wanted if n in metrics and not math.isnan(metrics[n])]

    def _phase_text(self) -> str:
        total = sum(self._phases.values())
        if total <= 0:
            return ""
        parts = sorted(self._phases.items(), key=lambda item: -item[1])
        return " · ".join(f"{name} {100 * s / total:.0f} %" for name, s in parts if s / total >= 0.005)

    def _plain(self, step: int, metrics: Mapping[str, float], now: float) -> str:
        parts = [f"{step:>{len(f'{self.total_steps:,}')},} of {self.total_steps:,} steps"]
        parts += [f"{_label(name)} {number(metrics[name])}" for name in self._names(metrics)]
        if "steps_per_second" in metrics:
            parts.append(f"{metrics['steps_per_second']:,.0f} steps/s")
        parts.append(f"{self._remaining(step, now)} left")
        if self.verbosity >= VERBOSE and self._phase_text():
            parts.append(self._phase_text())
        return "  ".join(parts)

    def _table(self, step: int, metrics: Mapping[str, float], now: float) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        table.add_column()
        share = min(step / self.total_steps, 1.0)
        width = max(min(self._rich.width - 16, 60), 10)
        table.add_row("progress", ProgressBar(total=1.0, completed=share, width=width))
        table.add_row("steps", f"{step:,} of {self.total_steps:,} ({100 * share:.0f} %)")
        table.add_row("time left", self._remaining(step, now))
        if "steps_per_second" in metrics:
            table.add_row("speed", f"{metrics['steps_per_second']:,.0f} steps/s")
        for name in self._names(metrics):
            table.add_row(_label(name), number(metrics[name]))
        if self._phase_text():
            table.add_row("time goes to", self._phase_text())
        return table


def _label(name: str) -> str:
    return name.removesuffix("_mean").replace("_", " ").replace("/", " ")


def number(value: float) -> str:
    """A number in at most about seven characters."""
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e7 else f"{value:.2e}"


def clock(seconds: float) -> str:
    """A duration as `12 s`, `3:05 min` or `2:10 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
