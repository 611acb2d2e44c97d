"""What environments must not do is told in one line."""

from __future__ import annotations

import pytest
from env_toys import Counter

from proximo.envs import guard
from proximo.errors import RunError


class Closing(Counter):
    """Raises `error` when it is closed, if there is one."""

    def __init__(self, error=None):
        super().__init__()
        self.error, self.closed = error, False

    def close(self):
        self.closed = True
        if self.error is not None:
            raise self.error


class Odd(Exception):
    """None of Python's own."""


@pytest.mark.parametrize("error", [OSError("a\nb"), ZeroDivisionError("a b"), Odd("a b"), SystemExit("a b")])
def test_all_are_closed_whatever_one_raises(error):
    envs = [Closing(error), Closing()]
    with pytest.raises(RunError) as caught:
        guard.close(envs, "Toy-v0")
    assert str(caught.value) == f"Toy-v0: close() raised {type(error).__name__}: a b"
    assert envs[1].closed
