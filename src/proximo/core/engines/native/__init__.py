"""The native engine: compiled kernels for dense actor-critics on a CPU."""

from __future__ import annotations

from proximo.core.engines.native.engine import Native

__all__ = ["Native"]
