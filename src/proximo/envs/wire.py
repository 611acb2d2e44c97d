"""Messages between the learner and its worker processes: JSON and raw arrays, nothing pickled.

A frame is its length, the length of its JSON part, the JSON part and the bytes of its arrays. Everything that is not
a plain number, string or None is tagged, so that tuples, arrays and tensors come back as what they were.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
from typing import Any

import numpy as np

from proximo.envs.spaces import Array
from proximo.errors import RunError

MESSAGE, DONE = b"m", b"."
"""First bytes: of a message to a worker or its answer, of the answer that a step went well."""
_HEAD = struct.Struct("<QQ")


def encode(value: Any) -> bytes:
    """A frame; `RunError` for what is neither JSON value, tuple, array nor tensor."""
    arrays: list[Array] = []
    tree = _tagged(value, arrays)
    about = [(array.dtype.str, list(array.shape)) for array in arrays]
    text = json.dumps([tree, about]).encode()
    raw = b"".join(array.tobytes() for array in arrays)
    return _HEAD.pack(len(text) + len(raw), len(text)) + text + raw


def write(pipe: int, data: bytes) -> None:
    """Write all of it, however little a pipe takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def receive(pipe: int) -> Any:
    """Read a frame; `EOFError` where the other end is gone."""
    total, length = _HEAD.unpack(_exactly(pipe, _HEAD.size))
    body = _exactly(pipe, total)
    tree, about = json.loads(body[:length])
    arrays, position = [], length
    for kind, shape in about:
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(body, dtype, count, position).reshape(shape).copy())
        position += count * dtype.itemsize
    return _plain(tree, arrays)


def _exactly(pipe: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(pipe, count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _tagged(value: Any, arrays: list[Array]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return {"list" if isinstance(value, list) else "tuple": [_tagged(entry, arrays) for entry in value]}
    if isinstance(value, dict):
        return {"dict": [[_tagged(key, arrays), _tagged(entry, arrays)] for key, entry in value.items()]}
    kind = "array"
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        kind, value = "tensor", value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise RunError(
            f"a {type(value).__name__} cannot be sent between processes: give numbers, strings, lists, "
            "dictionaries, arrays or tensors"
        )
    arrays.append(value)
    return {kind: len(arrays) - 1}


def _plain(tree: Any, arrays: list[Array]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "dict":
        return {_plain(key, arrays): _plain(entry, arrays) for key, entry in content}
    if kind == "array":
        return arrays[content]
    if kind == "tensor":
        # Only where the environment itself gave a tensor, so that it is no import too many.
        return importlib.import_module("torch").from_numpy(arrays[content])
    entries = [_plain(entry, arrays) for entry in content]
    return entries if kind == "list" else tuple(entries)
