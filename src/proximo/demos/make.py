"""From the configuration of demonstrations to sources: read, check, hold out, and settle whose ratios count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proximo.config.experiment import DemosConfig, Experiment
from proximo.core.timer import Timer
from proximo.core.types import EnvSpec
from proximo.demos.dataset import Dataset
from proximo.demos.fits import check_fits
from proximo.demos.minari import load_demos
from proximo.demos.source import Behavior, DemoSource

Say = Callable[[str], None]


def demo_sources(
    exp: Experiment, spec: EnvSpec, policy: Any, make_clone: Callable[[], Any], timer: Timer, say: Say
) -> list[DemoSource]:
    """One source for each entry of `demos` that has a share; `make_clone` gives a policy without weights.

    Raises UserError where data do not fit the environment or lack what is asked of them.
    """
    for name in exp.demos:
        if name not in exp.shares:
            say(f"demos.{name}: mix_ratio is 0, so the data are not read")
    return [
        _source(name, node, exp, spec, policy, make_clone, timer, say)
        for name, node in exp.demos.items()
        if name in exp.shares
    ]


def _source(
    name: str,
    node: DemosConfig,
    exp: Experiment,
    spec: EnvSpec,
    policy: Any,
    make_clone: Callable[[], Any],
    timer: Timer,
    say: Say,
) -> DemoSource:
    data = load_demos(node.datasets, say=say)
    notice = check_fits(data, spec, f"demos.{name}", same_name=not node.other_env)
    if notice is not None:
        say(notice)
    data = data.seen_as(spec.obs_spaces)
    if data.form not in ("environment", policy.head.form):
        had = data.logp is not None
        data = data.in_environment_form()
        if had and data.logp is None:
            say(
                f"demos.{name}: the recorded log-probabilities belong to another action head and are left out"
            )
    held_out = None
    if node.holdout:
        data, held_out = data.split(node.holdout, exp.seed)
    behavior = _behavior(node, exp, data)
    alone = exp.from_data_alone
    steps = node.segment or exp.ppo.num_steps
    rows = exp.ppo.num_steps * spec.num_envs
    source = DemoSource(
        data,
        steps,
        max(1, rows // steps),
        exp.seed,
        name=name,
        behavior=behavior,
        rho_bar=node.rho_bar,
        c_bar=node.c_bar,
        ood=node.ood,
        # As long as those of the environments: a minibatch holds both.
        sequence_length=(exp.ppo.sequence_length or exp.ppo.num_steps) if policy.recurrent else None,
        alone=alone,
        clone=make_clone().requires_grad_(False).eval() if behavior == "cloned" else None,
        held_out=held_out,
        timer=timer,
    )
    kept = "" if held_out is None else f" ({held_out.episodes:,} more held out)"
    say(
        f"demos.{name}: {data.rows:,} rows in {data.episodes:,} episodes{kept}, mean return "
        f"{data.return_mean:.6g}; behavior: {behavior}"
    )
    if alone:
        say("steps: rows of the demonstrations, as no environment is stepped")
    return source


def _behavior(node: DemosConfig, exp: Experiment, data: Dataset) -> Behavior:
    if node.behavior != "auto":
        return node.behavior
    if data.logp is not None:
        return "recorded"
    return "cloned" if clone_path(node, exp) else "none"


def clone_path(node: DemosConfig, exp: Experiment) -> str | None:
    """The run whose policy stands for whoever recorded."""
    return node.clone or exp.init_from
