"""Names and seeds that need no PyTorch: the worker processes of environments use them too."""

from __future__ import annotations

import hashlib

PLAIN_KEY = "obs"
"""The key under which a plain (non-Dict) observation lies."""


def stream_key(seed: int, stream: str) -> int:
    """A 63-bit key for a named stream of a seed."""
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def integer_seed(seed: int, stream: str, *indices: int) -> int:
    """A 31-bit seed for somebody else's generator (an environment's, NumPy's)."""
    return stream_key(seed, stream + "".join(f"/{i}" for i in indices)) & 0x7FFFFFFF
