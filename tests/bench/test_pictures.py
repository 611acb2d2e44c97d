"""Pictures that are committed beside tables: what their results make, drawn only where that is asked for."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("therapy_learning")


def test_the_therapists_that_learn(learning: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = tmp_path / "all.svg"
    monkeypatch.setattr(sys, "argv", ["therapy_learning.py", "--table", "--picture", str(drawn)])
    assert learning.main() == 0
    assert drawn.read_bytes() == (BENCHMARKS / "therapy_learning.svg").read_bytes()


def test_a_part_of_them_draws_nothing(learning: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(learning, "write", lambda *given: drawn.append(given))
    monkeypatch.setattr(sys, "argv", ["therapy_learning.py", "--table", "--only", "0.7"])
    assert learning.main() == 0
    assert drawn == []
