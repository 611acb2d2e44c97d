"""What the panels show: names in words, units, meanings, and their order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Group = Literal["main", "learning", "more"]


@dataclass(frozen=True)
class Metric:
    """One panel."""

    key: str
    title: str
    unit: str
    meaning: str
    group: Group = "learning"
    share: bool = False
    """Shown as a percentage."""


KNOWN = (
    Metric(
        "return_mean",
        "Training return",
        "reward per episode",
        "Mean return of the last 100 training episodes, exploration included",
        "main",
    ),
    Metric(
        "eval/return_mean",
        "Evaluation return",
        "reward per episode",
        "Mean return on environments of its own, always with the same seeds",
        "main",
    ),
    Metric(
        "success_rate",
        "Training success",
        "of episodes",
        "Share of successful episodes among the last 100 of training",
        "main",
        True,
    ),
    Metric(
        "eval/success_rate",
        "Evaluation success",
        "of episodes",
        "Share of successful episodes in the evaluation",
        "main",
        True,
    ),
    Metric(
        "policy_loss",
        "Policy loss",
        "",
        "Clipped surrogate objective, negated; its size says little by itself",
    ),
    Metric("value_loss", "Value loss", "squared scaled return", "Mean squared error of the value function"),
    Metric(
        "entropy", "Entropy", "nats", "How undecided the policy is; it falls as the policy commits itself"
    ),
    Metric("kl", "KL divergence", "nats", "How far an update moved the policy"),
    Metric(
        "clip_fraction",
        "Clip fraction",
        "of samples",
        "Share of samples whose probability ratio left the clip range",
        share=True,
    ),
    Metric(
        "explained_variance",
        "Explained variance",
        "1 is perfect",
        "Share of the returns' variance that the value function predicts",
    ),
    Metric(
        "steps_per_second",
        "Speed",
        "steps/s",
        "Environment steps per second of wall time, everything included",
    ),
    Metric("learning_rate", "Learning rate", "", "Step size of the optimiser", "more"),
    Metric("length_mean", "Episode length", "steps", "Mean length of the last 100 training episodes"),
    Metric(
        "eval/length_mean",
        "Evaluation episode length",
        "steps",
        "Mean length of the evaluation's episodes",
        "more",
    ),
    Metric(
        "return_std",
        "Spread of training returns",
        "reward per episode",
        "Deviation over the last 100 training episodes",
        "more",
    ),
    Metric("grad_norm", "Gradient norm", "", "Norm of the gradient before clipping"),
    Metric("value_mean", "Mean value", "scaled return", "Mean prediction of the value function", "more"),
    Metric(
        "reward_mean",
        "Mean reward",
        "per step, as learnt from",
        "Mean reward after scaling and clipping",
        "more",
    ),
    Metric("loss", "Total loss", "", "Weighted sum of all loss terms", "more"),
    Metric("entropy_fraction", "Entropy of its maximum", "", "1: all actions equally likely", "more", True),
)
LEFT_OUT = frozenset({"step", "update", "episodes", "entropy_loss", "eval/return_low", "eval/return_high"})


def panels(columns: Iterable[str]) -> list[Metric]:
    """The panels for what was logged, the important ones first; phases of time have their own section."""
    names = set(columns) - LEFT_OUT
    chosen = [metric for metric in KNOWN if metric.key in names]
    known = {metric.key for metric in KNOWN}
    rest = sorted(n for n in names - known if not n.startswith("time/") and not _is_bound(n))
    return chosen + [Metric(name, name, "", "", _group(name), name.endswith("success_rate")) for name in rest]


def _is_bound(name: str) -> bool:
    return name.endswith(("/return_low", "/return_high"))


def _group(name: str) -> Group:
    if name.startswith("eval/"):
        return "main"
    return "learning" if name.endswith("_loss") or name.startswith(("value_loss/", "info/")) else "more"
