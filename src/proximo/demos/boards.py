"""What a person plays on: a window, or a terminal. Both show the environment and give the keys that are pressed."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Set
from typing import Any, Protocol

import numpy as np

from proximo.demos.record import Again, Stop
from proximo.errors import RunError, UserError

FPS = 30
"""Steps a second in an environment that says nothing."""
LONGEST_SIDE = 800
_ESCAPES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left"}
_ESCAPES |= {key.replace(b"[", b"O"): name for key, name in _ESCAPES.items()}
_NAMES = {
    b" ": "space",
    b"\r": "return",
    b"\n": "return",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x1b": "escape",
}
_NAMES |= {b"\t": "tab"}


class Board(Protocol):
    """Shows the environment and tells the keys."""

    render_mode: str | None

    def show(self, picture: Any, obs: Any, line: str) -> None: ...
    def wait(self) -> Set[str]: ...
    def held(self, fps: float) -> Set[str]: ...
    def close(self) -> None: ...


def _obeyed(key: str) -> str:
    """The key itself; Stop and Again for those that end a recording or an episode."""
    if key == "escape":
        raise Stop
    if key == "backspace":
        raise Again
    return key


class Window:
    """A window with the environment's picture; keys count while they are held."""

    render_mode: str | None = "rgb_array"

    def __init__(self, title: str) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ImportError as error:
            raise UserError("a window needs pygame: pip install 'proximo[demos]'") from error
        self._pygame: Any = pygame
        try:
            pygame.display.init()
        except pygame.error as error:
            raise UserError(f"no window can be opened ({error}); use --view terminal") from error
        pygame.display.set_caption(title)
        self._clock = pygame.time.Clock()
        self._held: set[str] = set()
        self._names: dict[int, str] = {}
        self._surface: Any = None

    def show(self, picture: Any, obs: Any, line: str) -> None:
        """Draw `picture` `[height, width, 3]`, as large as fits."""
        frame = np.asarray(picture[-1] if isinstance(picture, list) else picture)
        if frame.ndim != 3 or frame.dtype != np.uint8:
            raise RunError(
                "the environment gives no picture: its render() must return uint8 [height, width, 3]"
            )
        pygame = self._pygame
        height, width = frame.shape[:2]
        scale = max(1, LONGEST_SIDE // max(height, width)) if max(height, width) < LONGEST_SIDE else 1
        size = (width * scale, height * scale)
        if self._surface is None or self._surface.get_size() != size:
            self._surface = pygame.display.set_mode(size)
        drawn = pygame.surfarray.make_surface(frame[:, :, :3].swapaxes(0, 1))
        self._surface.blit(pygame.transform.scale(drawn, size), (0, 0))
        pygame.display.set_caption(line)
        pygame.display.flip()

    def wait(self) -> Set[str]:
        """The next key that is pressed."""
        while True:
            pressed = self._take(self._pygame.event.wait())
            if pressed is not None:
                return {pressed}

    def held(self, fps: float) -> Set[str]:
        """The keys held when the next step is due, and those pressed since the last one."""
        self._clock.tick(fps)
        taken = [self._take(event) for event in self._pygame.event.get()]
        return self._held | {key for key in taken if key is not None}

    def _take(self, event: Any) -> str | None:
        """Note an event; the key if one went down."""
        pygame = self._pygame
        if event.type == pygame.QUIT:
            raise Stop
        if event.type not in (pygame.KEYDOWN, pygame.KEYUP):
            return None
        if event.type == pygame.KEYUP:
            self._held.discard(self._names.pop(event.key, ""))
            return None
        typed = getattr(event, "unicode", "")
        # A capital or a sign is what was typed, not the name of the key below it.
        key = typed if typed.isprintable() and typed.strip() else str(pygame.key.name(event.key))
        self._names[event.key] = key
        self._held.add(_obeyed(key))
        return key

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()


class Terminal:
    """Text on a terminal; a terminal tells when a key goes down, not how long it is held."""

    def __init__(self, render_modes: list[str], descriptor: int | None = None) -> None:
        self.render_mode: str | None = "ansi" if "ansi" in render_modes else None
        if not (sys.stdin.isatty() if descriptor is None else os.isatty(descriptor)):
            raise UserError(
                "a person needs a terminal or a window: run this in a terminal, or with a display"
            )
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        self._bytes = b""

    def show(self, picture: Any, obs: Any, line: str) -> None:
        """Print the environment's text, else the observation."""
        print(picture if isinstance(picture, str) else obs, line, sep="\n", flush=True)

    def wait(self) -> Set[str]:
        """The next key that is pressed."""
        while True:
            key = self._next(None)
            if key is not None:
                return {key}

    def held(self, fps: float) -> Set[str]:
        """The keys pressed within one step's time."""
        key = self._next(1.0 / fps)
        return set() if key is None else {key}

    def _next(self, seconds: float | None) -> str | None:
        if not self._bytes:
            ready, _, _ = select.select([self._descriptor], [], [], seconds)
            if not ready:
                return None
            self._bytes = os.read(self._descriptor, 64)
            if not self._bytes:
                # The other end of the terminal is gone.
                raise Stop
        for code, name in _ESCAPES.items():
            if self._bytes.startswith(code):
                self._bytes = self._bytes[len(code) :]
                return _obeyed(name)
        first, self._bytes = self._bytes[:1], self._bytes[1:]
        return _obeyed(_NAMES.get(first, first.decode("ascii", "replace")))

    def close(self) -> None:
        """Give the terminal back as it was."""
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)


def choose_view(view: str, render_modes: list[str]) -> str:
    """`window` or `terminal`: what was asked for, else a window where there are a display and pictures."""
    if view != "auto":
        if view == "window" and "rgb_array" not in render_modes:
            raise UserError(
                "--view window: the environment draws no pictures (rgb_array); use --view terminal"
            )
        return view
    display = sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    )
    return "window" if display and "rgb_array" in render_modes else "terminal"
