"""Imports of the command line: the garbage collector spares PyTorch, and works as ever afterwards."""

import gc
import subprocess
import sys

import pytest

from proximo.cli.imports import uncollected

_PROCESS = """
import gc, sys
from proximo.cli.imports import uncollected
searches = []
gc.callbacks.append(lambda phase, info: searches.append(phase))
assert "torch" not in sys.modules
with uncollected():
    searches.clear()
    import torch
    print(len(searches))
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


def test_importing_pytorch_is_not_searched_and_then_spared():
    run = subprocess.run([sys.executable, "-c", _PROCESS], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0", "True", "True"]


def test_where_pytorch_is_there_nothing_changes():
    import torch  # noqa: F401

    frozen = gc.get_freeze_count()
    with uncollected():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_a_failed_import_leaves_the_collector_working(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    frozen = gc.get_freeze_count()
    with pytest.raises(ImportError), uncollected():
        import no_such_module  # noqa: F401
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
