"""Keyed random numbers: the same whatever the split, and as random as they should be."""

import pytest
import torch

from proximo.core import rng

KEY = rng.stream_key(3, "action")


def test_draws_do_not_depend_on_which_environments_are_drawn_together():
    whole = rng.uniform(KEY, torch.arange(8), 100, 6, 3)
    half = rng.uniform(KEY, torch.arange(4, 8), 100, 6, 3)
    late = rng.uniform(KEY, torch.arange(8), 103, 3, 3)
    assert torch.equal(whole[:, 4:], half)
    assert torch.equal(whole[3:], late)


def test_streams_seeds_and_lanes_differ():
    envs = torch.arange(4)
    draws = [rng.bits(rng.stream_key(s, n), envs, 0, 50, 2) for s in (0, 1) for n in ("a", "b")]
    flat = torch.cat([d.flatten() for d in draws])
    assert flat.unique().numel() == flat.numel()


def test_uniform_and_normal_have_their_moments():
    u = rng.uniform(KEY, torch.arange(100), 0, 1000, 2).double()
    z = rng.normal(KEY, torch.arange(100), 0, 1000, 2).double()
    n = u.numel()
    assert u.min() > 0.0
    assert u.max() < 1.0
    assert abs(u.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
    assert abs(u.var() - 1 / 12) < 1e-3
    assert abs(z.mean()) < 4 * n**-0.5
    assert abs(z.var() - 1) < 0.02
    assert abs((z**4).mean() - 3) < 0.15
    # Neighbouring coordinates are uncorrelated.
    for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u[..., 0], u[..., 1])):
        pair = torch.stack([a.flatten(), b.flatten()])
        assert abs(torch.corrcoef(pair)[0, 1]) < 0.02


def test_permutations_are_complete_and_numbered():
    first, second = (rng.permutation(KEY, i, 1000, torch.device("cpu")) for i in (0, 1))
    assert torch.equal(first.sort().values, torch.arange(1000))
    assert not torch.equal(first, second)
    assert torch.equal(first, rng.permutation(KEY, 0, 1000, torch.device("cpu")))


def test_splitmix_reference_value():
    """First output of splitmix64 seeded with 0 (published reference implementation)."""
    assert int(rng._mix(torch.tensor(rng._STEP))) & (2**64 - 1) == 0xE220A8397B1DCDAF


def test_the_extreme_hashes_stay_inside_the_open_interval(monkeypatch):
    for extreme in (0, -1):
        monkeypatch.setattr(rng, "bits", lambda *a, value=extreme: torch.tensor([value]))
        for draw in (rng.uniform, rng.normal):
            value = draw(0, torch.arange(1), 0, 1, 1)
            assert torch.isfinite(value).all()
        assert 0.0 < float(rng.uniform(0, torch.arange(1), 0, 1, 1)) < 1.0


@pytest.mark.parametrize("dim", [1, 3])
def test_both_ways_to_hash_agree(dim):
    """On the CPU with NumPy, elsewhere with PyTorch: bit for bit, also for far steps and large keys."""
    envs = torch.tensor([0, 1, 4095, 2**31])
    for key in (0, 1, rng.stream_key(3, "action"), 2**63 - 1):
        for first in (0, 10**12):
            here, there = (find(key, envs, first, 5, dim) for find in (rng._bits_numpy, rng._bits_torch))
            assert torch.equal(here, there)
