"""What encoders get to see, by hand."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from proximo.errors import UserError
from proximo.policies.views import View, image_shape, is_image, is_normalizable

IMAGE = spaces.Box(0, 255, (40, 48, 3), np.uint8)


def test_discrete_is_one_hot_from_where_it_starts() -> None:
    view = View("obs", spaces.Discrete(3, start=-1), "vector", None)
    assert view(torch.tensor([-1, 1])).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert view.space.shape == (3,)


def test_multi_discrete_is_one_hot_side_by_side() -> None:
    view = View("obs", spaces.MultiDiscrete([2, 3]), "vector", None)
    assert view(torch.tensor([[1, 0], [0, 2]])).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    nested = View("obs", spaces.MultiDiscrete([[2, 3], [2, 2]]), "vector", None)
    assert nested(torch.tensor([[[1, 0], [0, 1]]])).tolist() == [[0, 1, 1, 0, 0, 1, 0, 0, 1]]


def test_multi_binary_is_floats() -> None:
    out = View("obs", spaces.MultiBinary(3), "vector", None)(torch.tensor([[0, 1, 1]], dtype=torch.int8))
    assert out.dtype == torch.float32
    assert out.tolist() == [[0, 1, 1]]


def test_images_are_scaled_and_channels_first() -> None:
    pixels = torch.randint(0, 256, (2, 40, 48, 3), dtype=torch.uint8)
    view = View("obs", IMAGE, "image", None)
    torch.testing.assert_close(view(pixels), pixels.permute(0, 3, 1, 2).float() / 255)
    assert view.space.shape == (3, 40, 48)
    first = View("obs", spaces.Box(0, 255, (3, 40, 48), np.uint8), "image", None)
    torch.testing.assert_close(first(pixels.permute(0, 3, 1, 2)), pixels.permute(0, 3, 1, 2).float() / 255)


def test_stacked_and_gray_images() -> None:
    assert image_shape((84, 84)) == (1, 84, 84)
    assert image_shape((4, 84, 84)) == (4, 84, 84)
    assert image_shape((4, 40, 48, 3)) == (12, 40, 48)
    stack = torch.randint(0, 256, (2, 4, 40, 48, 3), dtype=torch.uint8)
    out = View("obs", spaces.Box(0, 255, (4, 40, 48, 3), np.uint8), "image", None)(stack)
    torch.testing.assert_close(out[:, 4], stack[:, 1, :, :, 1].float() / 255)


def test_small_integers_are_scaled_for_vectors_and_kept_for_own_encoders() -> None:
    space = spaces.Box(0, 10, (2,), np.int64)
    x = torch.tensor([[5, 10]])
    assert View("obs", space, "vector", None)(x).tolist() == [[0.5, 1.0]]
    assert View("obs", space, "custom", None)(x).tolist() == [[5.0, 10.0]]


def test_what_counts_as_image() -> None:
    assert is_image(IMAGE)
    assert is_image(spaces.Box(0, 255, (84, 84), np.uint8))
    assert is_image(spaces.Box(0.0, 1.0, (3, 64, 64)))
    assert not is_image(spaces.Box(0, 255, (21, 79), np.uint8))
    assert not is_image(spaces.Box(0, 255, (7, 7, 3), np.uint8))
    assert not is_image(spaces.Box(-np.inf, np.inf, (64, 64, 3)))
    assert not is_image(spaces.Box(0, 255, (128,), np.uint8))


def test_what_is_normalised() -> None:
    assert is_normalizable(spaces.Box(-np.inf, np.inf, (3,)))
    assert is_normalizable(spaces.Box(-1.0, 1.0, (3,)))
    assert is_normalizable(spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (27,), np.int64))
    for space in (
        IMAGE,
        spaces.Box(0.0, 1.0, (3, 64, 64)),
        spaces.Box(0, 5976, (21, 79), np.int16),
        spaces.Discrete(4),
        spaces.MultiBinary(3),
        spaces.MultiDiscrete([2, 2]),
    ):
        assert not is_normalizable(space), space


def test_spaces_without_numbers_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'words'.*Text"):
        View("words", spaces.Text(5), "vector", None)
