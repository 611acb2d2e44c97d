"""How many cores a process takes."""

import os

import pytest

from proximo.envs.processors import SHARE, cores
from proximo.errors import UserError


@pytest.fixture(autouse=True)
def eight(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(("share", "expected"), [("", 8), ("3", 3), ("99", 8)])
def test_the_share_is_an_upper_limit(share, expected, monkeypatch):
    monkeypatch.setenv(SHARE, share)
    assert cores() == expected


@pytest.mark.parametrize("share", ["0", "two", "-1", "1.5"])
def test_another_share_is_refused(share, monkeypatch):
    monkeypatch.setenv(SHARE, share)
    with pytest.raises(UserError, match=f"PROXIMO_CORES={share}: must be a whole number"):
        cores()
