"""Nested state as JSON with the tensors taken out: what `state.json` of a checkpoint holds.

A dict with a single key that begins with `$` stands for something JSON lacks: `$tensor` and `$array` (a name
in the safetensors file), `$tuple`, `$map` (a dict with other keys than strings), `$float` (nan, ±inf).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from proximo.errors import RunError


def encode(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON for `value`; its tensors go into `tensors` under their dotted path below the part's name.

    Raises: RunError naming the path of a value that is neither tensor, array, number, string, list nor dict.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.generic):
        return encode(value.item(), path, tensors)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, torch.Tensor):
        return {"$tensor": _store(value, path, tensors)}
    if isinstance(value, np.ndarray):
        return {"$array": _store(_from_numpy(value, path), path, tensors)}
    if isinstance(value, tuple):
        return {"$tuple": [encode(v, f"{path}.{i}", tensors) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [encode(v, f"{path}.{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, dict):
        if all(isinstance(k, str) and not k.startswith("$") for k in value):
            return {k: encode(v, f"{path}.{k}", tensors) for k, v in value.items()}
        pairs = [[encode(k, path, tensors), encode(v, f"{path}.{k}", tensors)] for k, v in value.items()]
        return {"$map": pairs}
    raise RunError(
        f"checkpoint: {path} is a {type(value).__name__}, which cannot be stored: let state_dict() give "
        "tensors, arrays, numbers, strings, lists and dicts"
    )


def decode(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The value that `encode` was given. Raises: KeyError where a tensor is missing."""
    if isinstance(tree, list):
        return [decode(v, tensors) for v in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1:
        ((key, value),) = tree.items()
        if key == "$tensor":
            return tensors[value]
        if key == "$array":
            return tensors[value].numpy()
        if key == "$tuple":
            return tuple(decode(v, tensors) for v in value)
        if key == "$map":
            return {decode(k, tensors): decode(v, tensors) for k, v in value}
        if key == "$float":
            return float(value)
    return {k: decode(v, tensors) for k, v in tree.items()}


def _store(tensor: torch.Tensor, path: str, tensors: dict[str, torch.Tensor]) -> str:
    name = path.partition(".")[2] or path
    while name in tensors:
        name += "'"
    # Cloned: safetensors refuses tensors that share memory (tied weights, views of one buffer).
    tensors[name] = tensor.detach().cpu().contiguous().clone()
    return name


def _from_numpy(array: np.ndarray[Any, Any], path: str) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    except TypeError as error:
        raise RunError(
            f"checkpoint: {path} is an array of {array.dtype}, which cannot be stored: let it be numeric"
        ) from error
