"""What is chosen automatically when an experiment becomes its parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from proximo import Experiment
from proximo.build import WORK_PER_THREAD, build, choose_threads
from proximo.core.timer import Timer
from proximo.envs import winners
from proximo.envs.classic import BatchClassic

TOYS = str(Path(__file__).parent / "toys.py")


class Work:
    """A policy of so many multiplications a row."""

    def __init__(self, count: int) -> None:
        self.count = count

    def multiplications(self) -> int:
        return self.count


@pytest.mark.parametrize(
    ("row", "minibatch", "threads"),
    [(10_000, 256, 1), (WORK_PER_THREAD // 64, 64, 1), (WORK_PER_THREAD // 32, 64, 2), (9_346_560, 256, 16)],
)
def test_threads_by_the_work_of_a_minibatch(monkeypatch, row, minibatch, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    chosen, reason = choose_threads(0, Work(row), minibatch)
    assert chosen == threads
    assert "multiplications a minibatch" in reason
    assert choose_threads(3, Work(row), minibatch) == (3, "as configured")


def test_choices_are_printed_and_kept():
    experiment = Experiment(
        env={"id": f"{TOYS}:Picture", "num_envs": 2},
        policy={"encoder": {"type": "impala_cnn", "channels": [2], "features_dim": 4}},
        precision="bfloat16",
        threads=1,
    )
    said: list[str] = []
    built = build(experiment, torch.device("cpu"), Timer(), said.append)
    assert built.choices["precision"] == "bfloat16"
    assert built.choices["threads"] == 1
    assert "precision: bfloat16 (as configured)" in said
    assert any(line.startswith("env.backend: sync (") for line in said)
    assert built.policy.trunks["actor"].encoder.dtype is torch.bfloat16


def test_the_backend_that_is_told_is_the_one_that_was_made():
    """The `info` that a reward reads changes what can step the copies; what was measured without it does not count."""
    experiment = Experiment(
        env={"id": "CartPole-v1", "num_envs": 2},
        rewards={"near": {"type": "potential", "after": "near", "before": "near_before"}},
    )
    winners.remember(experiment.env, "vector")
    built = build(experiment, torch.device("cpu"), Timer(), lambda line: None)
    assert isinstance(built.env, BatchClassic)
    assert built.choices["env"].backend == "batch"
    assert built.choices["env"].info == ()
