"""Observation statistics: what moves them, and what a snapshot keeps."""

import copy

import numpy as np
import pytest
import torch
from building import VECTOR
from gymnasium import spaces

from proximo.policies.normalizer import ObsNormalizer

SPACES = {"a.b": VECTOR, "image": spaces.Box(0, 255, (36, 36, 3), np.uint8), "kind": spaces.Discrete(3)}
ALL = torch.ones(10, 4, dtype=torch.bool)


def rows(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.b": torch.randn(10, 4, 5, generator=generator) * 3 + 2,
        "image": torch.zeros(10, 4, 36, 36, 3, dtype=torch.uint8),
        "kind": torch.zeros(10, 4, dtype=torch.int64),
    }


def test_normalised_rows_have_mean_0_and_deviation_1() -> None:
    made, obs = ObsNormalizer(SPACES, 10.0, True), rows()
    made.observe(obs, ALL)
    out = made(obs)["a.b"].flatten(0, 1)
    torch.testing.assert_close(out.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, unbiased=False), torch.ones(5), atol=1e-4, rtol=0)


def test_images_and_discrete_values_pass_unchanged() -> None:
    made, obs = ObsNormalizer(SPACES, 10.0, True), rows()
    made.observe(obs, ALL)
    out = made(obs)
    assert out["image"] is obs["image"]
    assert out["kind"] is obs["kind"]
    assert made.keys == ["a.b"]


def test_a_snapshot_outlives_what_is_observed_later() -> None:
    made, obs = ObsNormalizer(SPACES, 10.0, True), rows()
    made.observe(obs, ALL)
    kept, before = made.snapshot(), made(obs)["a.b"]
    made.observe({**obs, "a.b": obs["a.b"] + 100}, ALL)
    assert torch.equal(made(obs, kept)["a.b"], before)
    assert not torch.allclose(made(obs)["a.b"], before)
    assert set(kept) == {"a.b.mean", "a.b.std"}


def test_only_valid_rows_count() -> None:
    made, other, obs = ObsNormalizer(SPACES, 10.0, True), ObsNormalizer(SPACES, 10.0, True), rows()
    valid = ALL.clone()
    valid[3:, 1] = False
    made.observe(obs, valid)
    obs["a.b"][3:, 1] = 1e9
    other.observe(obs, valid)
    torch.testing.assert_close(made.snapshot(), other.snapshot())


def test_far_values_are_clipped() -> None:
    made = ObsNormalizer({"obs": VECTOR}, 2.5, True)
    assert made({"obs": torch.tensor([[100.0, -100.0, 1.0, 0.0, 0.0]])})["obs"][0, :3].tolist() == [
        2.5,
        -2.5,
        1.0,
    ]


def test_switched_off_it_hands_everything_on() -> None:
    made, obs = ObsNormalizer(SPACES, 10.0, False), rows()
    made.observe(obs, ALL)
    assert made(obs)["a.b"] is obs["a.b"]
    assert made.snapshot() == {}


def test_the_input_is_not_written_to() -> None:
    made, obs = ObsNormalizer(SPACES, 1.0, True), rows()
    before = obs["a.b"].clone()
    made(obs)
    assert torch.equal(obs["a.b"], before)


@pytest.mark.parametrize("way", ["load", "copy"])
def test_statistics_travel(way: str) -> None:
    made, obs = ObsNormalizer(SPACES, 10.0, True), rows()
    made.observe(obs, ALL)
    if way == "copy":
        other = copy.deepcopy(made)
    else:
        other = ObsNormalizer(SPACES, 10.0, True)
        other.load_state_dict(made.state_dict())
    expected = made(obs)["a.b"]
    assert torch.equal(other(obs)["a.b"], expected)
    other.observe({**obs, "a.b": obs["a.b"] + 100}, ALL)
    assert torch.equal(made(obs)["a.b"], expected)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(obs)["a.b"], expected)
