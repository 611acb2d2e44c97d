"""What a fresh run begins with: weights that were given, statistics of observations and rewards."""

from __future__ import annotations

from typing import Any

import torch

from proximo.agent import checkpoint_folder
from proximo.build import Built
from proximo.config.experiment import Experiment
from proximo.core.collect import prime
from proximo.errors import UserError
from proximo.runs import checkpoint
from proximo.runs.restore import detail
from proximo.runs.run import Run


def load_given(experiment: Experiment, built: Built) -> None:
    """Load the policy that the run starts from and the clones that stand for whoever recorded; lower its deviation.

    Raises: UserError where a policy does not fit, or there is none.
    """
    if experiment.init_from is not None:
        _load(built.policy, experiment.init_from, "init_from")
    for source in built.demos:
        if source.clone is not None:
            path = experiment.demos[source.name].clone or experiment.init_from
            if path is None:
                where = f"demos.{source.name}"
                raise UserError(f"{where}.behavior: cloned needs a run as {where}.clone or init_from")
            _load(source.clone, path, f"demos.{source.name}.clone")
    amount = experiment.log_std_subtract
    if amount and not built.policy.head.lower_log_std(amount):
        raise UserError(f"log_std_subtract={amount:g}: a policy of choices has no deviation to lower")


def _load(policy: Any, path: str, where: str) -> None:
    state = checkpoint.load_part(checkpoint_folder(Run.open(path)), "policy")
    try:
        policy.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{where}={path}: its policy does not fit this experiment's spaces and networks ({detail(error)})"
        ) from error


@torch.no_grad()
def prepare(experiment: Experiment, built: Built) -> int:
    """Set the statistics of observations, and of rewards where no environment is stepped; returns steps taken.

    A policy that was loaded keeps its observation statistics.
    """
    if experiment.from_data_alone:
        _prime_from_data(experiment, built)
        return 0
    steps = experiment.ppo.prime_steps
    if not (experiment.policy.normalize_obs and steps) or experiment.init_from:
        return 0
    taken = prime(built.env, built.policy, steps, experiment.seed, built.device)
    for source in built.demos:
        # As many recorded rows as random ones: what only the demonstrations show is not out of range.
        rollout = source.sample(built.policy, taken)
        built.policy.prime(rollout)
    return taken


def _prime_from_data(experiment: Experiment, built: Built) -> None:
    parts = built.ppo.parts
    for source in built.demos:
        running = {stream.name: stream.no_returns() for stream in parts.streams}
        for rollout in source.in_order(built.policy):
            if not experiment.init_from:
                built.policy.prime(rollout)
            rollout.rewards = {term.name: term(rollout) for term in parts.terms}
            for stream in parts.streams:
                stream.learn_scale(rollout, parts.terms, running[stream.name])
