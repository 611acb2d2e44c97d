"""The therapy client's front door: a flat configuration becomes an `Experiment`, `train` does the rest.

Beside the run's folder it fills the places that the module's first users know (`therapy_places`).
"""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from proximo.config import overrides, text
from proximo.config.experiment import Experiment
from proximo.config.load import load_experiment
from proximo.envs.registration import THERAPY
from proximo.envs.therapy.parameters import parameters_of
from proximo.envs.therapy.sight import OMNISCIENT, SUMMARY
from proximo.errors import UserError
from proximo.launch import Result, resume, train
from proximo.recipes import therapy_places as places
from proximo.recipes.therapy_config import Resolved, get_default_config, load_config, save_config
from proximo.recipes.therapy_fields import TrainingConfig
from proximo.runs import checkpoint

__all__ = [
    "TrainingConfig",
    "experiment_of",
    "get_default_config",
    "go_on",
    "load_config",
    "save_config",
    "start",
]

CLIENT = (
    *("patterns", "mechanism", "threshold", "max_sessions", "entropy", "history_weight", "bond_alpha"),
    *("bond_offset", "enable_perception", "baseline_accuracy"),
)
"""The fields that are parameters of the simulation."""
UNCLIPPED = 1e12
"""Norm that no gradient has: `max_grad_norm: null`."""


def client(config: TrainingConfig) -> dict[str, Any]:
    """Keyword arguments of the simulation; UserError for what it does not know or take."""
    values = {name: getattr(config, name) for name in CLIENT if getattr(config, name) is not None}
    parameters_of(values)
    return values


