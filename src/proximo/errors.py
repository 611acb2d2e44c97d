"""Errors a user can act on: one line that names the thing and the cure."""


class ProximoError(Exception):
    """Base of every error Proximo raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


class UserError(ProximoError):
    """The request cannot be carried out as written (bad configuration, missing file or extra): exit code 2."""

    exit_code = 2


class RunError(ProximoError):
    """Something failed while running (an environment raised, NaN, disk full): exit code 1."""
