"""Running statistics against NumPy on the whole data."""

import numpy as np
import torch

from proximo.core.normalize import RewardScaler, RunningMoments, statistics_dtype


def test_moments_merge_like_one_batch():
    rng = np.random.default_rng(0)
    data = rng.normal(1e4, 2.0, size=(1000, 3))
    moments = RunningMoments((3,))
    for piece in np.split(data, [1, 10, 500]):
        moments.update(torch.from_numpy(piece))
    moments.update(torch.zeros(0, 3))
    assert np.allclose(moments.mean.numpy(), data.mean(0), rtol=1e-12)
    assert np.allclose(moments.var.numpy(), data.var(0), rtol=1e-9)
    assert float(moments.count) == 1000


def test_reward_scale_is_the_deviation_of_discounted_returns():
    rng = np.random.default_rng(1)
    reward = rng.normal(size=(40, 2)).astype(np.float32) * 7
    done = rng.random((40, 2)) < 0.1
    returns, running = [], np.zeros(2)
    for t in range(40):
        running = running * 0.9 + reward[t]
        returns.append(running)
        running = running * ~done[t]
    scaler = RewardScaler(2, 0.9, 100.0, torch.device("cpu"))
    halves = [
        scaler.scale(
            torch.from_numpy(reward[s]), torch.from_numpy(done[s]), torch.ones(20, 2, dtype=torch.bool)
        )
        for s in (slice(0, 20), slice(20, 40))
    ]
    deviation = np.sqrt(np.var(returns) + 1e-8)
    assert np.allclose(halves[1].numpy(), reward[20:] / deviation, rtol=1e-5)


def test_invalid_rows_do_not_count():
    reward = torch.tensor([[1.0], [50.0], [1.0]])
    valid = torch.tensor([[True], [False], [True]])
    done = torch.zeros(3, 1, dtype=torch.bool)
    scaler = RewardScaler(1, 0.5, 10.0, torch.device("cpu"))
    scaler.scale(reward, done, valid)
    assert float(scaler.moments.count) == 2
    assert float(scaler.moments.mean) == (1.0 + 1.5) / 2


def test_statistics_also_work_in_float32():
    """MPS has no float64."""
    assert statistics_dtype(torch.device("mps")) is torch.float32
    assert statistics_dtype(torch.device("cpu")) is torch.float64
    data = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 2 + 5
    moments = RunningMoments((3,)).float()
    for piece in data.split(100):
        moments.update(piece)
    assert moments.mean.dtype is torch.float32
    assert torch.allclose(moments.mean, data.mean(0), atol=1e-4)
    assert torch.allclose(moments.var, data.var(0, unbiased=False), rtol=1e-4)
