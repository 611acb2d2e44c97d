"""Train, resume: an experiment becomes a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from proximo.agent import checkpoint_folder
from proximo.config.experiment import Experiment
from proximo.errors import ProximoError, RunError, UserError
from proximo.runs import checkpoint
from proximo.runs.run import Run
from proximo.training import Result, Training

__all__ = ["Result", "resume", "train"]


def train(experiment: Experiment, *, verbosity: int = 0) -> Result:
    """Train from the start (or from `experiment.init_from`) in a new run folder.

    Raises: UserError for what cannot be built, RunError for what fails while running.
    """
    if experiment.init_from is not None:
        Run.open(experiment.init_from)
    run = Run.create(experiment)
    try:
        run.lock()
        training = Training(experiment, run, verbosity)
    except ProximoError as error:
        run.set_status("failed", str(error))
        run.close()
        raise
    if experiment.init_from is not None:
        _start_from(training, experiment.init_from)
    return _go(training, fresh=True)


def resume(path: str | Path, overrides: Sequence[str] = (), *, verbosity: int = 0) -> Result:
    """Continue a run from its newest intact checkpoint, bitwise as if it had never stopped.

    `overrides` change the experiment first (a larger `ppo.total_steps`, say). A finished run is left as it is.
    """
    from proximo.config.load import load_experiment

    run = Run.open(path)
    experiment = load_experiment(run.path / "experiment.yaml", overrides)
    folder, skipped = run.checkpoint()
    step = int(folder.name)
    status = run.status()
    if status.state == "finished" and (not overrides or step >= experiment.ppo.total_steps):
        text = f"run {run.path} is finished at step {step}; to go on: ppo.total_steps=<more than {step}>"
        return Result(run.path, step, None, "finished", text)
    run.lock()
    training = Training(experiment, run, verbosity)
    for reason in skipped:
        training.say(f"skipped: {reason}")
    training.restore(folder)
    checkpoint.discard_after(run.path, training.step)
    run.event("resume", training.step, {"overrides": list(overrides)})
    training.say(f"resuming {run.path} at step {training.step}")
    return _go(training, fresh=False)


def _go(training: Training, *, fresh: bool) -> Result:
    status = "failed"
    try:
        training.trackers.start(None if fresh else training.step)
        if fresh:
            training.begin()
        result = training.run_to_end()
        status = result.status
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise RunError(_out_of_memory(training.experiment)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):
            raise RunError(_out_of_memory(training.experiment)) from error
        raise
    finally:
        training.close(status)
    return result


def _out_of_memory(experiment: Experiment) -> str:
    return (
        f"out of memory: lower env.num_envs ({experiment.env.num_envs}), ppo.num_steps "
        f"({experiment.ppo.num_steps}) or ppo.minibatch_size ({experiment.ppo.minibatch_size}); "
        "proximo resume goes on from the last checkpoint"
    )


def _start_from(training: Training, path: str) -> None:
    folder = checkpoint_folder(Run.open(path))
    state = checkpoint.load_part(folder, "policy")
    try:
        training.built.policy.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(
            f"init_from={path}: its policy does not fit this experiment's spaces and networks ({first})"
        ) from error
