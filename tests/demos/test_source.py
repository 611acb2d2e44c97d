"""Segments of demonstrations: what belongs to which row, and what learning sees of them."""

import pytest
import torch

from proximo.build import build
from proximo.config.experiment import Experiment
from proximo.core.batching import RowBatches, SequenceBatches
from proximo.core.evaluate import evaluate
from proximo.core.timer import Timer
from proximo.demos.dataset import Dataset
from proximo.demos.source import DemoSource
from proximo.recipes.hybrid_hooks import validation_loss

ENDS = (3, 4, 20, 41, 63)
ROWS = 64


def dataset(truncated=()):
    """Observation i is i, the observation after episode e is 1000 + e."""
    done = torch.zeros(ROWS, dtype=torch.bool)
    done[list(ENDS)] = True
    cut = torch.zeros(ROWS, dtype=torch.bool)
    cut[list(truncated)] = True
    number = torch.arange(ROWS, dtype=torch.float32)
    return Dataset(
        obs={"obs": number[:, None].repeat(1, 4)},
        action=torch.arange(ROWS) % 2,
        reward=number / 10,
        terminated=done & ~cut,
        truncated=cut,
        final_obs={"obs": (1000.0 + torch.arange(len(ENDS)))[:, None].repeat(1, 4)},
    )


def built(memory="none", length=None):
    experiment = Experiment(
        env={"id": "CartPole-v1", "num_envs": 2},
        policy={"memory": {"type": memory}, "normalize_obs": False, "hidden_sizes": (8,)},
        ppo={"num_steps": 16, "sequence_length": length, "minibatch_size": 8},
        engine="eager",
    )
    made = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return made


def test_every_row_has_its_successor():
    policy = built().policy
    source = DemoSource(dataset(truncated=(20,)), 16, 5, seed=3)
    seen = set()
    for _ in range(40):
        rollout = source.collect(policy)
        number = rollout.obs["obs"][:, :, 0]
        finals = {
            (int(t), int(n)): float(obs[0])
            for t, n, obs in zip(rollout.final_t, rollout.final_n, rollout.final_obs["obs"], strict=True)
        }
        for n in range(5):
            for t in range(16):
                row = int(number[t, n])
                seen.add(row)
                assert bool(rollout.start[t, n]) == (row == 0 or row - 1 in ENDS)
                assert bool(rollout.done[t, n]) == (row in ENDS)
                assert bool(rollout.truncated[t, n]) == (row == 20)
                if row in ENDS:
                    assert finals.pop((t, n)) == 1000 + ENDS.index(row)
                following = (row + 1) % ROWS
                after = rollout.obs["obs"][t + 1, n, 0] if t < 15 else rollout.last_obs["obs"][n, 0]
                assert int(after) == following
            assert bool(rollout.last_start[n]) == (int(number[-1, n]) in ENDS)
        assert not finals
    assert seen == set(range(ROWS))


@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
@pytest.mark.parametrize("length", [4, 16])
def test_learning_begins_at_ratio_one(memory, length):
    """`logp_old` is what the first pass of learning computes, wherever a sequence begins."""
    made = built(memory, length)
    streams, terms = made.ppo.parts.streams, made.ppo.parts.terms
    source = DemoSource(dataset(), 16, 3, seed=0, sequence_length=length if memory != "none" else None)
    rollout = source.collect(made.policy)
    rollout.rewards = {term.name: term(rollout) for term in terms}
    data = evaluate(made.policy, rollout, source, streams, terms)
    batching = (
        RowBatches(8, {"demos": 1.0}, 1)
        if memory == "none"
        else SequenceBatches(16, length, {"demos": 1.0}, 1)
    )
    batches = list(batching.epoch([batching.units(data)]))
    assert sum(batch.action.numel() for batch in batches) == 48
    for batch in batches:
        output = made.policy.compute(batch.obs, batch.state, batch.start)
        torch.testing.assert_close(output.dist.log_prob(batch.action), batch.logp_old, atol=1e-5, rtol=0)


@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
def test_a_validation_remembers_whole_episodes(memory, monkeypatch):
    """However many rows are read at a time: the loss is that of each episode by itself."""
    monkeypatch.setattr("proximo.demos.source.READ_ROWS", 10)
    policy, data = built(memory, 4).policy, dataset()
    pieces = list(DemoSource(data, ROWS, 1, seed=0).in_order(policy))
    assert torch.equal(torch.cat([piece.obs["obs"] for piece in pieces])[:, 0], data.obs["obs"])
    assert len(pieces) > 2
    total, first = 0.0, 0
    for end in ENDS:
        obs, action = data.take(torch.arange(first, end + 1)[:, None])
        start = torch.zeros(action.shape, dtype=torch.bool)
        with torch.no_grad():
            dist = policy.compute(obs, policy.initial_state(1), start).dist
        total -= float(dist.log_prob(action).double().sum())
        first = end + 1
    assert validation_loss(policy, data) == pytest.approx(total / ROWS, rel=1e-6)
