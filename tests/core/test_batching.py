"""Shares of a minibatch, the short last one, and rows that are counted once."""

import pytest
import torch

from proximo.core.batching import RowBatches, SequenceBatches, Units
from proximo.core.losses import standardize


def rows(count, fresh, first=0, name="env"):
    number = torch.arange(first, first + count)
    fields = {name: number.float() for name in ("logp_behavior", "logp_old", "advantage")}
    return Units(fields | {"action": number}, count, fresh, 0, name)


def sequences(count, length, fresh):
    fields = {
        name: torch.zeros(length, count) for name in ("logp_behavior", "logp_old", "advantage", "weight")
    }
    fields["action"] = torch.zeros(length, count, dtype=torch.int64)
    fields["start"] = torch.zeros(length, count, dtype=torch.bool)
    return Units(fields, count, fresh, 1, "env" if fresh else "a")


def test_every_row_once_and_the_last_minibatch_scaled():
    batches = list(RowBatches(32, {}, 7).epoch([rows(80, True)]))
    assert [batch.action.numel() for batch in batches] == [32, 32, 16]
    assert [batch.scale for batch in batches] == [1.0, 1.0, 0.5]
    assert sorted(torch.cat([batch.action for batch in batches]).tolist()) == list(range(80))
    assert all(batch.fresh is None and batch.weight is None for batch in batches)


def test_epochs_are_shuffled_differently_and_by_the_key():
    def order(key, epochs):
        batching = RowBatches(100, {}, key)
        return [next(iter(batching.epoch([rows(100, True)]))).action.tolist() for _ in range(epochs)]

    first, second = order(1, 2)
    assert first != second
    assert [first] == order(1, 1)
    assert first != order(2, 1)[0]


def test_shares_of_demonstrations():
    parts = [rows(60, True), rows(50, False, 1000, "a"), rows(40, False, 2000, "b")]
    batches = list(RowBatches(32, {"a": 0.125, "b": 0.125}, 7).epoch(parts))
    kinds = [
        [int((batch.action // 1000 == kind).sum()) for kind in range(3)] for batch in batches
    ]  # fresh, first and second data
    assert kinds == [[24, 4, 4], [24, 4, 4], [12, 2, 2]]
    assert [batch.scale for batch in batches] == [1.0, 1.0, 0.5]
    for batch in batches:
        assert torch.equal(batch.fresh, batch.action < 1000)


def test_data_alone_are_all_seen_in_their_shares():
    """One pass over the source that lasts longest; the other begins again. Every row of both is seen."""
    parts = [rows(90, False, 0, "a"), rows(20, False, 1000, "b")]
    batches = list(RowBatches(30, {"a": 0.6, "b": 0.4}, 7).epoch(parts))
    kinds = [[int((batch.action // 1000 == kind).sum()) for kind in range(2)] for batch in batches]
    assert kinds == [[18, 12]] * 5
    seen = torch.cat([batch.action for batch in batches])
    assert seen[seen < 1000].sort().values.tolist() == list(range(90))
    assert set(seen[seen >= 1000].tolist()) == set(range(1000, 1020))


@pytest.mark.parametrize("mix", [0.0, 0.1, 0.25, 0.5, 0.7])
def test_an_epoch_is_one_pass_over_the_fresh_rows(mix):
    parts = [rows(640, True), rows(2000, False, 1000, "a")]
    batches = list(RowBatches(64, {"a": mix}, 7).epoch(parts))
    fresh = torch.cat([b.action if b.fresh is None else b.action[b.fresh] for b in batches])
    assert fresh.sort().values.tolist() == list(range(640))
    for batch in batches[:-1]:
        assert batch.action.numel() == 64
        assert (0 if batch.fresh is None else int((~batch.fresh).sum())) == round(64 * mix)


@pytest.mark.parametrize("mix", [0.1, 0.5, 0.9])
def test_minibatches_of_one_sequence_hold_both_sides(mix):
    batching = SequenceBatches(16, 16, {"a": mix}, 7)
    batches = list(batching.epoch([sequences(5, 16, True), sequences(3, 16, False)]))
    assert len(batches) == 5
    for batch in batches:
        assert batch.fresh is not None
        assert batch.fresh[0].tolist() == [True, False]


def test_one_fresh_row_does_not_set_the_scale():
    advantage = torch.tensor([1e-6, 1.0, -1.0, 2.0])
    fresh = torch.tensor([True, False, False, False])
    assert standardize(advantage, None, fresh).abs().max() < 3.0
