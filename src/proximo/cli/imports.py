"""Importing much at once without the garbage collector."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports in the block are neither searched for garbage while they run, nor at any time after.

    PyTorch makes some 250,000 objects that live to the end. Looking through them takes a tenth of the start-up, and as
    long once more when the process ends. Nothing happens where PyTorch is there already.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
