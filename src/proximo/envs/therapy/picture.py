"""Pictures of a session: the interpersonal circle, and bond and satisfaction over the episode.

Drawn with NumPy alone; coordinates are (row, column) in pixels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from proximo.envs.therapy.clients import Clients, Outcome
from proximo.envs.therapy.letters import glyphs
from proximo.envs.therapy.octants import CODES, NOBODY
from proximo.envs.therapy.parameters import MECHANISMS, PATTERNS

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

HEIGHT, WIDTH = 320, 640
INK, FAINT, PAPER = (40, 44, 52), (205, 209, 216), (252, 252, 250)
CLIENT, THERAPIST, SATISFACTION, BOND = (29, 98, 168), (214, 104, 24), (26, 138, 88), (140, 70, 160)
_CENTRE, _RADIUS = (172.0, 160.0), 98.0
_CELLS = ((0, 15), (1, 25), (2, 29), (3, 25), (4, 15), (3, 5), (2, 1), (1, 5))
"""Line and column of each octant in the text."""
_CHART = (60, 360, 250, 610)
"""Top, left, bottom, right of the curves."""


@dataclass
class Trace:
    """What happened to client 0 in this episode: satisfaction (0 to 1) and bond, one entry per session, and pairs."""

    progress: list[float] = field(default_factory=list)
    bond: list[float] = field(default_factory=list)
    pairs: list[tuple[int, int, int]] = field(default_factory=list)
    """Client's, therapist's, perceived octant."""

    @classmethod
    def begin(cls, clients: Clients) -> Trace:
        """The trace of a client that has just come."""
        return cls([float(clients.progress[0])], [float(clients.bond[0])])

    def add(self, outcome: Outcome) -> None:
        """One more session."""
        self.progress.append(float(outcome.progress[0]))
        self.bond.append(float(outcome.bond[0]))
        self.pairs.append((int(outcome.client[0]), int(outcome.therapist[0]), int(outcome.perceived[0])))


@dataclass(frozen=True)
class Scene:
    """Everything that a picture shows of client 0."""

    session: int
    max_sessions: int
    pattern: str
    mechanism: str
    threshold: float
    now: int
    """The octant that the client shows, still unanswered."""
    last: tuple[int, int, int]
    """The last session's client, therapist and perceived octant; `NOBODY` before the first."""
    trace: Trace

    @classmethod
    def of(cls, clients: Clients, trace: Trace) -> Scene:
        """The scene of client 0."""
        return cls(
            session=int(clients.session[0]),
            max_sessions=int(clients.max_sessions[0]),
            pattern=PATTERNS[int(clients.pattern[0])],
            mechanism=MECHANISMS[int(clients.number("mechanism")[0])],
            threshold=float(clients.number("threshold")[0]),
            now=int(clients.action[0]),
            last=trace.pairs[-1] if trace.pairs else (NOBODY,) * 3,
            trace=trace,
        )

    def text(self) -> str:
        """The session in a few lines; c and t mark client and therapist of the last session, * the client now."""
        client, therapist, perceived = self.last
        head = f"session {self.session} of {self.max_sessions}  {self.pattern}, {self.mechanism}"
        rows = [[" "] * 36 for _ in range(5)]
        for octant, (row, column) in enumerate(_CELLS):
            shown = ((client, "c"), (therapist, "t"), (self.now, "*"))
            label = CODES[octant] + "".join(mark for who, mark in shown if who == octant)
            rows[row][column : column + len(label)] = label
        circle = ["".join(row).rstrip() for row in rows]
        rs, trust = self.trace.progress[-1], self.trace.bond[-1]
        bars = [f"RS   {_bar(rs)} {rs:.2f} of {self.threshold:g}", f"bond {_bar(trust)} {trust:.2f}"]
        if client != NOBODY:
            told = f"client {CODES[client]}, therapist {CODES[therapist]}"
            bars.append(told if perceived == therapist else f"{told}, perceived {CODES[perceived]}")
        return "\n".join([head, *circle, *bars]) + "\n"

    def picture(self) -> Image:
        """`[HEIGHT, WIDTH, 3]`."""
        canvas = Canvas()
        canvas.write(12, 16, f"SESSION {self.session} OF {self.max_sessions}", INK)
        canvas.write(26, 16, f"{self.pattern}, {self.mechanism}".replace("_", " ").upper(), INK)
        self._circle(canvas)
        self._curves(canvas)
        return canvas.pixels

    def _circle(self, canvas: Canvas) -> None:
        canvas.ring(_CENTRE, _RADIUS, 1.5, FAINT)
        for octant, code in enumerate(CODES):
            row, column = _place(octant, _RADIUS + 24)
            canvas.disc(_place(octant, _RADIUS), 3, FAINT)
            canvas.write(int(row) - 4, int(column) - 6 * len(code) + 1, code, INK, scale=2)
        client, therapist, perceived = self.last
        recent = self.trace.pairs[-12:]
        for age, (_, shown, _) in enumerate(reversed(recent)):
            canvas.disc(_place(shown, _RADIUS - 18 - 5 * age), 2, THERAPIST)
        if client != NOBODY:
            canvas.line(_place(client, _RADIUS), _place(therapist, _RADIUS), FAINT)
            canvas.disc(_place(therapist, _RADIUS), 10, THERAPIST)
            if perceived != therapist:
                canvas.ring(_place(perceived, _RADIUS), 10, 2, THERAPIST)
        canvas.disc(_place(self.now, _RADIUS), 6, CLIENT)
        canvas.legend(HEIGHT - 13, 16, (("CLIENT", CLIENT), ("THERAPIST", THERAPIST)))

    def _curves(self, canvas: Canvas) -> None:
        top, left, bottom, right = _CHART
        for level in (0.0, 0.5, 1.0):
            row = bottom - level * (bottom - top)
            canvas.line((row, left), (row, right), FAINT)
            canvas.write(int(row) - 3, left - 26, f"{level:.1f}", INK)
        goal = bottom - self.threshold * (bottom - top)
        for column in range(left, right, 8):
            canvas.line((goal, column), (goal, column + 3), SATISFACTION)
        span = max(self.max_sessions, 1)
        for values, colour in ((self.trace.bond, BOND), (self.trace.progress, SATISFACTION)):
            points = [
                (bottom - value * (bottom - top), left + index / span * (right - left))
                for index, value in enumerate(values)
            ]
            for begin, end in itertools.pairwise(points):
                canvas.line(begin, end, colour)
            canvas.disc(points[-1], 2.5, colour)
        rs, trust = self.trace.progress[-1], self.trace.bond[-1]
        canvas.legend(HEIGHT - 13, left, ((f"RS {rs:.2f}", SATISFACTION), (f"BOND {trust:.2f}", BOND)))


