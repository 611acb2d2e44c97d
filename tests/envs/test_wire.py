"""Messages between processes: everything comes back as what it was."""

import os

import numpy as np
import pytest
import torch

from proximo.envs import wire
from proximo.errors import RunError


def back(value):
    reading, writing = os.pipe()
    try:
        wire.write(writing, wire.encode(value))
        return wire.receive(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_plain_values_come_back():
    value = {"a": [1, 2.5, None, True, "ä"], 3: (1, (2,)), "": {}, "big": 2**80, "array": [float("inf")]}
    assert back(value) == value
    assert back((np.float32(0.5), np.int64(3), np.bool_(True))) == (0.5, 3, True)


def test_arrays_and_tensors_come_back():
    arrays = [np.arange(6, dtype=np.int8).reshape(2, 3)[:, ::2], np.zeros((0, 2)), np.array(3.5, np.float32)]
    for array in arrays:
        got = back({"x": [array]})["x"][0]
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        np.testing.assert_array_equal(got, array)
        got += 1
    tensor = torch.tensor([[1.5, 2.0]])
    assert torch.equal(back(tensor), tensor)


def test_what_would_need_pickling_is_refused():
    for value in (object(), np.array([None]), b"raw", {1, 2}):
        with pytest.raises(RunError, match="cannot be sent between processes"):
            wire.encode([value])


def test_the_end_of_the_other_side_is_noticed():
    reading, writing = os.pipe()
    os.write(writing, wire.encode([1, 2, 3])[:-1])
    os.close(writing)
    with pytest.raises(EOFError):
        wire.receive(reading)
    os.close(reading)
