"""The global random generators, kept whole: the user's own modules and environments may draw from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Randomness:
    """The global generators, for the user's own modules and environments; Proximo's own draws are keyed."""

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's (CPU and CUDA), NumPy's and Python's generators."""
        version, internal, gauss = random.getstate()
        _, keys, pos, has_gauss, cached = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "python": [version, list(internal), gauss],
            "numpy": {"keys": [int(k) for k in keys], "at": [int(pos), int(has_gauss), float(cached)]},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        torch.set_rng_state(state["torch"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        pos, has_gauss, cached = state["numpy"]["at"]
        keys = np.array(state["numpy"]["keys"], dtype=np.uint32)
        np.random.set_state(("MT19937", keys, int(pos), int(has_gauss), cached))


@contextmanager
def preserved_randomness() -> Iterator[None]:
    """Leave the global generators as they were: evaluation must not change what training draws."""
    randomness = Randomness()
    state = randomness.state_dict()
    try:
        yield
    finally:
        randomness.load_state_dict(state)
