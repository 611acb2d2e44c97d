"""Errors a user can act on: one line that names the thing and the cure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ProximoError(Exception):
    """Base of every error Proximo raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


class UserError(ProximoError):
    """The request cannot be carried out as written (bad configuration, missing file or extra): exit code 2."""

    exit_code = 2


class RunError(ProximoError):
    """Something failed while running (an environment raised, NaN, disk full): exit code 1."""


def in_one_line(error: BaseException) -> str:
    """An exception as `Type: message`, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or '(no message)'}"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch, not imported here, tells by its class's name (GPU) or its text (CPU)."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (
            type(error).__name__ == "OutOfMemoryError"
            or "can't allocate memory" in text
            or "not enough memory" in text
        )
    )


@contextmanager
def user_code(name: str, hint: str = " (correct it; --debug shows where)") -> Iterator[None]:
    """Turn what a class of the user's raises into a RunError that names it (`name` is its place in the settings)."""
    try:
        yield
    except ProximoError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise RunError(f"{name} raised {in_one_line(error)}{hint}") from error
