"""What happens around the loop: evaluation, checkpoints, videos, stops, alarms. Each hook owns its state."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from proximo.config.experiment import Custom, Experiment
from proximo.errors import ProximoError, RunError
from proximo.runs.columns import WINDOW
from proximo.runs.hook import HookedTraining


class NanGuard:
    """Fails the run as soon as a loss is not a finite number; the last checkpoint stays good."""

    name = "nan_guard"

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Raises: RunError naming the metric."""
        if math.isfinite(sum(metrics.values())):
            return
        for name, value in metrics.items():
            if (name.endswith("loss") or name == "grad_norm") and not math.isfinite(value):
                own = [f"losses.{loss}" for loss in training.experiment.losses]
                own += ["policy.encoder"] if isinstance(training.experiment.policy.encoder, Custom) else []
                look = f" (or look for the cause in {', '.join(own)})" if own else ""
                raise RunError(
                    f"{name} became {value} at step {training.step}: lower ppo.learning_rate "
                    f"(now {metrics['learning_rate']:g}) or ppo.max_grad_norm{look}; the last checkpoint is intact"
                )


class EntropyAlarm:
    """Warns once when a discrete policy's entropy falls below a fraction of its maximum early in training."""

    name = "entropy_alarm"

    def __init__(self, fraction: float, actions: spaces.Space[Any]) -> None:
        self.fraction = fraction
        self.maximum = _max_entropy(actions)
        self.warned = False

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Prints one line; the metric `entropy_fraction` shows how close it is."""
        maximum = self.maximum
        if not maximum or "entropy" not in metrics:
            return
        metrics["entropy_fraction"] = metrics["entropy"] / maximum
        low = not self.warned and metrics["entropy_fraction"] < self.fraction
        if low and training.step < training.experiment.ppo.total_steps / 2:
            self.warned = True
            text = (
                f"entropy fell to {metrics['entropy_fraction']:.1%} of its maximum at step {training.step}; "
                "the policy may have stopped exploring: raise ppo.entropy_coef or lower ppo.learning_rate"
            )
            training.say(f"alarm: {text}")
            training.run.event("alarm", training.step, {"message": text})

    def state_dict(self) -> dict[str, Any]:
        """Whether it warned."""
        return {"warned": self.warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.warned = bool(state["warned"])


def _max_entropy(space: spaces.Space[Any]) -> float:
    """Entropy of the uniform policy in nats; 0 where the actions are continuous and there is no maximum."""
    if isinstance(space, spaces.Discrete):
        return math.log(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return float(np.log(space.nvec).sum())
    if isinstance(space, spaces.MultiBinary):
        return math.prod(space.shape) * math.log(2.0)
    return 0.0


class Evaluation:
    """Evaluates on environments of its own, evenly spaced over the training, and keeps the best."""

    name = "eval"

    def __init__(self, experiment: Experiment) -> None:
        self.config = experiment.eval
        self.total = experiment.ppo.total_steps
        self.last_step = 0
        self.best = -math.inf
        self.improved = False

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Adds `eval/…` to the metrics where an evaluation is due."""
        self.improved = False
        count = self.config.num_evals
        due = (training.step * count) // self.total > (self.last_step * count) // self.total
        self.last_step = training.step
        if count and due:
            self._run(training, metrics)

    def final(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """The last word at the end of the training, unless it was just evaluated."""
        if self.config.num_evals and training.last_eval_step != training.step:
            self._run(training, metrics)

    def _run(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        with training.timer.phase("eval"):
            metrics |= training.evaluate()
        value = metrics["eval/return_mean"]
        if value > self.best:
            self.best, self.improved = value, True

    def state_dict(self) -> dict[str, Any]:
        """The best return so far and when it last looked."""
        return {"best": None if math.isinf(self.best) else self.best, "last_step": self.last_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.best = -math.inf if state["best"] is None else float(state["best"])
        self.last_step = int(state["last_step"])


class Stops:
    """Ends the training early: return reached, or time up."""

    name = "stop"

    def __init__(self, experiment: Experiment) -> None:
        self.config = experiment.stop
        self.has_evals = experiment.eval.num_evals > 0
        self.seconds = 0.0
        """Wall time of earlier parts of this run."""
        self.begun = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training, over resumes."""
        return self.seconds + time.monotonic() - self.begun

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Asks the training to stop, with the reason."""
        goal, minutes = self.config.return_mean, self.config.minutes
        key = "eval/return_mean" if self.has_evals else "return_mean"
        value = metrics.get(key) if self.has_evals or metrics["episodes"] >= WINDOW else None
        if goal is not None and value is not None and value >= goal:
            training.stop(f"{key} {value:.6g} reached stop.return_mean={goal:g}")
        if minutes is not None and self.elapsed() >= 60.0 * minutes:
            training.stop(f"stop.minutes={minutes:g} are over")

    def state_dict(self) -> dict[str, Any]:
        """Elapsed seconds."""
        return {"seconds": self.elapsed()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.seconds, self.begun = float(state["seconds"]), time.monotonic()


class Checkpoints:
    """Writes checkpoints: periodically, for every new best evaluation, and at the end."""

    name = "checkpoint"

    def __init__(self, experiment: Experiment, evaluation: Evaluation) -> None:
        """`evaluation`: says which is the best."""
        self.evaluation = evaluation
        self.every = experiment.checkpoint.every or max(1, -(-experiment.ppo.total_steps // 10))
        self.keep = experiment.checkpoint.keep
        self.last_step = 0

    def after_record(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Save where due."""
        improved = self.evaluation.improved
        due = training.step // self.every > self.last_step // self.every
        if due or improved or training.finishing:
            self.last_step = training.step
            training.save(best=improved, keep=self.keep)

    def state_dict(self) -> dict[str, Any]:
        """When it last wrote."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.last_step = int(state["last_step"])


class Videos:
    """Records the agent on an environment of its own, by steps and after evaluations."""

    name = "video"

    def __init__(self, experiment: Experiment) -> None:
        self.config = experiment.video
        self.last_step = 0

    def after_record(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Record where due; what cannot be recorded says so once and turns itself off."""
        every = self.config.every
        due = every is not None and training.step // every > self.last_step // every
        after = self.config.after_eval and "eval/return_mean" in metrics
        self.last_step = training.step
        if not (due or after):
            return
        try:
            path = training.record_video(Path(f"step-{training.step}.mp4"))
        except ProximoError as error:
            training.say(f"no videos: {error}")
            self.config = self.config.model_copy(update={"every": None, "after_eval": False})
        else:
            training.trackers.video(training.step, path)

    def state_dict(self) -> dict[str, Any]:
        """When it last looked."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.last_step = int(state["last_step"])
