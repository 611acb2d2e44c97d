"""Which recorded actions count, and how much."""

import pytest
import torch

from proximo.core.evaluate import surrogate_weight
from proximo.core.types import Correction
from proximo.demos import behavior

# 0.95 quantiles of chi-square as printed in tables.
QUANTILES = {1: 3.841459, 2: 5.991465, 3: 7.814728, 6: 12.591587, 17: 27.587112, 100: 124.342113}


@pytest.mark.parametrize(("dim", "quantile"), QUANTILES.items())
def test_limit(dim, quantile):
    assert behavior.limit(dim) ** 2 == pytest.approx(quantile, abs=1e-5)


def test_limit_of_six_dimensions():
    assert behavior.limit(6) == pytest.approx(3.549, abs=1e-3)


def test_outliers_weigh_less_and_do_not_count_against():
    distance = torch.tensor([[0.0, 3.5, 7.0969253184, 7.0969253184]])
    inlier = behavior.inlier_weight(distance, 6)
    torch.testing.assert_close(inlier, torch.tensor([[1.0, 1.0, 0.5, 0.5]]))
    advantage = torch.tensor([[-1.0, -1.0, 1.0, -1.0]])
    weight = surrogate_weight(Correction(inlier=inlier), advantage)
    torch.testing.assert_close(weight, torch.tensor([[1.0, 1.0, 0.5, 0.0]]))
    ratio = behavior.surrogate_weight(torch.tensor([[1e-9, 0.5, 1.0, 7.0]]))
    torch.testing.assert_close(ratio, torch.tensor([[0.01, 0.5, 1.0, 1.0]]))
    both = surrogate_weight(Correction(surrogate_weight=ratio, inlier=inlier), advantage)
    torch.testing.assert_close(both, torch.tensor([[0.01, 0.5, 0.5, 0.0]]))


def test_nothing_to_weigh():
    assert surrogate_weight(Correction(), torch.ones(1, 1)) is None
