"""The speed tables of `benchmarks/`: that they measure, check, count and write; never how fast anything is."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proximo.core.engines.native.library import INSTALL, library

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"

needs_kernels = pytest.mark.skipif(library() is None, reason=f"the native kernels are not built: {INSTALL}")


def script(name: str, out: Path) -> str:
    """Run a benchmark quickly in a process of its own, as it keeps itself to one core."""
    (out / "results").mkdir()
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@needs_kernels
def test_engines_agree_before_they_are_timed(tmp_path: Path) -> None:
    printed = script("engines.py", tmp_path)
    found = json.loads((tmp_path / "results" / "engines.json").read_text())
    sides = set(found["size_mib"])
    assert {"native", "eager"} <= sides
    for side in {"numba", "jax"} - sides:
        assert f"{side}: left out, not installed" in printed
    assert set(found["differences"]["W1"]["step"]) == set(found["microseconds"]["W1"]) == sides
    assert all(gap <= 1e-6 for kind in found["differences"]["W1"].values() for gap in kind.values())
    assert all(len(times) == 1 and times[0] > 0 for times in found["microseconds"]["W1"].values())
    assert {"date", "command", "machine"} <= set(found)
    assert "| C++ kernels |" in (tmp_path / "engines.md").read_text()


@needs_kernels
def test_scaling_writes_table_data_and_picture(tmp_path: Path) -> None:
    script("scaling.py", tmp_path)
    found = json.loads((tmp_path / "results" / "scaling.json").read_text())
    assert set(found["sweeps"]) == {"environments", "width", "observation size", "minibatch"}
    assert found["peak_gflops"] == max(found["peaks_gflops"].values()) > 0
    for rows in found["sweeps"].values():
        assert len(rows) == 2
        assert all(row["seconds_a_step"][0] > row["env_seconds_a_step"][0] > 0 for row in rows)
    page = (tmp_path / "scaling.md").read_text()
    assert page.count("floor/measured") == 4
    picture = (tmp_path / "scaling.svg").read_text()
    assert picture.count('<path class="floor"') == 5  # four panels and the legend
    assert not re.search("nan|inf", picture)


def test_operations_of_a_step_counted_by_hand(module: Any) -> None:
    """One layer size at a time: 2 operations per weight forward, 2 for its gradient, 2 for its input's."""
    scaling = module("scaling")
    point = scaling.Point(width=10, obs=3, epochs=1, minibatch=8)
    # Weights: first layers 30 each, second 100 each, heads 20 and 10; biases 20, 20, 2, 1.
    forward = 2 * (2 * 30 + 2 * 100 + 20 + 10)
    learning = 3 * forward - 2 * (2 * 30)
    adam = scaling.ADAM_FLOPS * (290 + 43) / 8
    assert scaling.flops(point) == pytest.approx(forward + learning + adam)


def test_a_marked_part_of_a_page_is_replaced(module: Any, tmp_path: Path) -> None:
    clocks = module("clocks")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    for _ in range(2):
        clocks.between(page, "table", "new\n")
        assert page.read_text() == "before\n<!-- table -->\nnew\n<!-- /table -->\nafter\n"
    with pytest.raises(SystemExit, match="has no <!-- other -->"):
        clocks.between(page, "other", "new")


def test_lines_leave_out_comments_and_docstrings(module: Any, tmp_path: Path) -> None:
    cost = module("engines_cost")
    (tmp_path / "a.py").write_text(
        '"""Two\nlines."""\n\n# why\nx = 1\n\ndef f():\n    """One."""\n    return x\n'
    )
    (tmp_path / "b.h").write_text("// why\n#include <math.h>\n\nint x; // here\n")
    assert cost.lines(tmp_path / "a.py") == 3
    assert cost.lines(tmp_path / "b.h") == 2
