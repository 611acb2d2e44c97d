"""Flattening of spaces."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from proximo.envs.spaces import (
    all_finite,
    find_mask,
    first_non_finite,
    mask_leaf,
    observation_leaves,
    stored_dtype,
)
from proximo.errors import UserError


def test_nested_keys_and_paths():
    box = spaces.Box(0, 1, (2,), np.float32)
    space = spaces.Dict({"x": spaces.Dict({"y": spaces.Tuple((box, spaces.Discrete(2)))}), "z": box})
    leaves = {leaf.key: leaf for leaf in observation_leaves(space, "E")}
    assert sorted(leaves) == ["x.y.0", "x.y.1", "z"]
    value = {"x": {"y": (np.ones(2), 1)}, "z": np.zeros(2)}
    assert leaves["x.y.1"].get(value) == 1
    assert leaves["x.y.0"].get(value).tolist() == [1, 1]


def test_colliding_keys_are_refused():
    box = spaces.Box(0, 1, (2,), np.float32)
    with pytest.raises(UserError, match=r"both called 'a\.b'"):
        observation_leaves(spaces.Dict({"a.b": box, "a": spaces.Dict({"b": box})}), "E")
    with pytest.raises(UserError, match="empty"):
        observation_leaves(spaces.Dict({}), "E")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.float64, np.float32),
        (np.float16, np.float32),
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (np.uint16, np.int32),
        (np.uint32, np.int64),
        (np.int64, np.int64),
        (np.bool_, np.bool_),
    ],
)
def test_stored_types(given, stored):
    assert stored_dtype(given) == stored


def test_float64_bounds_become_float32():
    limits = np.finfo(np.float64)
    space = spaces.Box(limits.min, limits.max, (2,), np.float64)
    leaf = observation_leaves(space, "E")[0]
    assert leaf.key == "obs"
    assert leaf.space.dtype == np.float32
    assert not leaf.space.is_bounded()


def test_masks_must_fit():
    leaves = observation_leaves(spaces.Dict({"m": spaces.MultiBinary(5), "o": spaces.Discrete(3)}), "E")
    assert find_mask(leaves, "m", spaces.MultiDiscrete([2, 3]), "E") == "m"
    assert find_mask(leaves, "m", spaces.Box(-1, 1, (5,)), "E") is None
    assert find_mask(leaves, "n", spaces.Discrete(5), "E") is None
    with pytest.raises(UserError, match=r"needs 4 entries; set env\.mask_key"):
        find_mask(leaves, "m", spaces.Discrete(4), "E")
    assert mask_leaf("m", np.ones(5), spaces.MultiDiscrete([2, 3]), "E").shape == (5,)
    with pytest.raises(UserError, match="has 2 entries"):
        mask_leaf("m", np.ones(2), spaces.Discrete(3), "E")


def test_first_non_finite_names_key_and_row():
    arrays = {"i": np.array([1, 2]), "a": np.zeros((3, 2), np.float32), "b": np.zeros((3, 2, 2), np.float32)}
    assert first_non_finite(arrays) is None
    arrays["b"][2, 0, 1] = np.nan
    assert first_non_finite(arrays) == ("b", 2)


def test_all_finite_finds_every_number_that_is_not():
    large = np.full((3, 4), 3e38, np.float32)
    assert all_finite(large)
    assert all_finite(np.zeros((0, 4), np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        array = np.zeros((3, 4), np.float32)
        array[2, 1] = bad
        assert not all_finite(array)
        large[0, 0] = bad
        assert not all_finite(large)
    both = np.array([np.inf, -np.inf], np.float32)
    assert not all_finite(both)