class Canvas:
    """A white picture and what can be drawn on it; whatever lies outside is cut off."""

    def __init__(self) -> None:
        self.pixels: Image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        self.pixels[:] = PAPER

    def disc(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        """A filled circle."""
        window, distance = self._around(centre, radius)
        window[distance <= radius] = colour

    def ring(self, centre: tuple[float, float], radius: float, width: float, colour: Colour) -> None:
        """A circle's line."""
        window, distance = self._around(centre, radius + width)
        window[np.abs(distance - radius) <= width / 2] = colour

    def line(self, begin: tuple[float, float], end: tuple[float, float], colour: Colour) -> None:
        """A line of two pixels' width."""
        steps = int(max(abs(end[0] - begin[0]), abs(end[1] - begin[1]))) + 1
        rows = np.rint(np.linspace(begin[0], end[0], steps + 1)).astype(int)
        columns = np.rint(np.linspace(begin[1], end[1], steps + 1)).astype(int)
        for down, along in ((0, 0), (1, 0)):
            r, c = rows + down, columns + along
            inside = (r >= 0) & (r < HEIGHT) & (c >= 0) & (c < WIDTH)
            self.pixels[r[inside], c[inside]] = colour

    def write(self, top: int, left: int, text: str, colour: Colour, scale: int = 1) -> None:
        """A line of text (capitals, digits, some signs)."""
        mask = np.kron(glyphs(text), np.ones((scale, scale), np.bool_))
        rows, columns = np.nonzero(mask)
        rows, columns = rows + top, columns + left
        inside = (rows >= 0) & (rows < HEIGHT) & (columns >= 0) & (columns < WIDTH)
        self.pixels[rows[inside], columns[inside]] = colour

    def legend(self, top: int, left: int, entries: tuple[tuple[str, Colour], ...]) -> None:
        """Names with their colours, side by side."""
        for index, (name, colour) in enumerate(entries):
            column = left + 110 * index
            self.disc((top + 3, column + 4), 4, colour)
            self.write(top, column + 14, name, INK)

    def _around(self, centre: tuple[float, float], reach: float) -> tuple[Image, Any]:
        # The part of the picture within reach, and how far its pixels are from the centre.
        top, left = (max(int(x - reach), 0) for x in centre)
        window = self.pixels[top : int(centre[0] + reach) + 2, left : int(centre[1] + reach) + 2]
        rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
        return window, np.hypot(rows + top - centre[0], columns + left - centre[1])


def _place(octant: int, radius: float) -> tuple[float, float]:
    # Dominance upwards, warmth to the right.
    angle = octant * np.pi / 4
    radius = max(radius, 0.0)
    return _CENTRE[0] - radius * float(np.cos(angle)), _CENTRE[1] + radius * float(np.sin(angle))


def _bar(share: float, width: int = 20) -> str:
    full = round(min(max(share, 0.0), 1.0) * width)
    return "[" + "#" * full + "." * (width - full) + "]"
