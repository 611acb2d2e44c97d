"""The time line of a run: iterate, evaluate, record, checkpoint, until the end or a reason to stop."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proximo.build import build, choose_device
from proximo.config.experiment import Experiment
from proximo.core.memory import check_rollout
from proximo.core.timer import PHASES, Timer
from proximo.core.types import Policy
from proximo.errors import ProximoError, RunError, in_one_line
from proximo.prepare import prepare
from proximo.runs import checkpoint, hooks, own_hooks
from proximo.runs.columns import EpisodeWindow, columns
from proximo.runs.console import Console
from proximo.runs.evaluation import evaluate, random_baseline, verdict
from proximo.runs.randomness import Randomness, preserved_randomness
from proximo.runs.restore import restore, states
from proximo.runs.run import Run
from proximo.runs.signals import stop_on_signals
from proximo.runs.trackers import Trackers
from proximo.runs.warm_start import TellWarmStart

_TIMES = [f"time/{name}" for name in PHASES]


@dataclass(frozen=True)
class Result:
    """What a training came to."""

    run: Path
    step: int
    return_mean: float | None
    """Of the last evaluation; without evaluations of the last 100 training episodes."""
    status: str
    """`finished`, or `stopped` (a signal; resume goes on)."""
    summary: str


class Training:
    """One training of one run; hooks are called with it (`runs.hook.HookedTraining` is what they may use)."""

    def __init__(self, experiment: Experiment, run: Run, verbosity: int = 0) -> None:
        self.experiment = experiment
        self.run = run
        self.console = Console(experiment.ppo.total_steps, verbosity)
        self.timer = Timer()
        self.device = choose_device(experiment.device, self.say)
        steps = experiment.ppo.num_steps
        on_cpu = self.device.type == "cpu"
        if on_cpu:
            check_rollout(steps, experiment.env.num_envs)
        self.built = build(experiment, self.device, self.timer, self.say)
        if on_cpu:
            check_rollout(steps, self.built.env.spec.num_envs, self.built.env.spec.obs_spaces)
        self.experiment = experiment.model_copy(update=self.built.choices)
        self.ppo, self.env = self.built.ppo, self.built.env
        self.policy: Policy = self.built.policy
        self.episodes = EpisodeWindow(experiment.env.info)
        self.reason = ""
        self.interrupted = False
        self.last_eval_step = -1
        self.last_eval: dict[str, float] = {}
        self.evaluation = hooks.Evaluation(experiment)
        self.checkpoints = hooks.Checkpoints(experiment, self.evaluation)
        self.hooks: list[Any] = [
            hooks.NanGuard(),
            hooks.EntropyAlarm(experiment.ppo.entropy_alarm, self.env.spec.action_space),
            self.evaluation,
            hooks.Stops(experiment),
            *own_hooks.own(experiment),
            hooks.Videos(experiment),
            self.checkpoints,
        ]
        if self.built.warm_start is not None:
            self.hooks.insert(0, TellWarmStart(self.built.warm_start))
        # Looking for them at every update would take longer than calling them.
        self._moments = {
            moment: [getattr(hook, moment) for hook in self.hooks if hasattr(hook, moment)]
            for moment in ("at_start", "after_update", "after_record", "after_save")
        }
        self.trackers = Trackers(run, experiment, self.say, columns(experiment), self.console.warn)

    # --- what hooks may use ---

    @property
    def step(self) -> int:
        """Valid environment steps so far."""
        return self.ppo.step

    @property
    def finishing(self) -> bool:
        """No further update will follow."""
        return self.ppo.step >= self.ppo.total_steps or bool(self.reason) or self.interrupted

    def say(self, text: str) -> None:
        """One line for the reader."""
        self.console.line(text)

    def stop(self, reason: str) -> None:
        """Finish after this update."""
        self.reason = self.reason or reason

    def configure(self, params: dict[str, Any]) -> None:
        """Change parameters of the training environments from their next resets on."""
        self.built.collector.settle()
        self.env.configure(params)

    def evaluate(self) -> dict[str, float]:
        """Evaluate now; returns the `eval/…` metrics."""
        config = self.experiment.eval
        modes = ["deterministic", "stochastic"] if config.mode == "both" else [config.mode]
        metrics: dict[str, float] = {}
        self.built.collector.settle()
        with preserved_randomness():
            for mode in modes:
                result = evaluate(
                    self.ppo.parts.policy,
                    self.experiment.env,
                    config.episodes,
                    config.seed,
                    mode == "deterministic",
                    self.device,
                )
                prefix = "eval/" if mode == modes[0] else f"eval/{mode}/"
                metrics[f"{prefix}return_mean"] = result.return_mean
                metrics[f"{prefix}return_low"], metrics[f"{prefix}return_high"] = result.return_ci95
                metrics[f"{prefix}length_mean"] = result.length_mean
                if result.success_rate is not None:
                    metrics[f"{prefix}success_rate"] = result.success_rate
                self.run.event("eval", self.step, {"mode": mode, **result.as_dict()})
                if mode == modes[0]:
                    self.last_result = result
        self.last_eval_step, self.last_eval = self.step, metrics
        return metrics

    def record_video(self, name: Path) -> Path:
        """Record the agent as it is now; returns the file."""
        from proximo.runs.video import record

        config = self.experiment.video
        self.run.videos.mkdir(exist_ok=True)
        self.built.collector.settle()
        with preserved_randomness():
            return record(
                self.policy,
                self.experiment.env,
                self.run.videos / name,
                config.length,
                self.experiment.eval.seed,
                self.experiment.eval.mode != "stochastic",
                config.fps,
            )

    def save(self, *, best: bool = False, keep: int = 3) -> Path:
        """Write a checkpoint, point `last` (and `best`) at it, delete old ones."""
        # A kill after the checkpoint must not cost rows from before it: a resume never writes them again.
        self.trackers.flush()
        folder = self.run.checkpoint_folder(self.step)
        checkpoint.save(folder, states(self.stateful()), step=self.step, meta={"env": self.experiment.env.id})
        checkpoint.point(self.run.path, "last", folder)
        if best:
            note = {"return_mean": self.last_eval["eval/return_mean"]}
            checkpoint.point(self.run.path, "best", folder, note)
        checkpoint.prune(self.run.path, keep)
        self._call("after_save", folder, best)
        return folder

    # --- the time line ---

    def stateful(self) -> dict[str, Any]:
        """Name → part for everything that a checkpoint holds."""
        parts = self.built.stateful() | {"episodes": self.episodes, "randomness": Randomness()}
        parts |= {f"hook.{hook.name}": hook for hook in self.hooks if hasattr(hook, "state_dict")}
        return parts

    def restore(self, folder: Path) -> None:
        """Load every part's state from a checkpoint.

        Raises: UserError where it was written by another experiment, RunError where an environment does not come back.
        """
        restore(folder, self.stateful(), self.experiment.env.id)
        if not hasattr(self.env, "load_state_dict"):
            self.say(f"env.backend: {self.experiment.env.backend} cannot restore episodes; they start afresh")

    def begin(self) -> None:
        """Let hooks prepare a fresh run, then set the statistics and the environments."""
        self._call("at_start")
        self.ppo.step += prepare(self.experiment, self.built)

    def run_to_end(self) -> Result:
        """Iterate until `ppo.total_steps`, a stop or a signal; the run's status says which."""
        self.run.set_status("running", step=self.step)
        clock, counted = time.monotonic(), self.step
        try:
            # What no narrower phase takes is counted as `log`.
            with stop_on_signals(self._interrupt), self.timer.phase("log"):
                # Priming alone may use up a short run's steps; what is called finished has learnt and is saved.
                while self.ppo.update == 0 or not self.finishing:
                    metrics = self.ppo.iterate()
                    self._look(metrics)
                    now = time.monotonic()
                    metrics["steps_per_second"] = (self.step - counted) / max(now - clock, 1e-9)
                    clock, counted = now, self.step
                    self._record(metrics)
        except BaseException as error:
            # A full disk may be why it failed; the reason that the caller is told is the first one.
            with suppress(RunError):
                text = str(error) if isinstance(error, ProximoError) else in_one_line(error)
                self.run.set_status("failed", text, self.step)
            raise
        status = "stopped" if self.interrupted else "finished"
        self.run.set_status("stopped" if self.interrupted else "finished", self.reason, self.step)
        return self._result(status)

    def _look(self, metrics: dict[str, float]) -> None:
        metrics["step"], metrics["update"] = self.ppo.step, self.ppo.update
        metrics["learning_rate"] = self.ppo.parts.optimizer.learning_rate
        metrics |= self.episodes.take(self.ppo.episodes)
        self._call("after_update", metrics)
        if self.finishing and not self.interrupted:
            self.evaluation.final(self, metrics)

    def _record(self, metrics: dict[str, float]) -> None:
        phases = self.timer.take()
        metrics.update(zip(_TIMES, phases.values(), strict=True))
        self.trackers.scalars(self.step, metrics)
        self.console.update(self.step, metrics, phases)
        self._call("after_record", metrics)

    def _call(self, moment: str, *given: Any) -> None:
        for method in self._moments[moment]:
            method(self, *given)

    def _interrupt(self, name: str) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print(f"{name}: finishing this update, then a checkpoint (again: stop at once)", file=sys.stderr)

    def _result(self, status: str) -> Result:
        name = str(self.run.path)
        lines = [f"run: {name}"]
        mean = self.episodes.return_mean
        if status == "stopped":
            lines.append(f"stopped at step {self.step}; go on with: proximo resume {shlex.quote(name)}")
        elif self.last_eval:
            result = self.last_result
            mean = result.return_mean
            baseline = random_baseline(
                self.experiment.env, self.experiment.eval.random_episodes, self.experiment.eval.seed
            )
            words = verdict(result, baseline)
            low, high = result.return_ci95
            spread = f"95 % interval {low:.6g} to {high:.6g}, " if len(result.returns) > 1 else ""
            count = f"{len(result.returns)} episode{'s' if len(result.returns) > 1 else ''}"
            lines.append(
                f"return {mean:.6g} ({spread}{count}); random policy {baseline.return_mean:.6g}: {words}"
            )
            record = result.as_dict() | {"random_return_mean": baseline.return_mean, "verdict": words}
            self.run.event("result", self.step, record)
        if self.reason:
            lines.append(f"ended early: {self.reason}")
        if status != "stopped":
            lines.append(f"watch it: proximo play {shlex.quote(name)}")
        return Result(self.run.path, self.step, mean, status, "\n".join(lines))

    def close(self, status: str) -> None:
        """Close environments, trackers, console and the run's files."""
        self.built.collector.close()
        try:
            self.env.close()
        except RunError as error:
            # What was learnt is saved, and an error that is under way must not be replaced.
            self.console.warn(str(error))
        last = checkpoint.pointed(self.run.path, "last")
        if status == "finished" and last is not None:
            self.trackers.artifact(last)
        self.trackers.close(status)
        self.console.close()
        self.run.close()