def experiment_data(config: TrainingConfig) -> dict[str, Any]:
    """The experiment as a mapping, `settings` included. Raises UserError for clients that cannot be."""
    data = {
        "name": config.experiment_name,
        "seed": config.seed,
        "runs_dir": config.runs_dir,
        # Measured: a second thread makes this network much slower.
        "threads": 1,
        "env": _env(config),
        "policy": _policy(config),
        "ppo": _ppo(config),
        "eval": {
            "num_evals": max(1, config.total_timesteps // config.eval_freq),
            "episodes": config.eval_episodes,
        },
        "checkpoint": {"every": config.save_freq},
        "rewards": _shaping(config),
        "hooks": _hooks(config),
    }
    for item in config.settings:
        overrides.apply(data, item)
    return data


def experiment_of(config: TrainingConfig) -> Experiment:
    """The experiment. Raises UserError where it does not fit together."""
    config = replace(config)  # Checked anew: it may have been assigned to.
    rows = max(1, -(-config.steps_per_update // config.n_envs)) * config.n_envs
    if config.batch_size > rows:
        raise UserError(
            f"batch_size={config.batch_size} is larger than the {rows} sessions of an update; lower it or raise "
            "steps_per_update"
        )
    return load_experiment(experiment_data(config))


def start(resolved: Resolved, *, verbosity: int = 0) -> Result:
    """Train from the start; an earlier training of the same name keeps its run, but not its place in `models`."""
    experiment = experiment_of(resolved.config)
    places.check_free(resolved.config)
    return train(experiment, verbosity=verbosity)


def go_on(origin: places.Origin, resolved: Resolved, *, verbosity: int = 0) -> Result:
    """Continue a training from one of its checkpoints, in its own run, with what was changed.

    Raises: UserError where nothing is left to train, or a change needs a new training.
    """
    old, new = origin.config, resolved.config
    for name in ("experiment_name", "output_dir", "log_dir", "runs_dir", "seed"):
        if getattr(old, name) != getattr(new, name):
            raise UserError(
                f"{name}: a training that is resumed keeps its {name} ({getattr(old, name)}); leave it out"
            )
    step = int(checkpoint.header(origin.checkpoint)["step"])
    if step >= new.total_timesteps:
        raise UserError(
            f"{origin.checkpoint} is of session {step}, and the training is to have {new.total_timesteps}: "
            f"give --total-timesteps more than {step}"
        )
    experiment_of(new)
    before, after = (dict(overrides.leaves(experiment_data(config))) for config in (old, new))
    lost = [path for path in before if not any(f"{known}.".startswith(f"{path}.") for known in after)]
    if lost:
        raise UserError(f"{lost[0]}: cannot be taken out of a training that is resumed; train anew")
    changed = [f"{path}={text.scalar(value)}" for path, value in after.items() if before.get(path) != value]
    # Always there, so that a finished training goes on from an earlier checkpoint too.
    changed.append(f"ppo.total_steps={after['ppo.total_steps']}")
    result = resume(places.in_run(origin, step), changed, verbosity=verbosity)
    save_config(new, Path(new.models) / places.CONFIG)
    return result


def _env(config: TrainingConfig) -> dict[str, Any]:
    omniscient, wrappers = config.use_omniscient_wrapper, []
    if config.observation == "summary":
        wrappers = [{"name": SUMMARY, "kwargs": {"omniscient": omniscient}}]
    elif omniscient:
        wrappers = [{"name": OMNISCIENT}]
    return {
        "id": THERAPY,
        "num_envs": config.n_envs,
        "kwargs": client(config),
        "wrappers": wrappers,
        "info": ["dropped_out"],
    }


def _policy(config: TrainingConfig) -> dict[str, Any]:
    memory: dict[str, Any] = {"type": config.memory}
    if config.memory != "none":
        memory["size"] = config.lstm_hidden_size
    if config.observation == "summary":
        network: dict[str, Any] = {"hidden_sizes": [config.hidden_size] * 2}
    else:
        network = {"encoder": {"type": "therapy", "hidden_size": config.hidden_size}, "hidden_sizes": []}
    return {
        **network,
        "share_encoder": config.share_encoder,
        "memory": memory,
        # What the agent sees lies in [0, 1]. What is hidden has other scales, or differs too little between clients
        # to be noticed: in a summary a client's U deviates from the next one's by some hundredths.
        "normalize_obs": config.use_omniscient_wrapper,
    }


def _ppo(config: TrainingConfig) -> dict[str, Any]:
    return {
        "total_steps": config.total_timesteps,
        "num_steps": max(1, -(-config.steps_per_update // config.n_envs)),
        "epochs": config.n_epochs,
        "minibatch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "gamma": config.gamma,
        "gae_lambda": config.gae_lambda,
        "clip": config.clip_range,
        "value_clip": config.clip_range if config.value_clip else None,
        "entropy_coef": config.ent_coef,
        "value_coef": config.vf_coef,
        "max_grad_norm": UNCLIPPED if config.max_grad_norm is None else config.max_grad_norm,
        "normalize_advantage": "minibatch" if config.normalize_advantage else "none",
        "normalize_reward": config.normalize_reward,
    }


def _shaping(config: TrainingConfig) -> dict[str, Any]:
    if not config.shaping:
        return {}
    term = {"type": "potential", "after": "progress", "before": "progress_before", "weight": config.shaping}
    return {"shaping": term}


def _hooks(config: TrainingConfig) -> dict[str, Any]:
    flat = {name: value for name, value in asdict(config).items() if value is not None}
    kept = {"models": config.models, "progress": config.progress_file, "config": copy.deepcopy(flat)}
    hooks: dict[str, Any] = {"places": {"type": f"{places.__name__}:Places", "kwargs": kept}}
    if config.curriculum_start is not None:
        hooks["curriculum"] = _curriculum(config)
    if config.perception_start is not None:
        hooks["perception"] = _perception(config, config.perception_start)
    return hooks


def _curriculum(config: TrainingConfig) -> dict[str, Any]:
    start = config.curriculum_start
    if start is None or not 0.0 < start < config.threshold:
        raise UserError(f"curriculum_start={start}: must be above 0 and below threshold={config.threshold:g}")
    return {
        "type": "curriculum",
        "parameter": "threshold",
        "start": start,
        "end": config.threshold,
        "step": config.curriculum_step,
        "above": config.curriculum_success,
        "episodes": config.curriculum_episodes,
    }


def _perception(config: TrainingConfig, start: float) -> dict[str, Any]:
    if not config.enable_perception or start <= config.baseline_accuracy:
        raise UserError(
            f"perception_start={start:g}: must be above baseline_accuracy={config.baseline_accuracy:g}, and "
            "enable_perception must be true"
        )
    return {
        "type": "curriculum",
        "parameter": "baseline_accuracy",
        "start": start,
        "end": config.baseline_accuracy,
        "step": 0.05,
        # By time alone: clients who perceive less are harder to help, whoever treats them.
        "above": 0.0,
        "episodes": config.perception_episodes,
    }
