"""Train, resume: an experiment becomes a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from proximo.config.experiment import Experiment
from proximo.errors import ProximoError, RunError, UserError, in_one_line, out_of_memory
from proximo.prepare import load_given
from proximo.runs import archive, checkpoint
from proximo.runs.files import safe_name
from proximo.runs.run import Run
from proximo.training import Result, Training

__all__ = ["Result", "resume", "train"]


def train(
    experiment: Experiment, *, verbosity: int = 0, begun: Callable[[Run], None] | None = None
) -> Result:
    """Train from the start (or from `experiment.init_from`) in a new run folder.

    `begun` is told the run before its first step, when nothing can be refused any more.

    Raises: UserError for what cannot be built, RunError for what fails while running.
    """
    if experiment.init_from is not None:
        Run.open(experiment.init_from)
    run = Run.create(experiment)
    try:
        with _held(run, experiment):
            training = Training(experiment, run, verbosity)
            load_given(training.experiment, training.built)
            run.write_experiment(training.experiment)
            if begun is not None:
                begun(run)
            return _go(training, fresh=True)
    except BaseException as error:
        # Only what failed before the first step has not said so itself.
        with suppress(RunError):
            if run.status().state == "created":
                _never_began(run, error)
        raise


def _never_began(run: Run, error: BaseException) -> None:
    if isinstance(error, UserError):
        # Settings that were refused: there is nothing in it that anybody would look for.
        run.discard()
    else:
        run.set_status("failed", str(error) if isinstance(error, ProximoError) else in_one_line(error))


def resume(path: str | Path, overrides: Sequence[str] = (), *, verbosity: int = 0) -> Result:
    """Continue a run from its newest intact checkpoint, bitwise as if it had never stopped.

    `overrides` change the experiment first (a larger `ppo.total_steps`, say). A finished run is left as it is; what
    is in an archive goes on in a run's folder of its own.
    """
    from proximo.config.load import load_experiment

    run = Run.open(path)
    experiment = load_experiment(run.path / "experiment.yaml", overrides)
    folder, skipped = run.checkpoint()
    step = int(folder.name)
    status = run.status()
    if status.state == "finished" and (not overrides or step >= experiment.ppo.total_steps):
        text = f"run {path} is finished at step {step}; to go on: ppo.total_steps=<more than {step}>"
        return Result(run.path, step, None, "finished", text)
    if archive.is_archive(Path(path)):
        run, folder = _from_archive(Path(path), run, experiment, folder.name)
    with _held(run, experiment):
        training = Training(experiment, run, verbosity)
        for reason in skipped:
            training.say(f"skipped: {reason}")
        training.restore(folder)
        # Not before all came back: a resume that is refused must leave the run as it was.
        run.write_experiment(training.experiment)
        checkpoint.discard_after(run.path, training.step)
        run.event("resume", training.step, {"overrides": list(overrides)})
        training.say(f"resuming {run.path} at step {training.step}")
        return _go(training, fresh=False)


def _from_archive(file: Path, inside: Run, experiment: Experiment, step: str) -> tuple[Run, Path]:
    """A run's folder for what is in an archive; UserError where it holds less than training needs to go on."""
    parts = checkpoint.header(inside.path / "checkpoints" / step)["parts"]
    if "optimizer" not in parts:
        raise UserError(
            f"{file}: holds only {' and '.join(parts)}, not the optimiser and what else training needs to go on; "
            f"begin a new run from it: init_from={file}"
        )
    run = Run(archive.restored(file, Path(experiment.runs_dir) / safe_name(experiment.env.id)))
    print(f"{file}: goes on in {run.path}")
    return run, run.path / "checkpoints" / step


@contextmanager
def _held(run: Run, experiment: Experiment) -> Iterator[None]:
    """Hold the run's lock; lack of memory becomes a RunError."""
    try:
        run.lock()
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise RunError(_out_of_memory(experiment)) from error
    finally:
        run.close()


def _go(training: Training, *, fresh: bool) -> Result:
    status = "failed"
    try:
        training.trackers.start(None if fresh else training.step)
        if fresh:
            training.begin()
        result = training.run_to_end()
        status = result.status
    finally:
        training.close(status)
    return result


def _out_of_memory(experiment: Experiment) -> str:
    return (
        f"out of memory: lower env.num_envs ({experiment.env.num_envs}), ppo.num_steps "
        f"({experiment.ppo.num_steps}), ppo.minibatch_size ({experiment.ppo.minibatch_size}) or the networks "
        "(policy.*); checkpoints are intact"
    )
