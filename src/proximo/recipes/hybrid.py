"""The pipeline: clone recorded behaviour, take the best checkpoint, train the hybrid from there, and judge it.

Every stage leaves what it made where its first users look for it, and the same command goes on where a kill left it.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gymnasium.spaces import Box

from proximo.agent import load
from proximo.config.experiment import EnvConfig, Experiment
from proximo.demos.dataset import Dataset
from proximo.demos.minari import environment, load_demos
from proximo.errors import ProximoError, UserError, in_one_line
from proximo.launch import Result, resume, train
from proximo.recipes import hybrid_judge, hybrid_stages
from proximo.recipes.hybrid_clone import TASK, Ask, CloneStage, Stopped, check_not_stopped, usable
from proximo.recipes.hybrid_hparam import OPTION, Resolved, resolve
from proximo.recipes.hybrid_record import Unfinished, append, entries_of
from proximo.runs import archive, checkpoint
from proximo.runs.files import safe_name
from proximo.runs.report import write_report
from proximo.runs.run import Run

BOARDS = Path("tb_test/hybrid")


@dataclass(frozen=True)
class Outcome:
    """What a pipeline came to."""

    file: Path | None
    """The archive of the hybrid; None where it was stopped before."""
    run: Path | None
    clone: Path | None
    lines: tuple[str, ...]


def run(options: Mapping[str, Any], *, verbosity: int = 0, ask: Ask | None = None) -> Outcome:
    """All stages, or those that are left. `ask` answers a question, where somebody is there to.

    Raises: UserError for a bad request, RunError for what fails; both are in the log too.
    """
    resolved = resolve(options)
    # A log that cannot be read is known before hours of training, not after them.
    entries_of()
    if verbosity >= 0:
        print("\n".join(resolved.lines()), flush=True)
    command = {
        "arguments": asdict(resolved.config),
        "bc": resolved.bc.data,
        "hybrid": resolved.hybrid.data,
    }
    with Unfinished.held(json.loads(json.dumps(command))) as state:
        pipeline = _Pipeline(resolved, state, verbosity, ask)
        try:
            return pipeline.run()
        except Stopped:
            return Outcome(None, None, None, ("stopped: the same command goes on from here",))
        except Exception as error:
            text = str(error) if isinstance(error, ProximoError) else in_one_line(error)
            append({"success": False, "error": text, **pipeline.facts})
            if isinstance(error, UserError) and not state.values.get("hybrid_run"):
                state.done()
            raise


class _Pipeline:
    """One command's stages, with what is known so far."""

    def __init__(self, resolved: Resolved, state: Unfinished, verbosity: int, ask: Ask | None) -> None:
        self.resolved, self.state, self.verbosity, self.ask = resolved, state, verbosity, ask
        self.config = resolved.config
        arguments = asdict(resolved.config)
        self.facts: dict[str, Any] = {name: arguments[name] for name in ("dataset", "env", "names", "seed")}
        self.facts |= {name: value for name, value in arguments.items() if name not in self.facts}
        self.facts["hyperparameters"] = {"bc": resolved.bc.data, "hybrid": resolved.hybrid.data}
        """What goes into the log."""

    def say(self, line: str) -> None:
        if self.verbosity >= 0:
            print(line, flush=True)

    def run(self) -> Outcome:
        data = load_demos(self.config.data_sets, say=self.say)
        env = self._environment(data)
        self.facts["env_id"] = env.id
        self._check_deviation(data)
        # Before hours of cloning, not after them.
        plan = self._plan(data, env, Path("clone.zip"), "board")
        self._note_settings(plan)
        self._check_scratch(plan)
        stage = CloneStage(self.config, self.resolved.bc, self.state, self.verbosity, self.ask)
        clone, epoch = stage.run(data, env, plan)
        hybrid_stages.check_same_networks(Run.open(clone).experiment().policy, plan, str(clone))
        self.facts |= {"bc_checkpoint": str(clone), "val_loss": epoch.val_loss, "best_epoch": epoch.epoch}
        self.facts["train_loss"] = epoch.train_loss
        self.say(f"clone: epoch {epoch.epoch}, val_loss {epoch.val_loss:.4f}: {clone}")
        return self._hybrid(data, env, clone)

    def _note_settings(self, plan: Experiment) -> None:
        """The log says what is run, where a setting overrules an option or an entry."""
        self.facts |= hybrid_stages.as_run(plan)
        with_settings = hybrid_stages.with_settings
        self.facts["hyperparameters"] = {
            "bc": with_settings(self.resolved.bc, hybrid_stages.for_clone(self.config)),
            "hybrid": with_settings(self.resolved.hybrid, hybrid_stages.for_hybrid(self.config)),
        }

    def _check_deviation(self, data: Dataset) -> None:
        """A policy of choices has no deviation: what a shared entry says of it is left out, an option is refused."""
        if (
            data.action_space is None
            or isinstance(data.action_space, Box)
            or not self.config.log_std_subtract
        ):
            return
        origin = self.resolved.origins["log_std_subtract"]
        if origin == OPTION:
            raise UserError(
                "--log_std_subtract: actions are choices, and have no deviation to lower; leave it out"
            )
        self.say(f"log_std_subtract: 0, not as {origin} says, for actions are choices")
        self.config = replace(self.config, log_std_subtract=0.0)

    def _environment(self, data: Dataset) -> EnvConfig:
        """The task, from the data set or, where that does not say it, from `env.id=…`."""
        given = [item for item in self.config.settings if item.startswith("env.id=")]
        if given:
            return EnvConfig(id=given[-1].partition("=")[2])
        # How it was stepped when recording is not part of the task.
        env = EnvConfig(**environment(data).model_dump(include=TASK))
        self.say(f"environment: {env.id}, as the data set says")
        named = self.config.hparam_hybrid.partition("-bc")[0].partition("-hybrid")[0]
        if named.partition("-v")[0] == env.id.partition("-v")[0] and named != env.id:
            self.say(
                f"  (the {named} in {self.config.hparam_hybrid} is part of that key's name, nothing more)"
            )
        return env

    # --- the hybrid ---

    def _hybrid(self, data: Dataset, env: EnvConfig, clone: Path) -> Outcome:
        if "save_file" not in self.state.values:
            stamp = time.strftime("%Y%m%d_%H%M%S")
            name = self.config.save_file or f"hybrid_ppo_{self.config.env}_{stamp}"
            self.state.note(save_file=name.removesuffix(".zip"))
        stem = str(self.state.values["save_file"])
        file = Path(f"{stem}.zip")
        if file.is_dir():
            raise UserError(f"--save_file {file}: is a folder")
        board = BOARDS / self.config.dataset / self.config.env / safe_name(Path(stem).name)
        self.facts |= {"save_file": str(file), "tensorboard": str(board)}
        result, references = self._train_hybrid(data, env, clone, str(board))
        check_not_stopped(result)
        self._pack(file, result.run)
        page = write_report(
            [result.run, *(Run.open(path).path for path in self.config.scratch)], file.with_suffix(".html")
        )
        judged = hybrid_judge.summary(result.run, self.config.scratch, references, data)
        self.facts |= {"run": str(result.run), "report": str(page), "returns": judged.values}
        if not any(entry.get("run") == str(result.run) and entry.get("success") for entry in entries_of()):
            append({"success": True, **self.facts})
        self.state.done()
        done = (
            f"hybrid: {file} (run: {result.run})",
            f"report: {page}",
            f"watch it: proximo play {shlex.quote(str(file))}",
        )
        return Outcome(file, result.run, clone, (*judged.lines, *done))

    def _train_hybrid(
        self, data: Dataset, env: EnvConfig, clone: Path, board: str
    ) -> tuple[Result, list[dict[str, Any]]]:
        if self.config.mix_ratio == 1.0 and self.config.warm_start_steps:
            self.say("warm_start_steps: 0, for with --mix_ratio 1 no environment is stepped")
        begun = self.state.values.get("hybrid_run")
        if begun is not None and usable(str(begun)):
            self.say(f"the hybrid goes on: {begun} (to begin it anew, delete {self.state.path})")
            return resume(str(begun), verbosity=self.verbosity), hybrid_judge.noted(Path(str(begun)))
        plan = self._plan(data, env, clone, board)
        references = [hybrid_judge.of_data(data), hybrid_judge.of_clone(clone, plan)]

        def note(run: Run) -> None:
            for one in references:
                run.event("reference", 0, one)
            self.state.note(hybrid_run=str(run.path))

        return train(plan, verbosity=self.verbosity, begun=note), references

    def _plan(self, data: Dataset, env: EnvConfig, clone: Path, board: str) -> Experiment:
        return hybrid_stages.hybrid_experiment(
            self.config, self.resolved.hybrid, data, env, str(clone), board
        )

    def _check_scratch(self, plan: Experiment) -> None:
        for path in self.config.scratch:
            other = Run.open(path).experiment().env.id
            if other != plan.env.id:
                raise UserError(f"--scratch {path}: is of {other}, not of {plan.env.id}")

    def _pack(self, file: Path, run: Path) -> None:
        named = [checkpoint.pointed(run, name) for name in ("last", "best")]
        folders = list(dict.fromkeys(folder for folder in named if folder is not None))
        archive.pack_run(file, run, folders)
        load(file)
