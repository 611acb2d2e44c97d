"""The places where the therapy client's first users look: `models/<name>/…` and `logs/<name>/<name>_progress.csv`.

The run's folder stays the home of everything; checkpoints here are the same files (hard links where the disk
allows). `run.json` says which run they belong to, so that a training can go on from them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proximo.errors import UserError
from proximo.recipes.therapy_config import load_config, save_config
from proximo.recipes.therapy_fields import TrainingConfig
from proximo.runs import checkpoint
from proximo.runs.files import replace_file, writing
from proximo.runs.run import Run

if TYPE_CHECKING:
    # Finding a run here must not load what training needs.
    from proximo.runs.hook import HookedTraining

CONFIG, RUN, BEST, FINAL, STEP = "config.yaml", "run.json", "policy_best", "policy_final", "checkpoint_"
COLUMNS = (
    *("epoch", "step", "train_reward_mean", "train_reward_std", "train_length_mean"),
    *("test_reward_mean", "test_reward_std", "test_length_mean", "duration"),
)


class Places:
    """A hook that keeps these places up to date: a row per evaluation, checkpoints as they are written.

    Training columns are over the last 100 training episodes (empty as long as none has ended), test columns over
    the evaluation, `duration` is in seconds and counts over resumes.
    """

    def __init__(self, models: str, progress: str, config: Mapping[str, Any]) -> None:
        self.models = Path(models)
        self.progress = Path(progress)
        self.config = TrainingConfig(**config)
        self.rows, self.last_step, self.due = 0, 0, False
        self.seconds, self.begun = 0.0, time.monotonic()

    def at_start(self, training: HookedTraining) -> None:
        """Take the places over from an earlier training of the same name, whose run stays where it is."""
        earlier = [self.models / CONFIG, self.models / RUN, *_checkpoints(self.models), self.progress]
        earlier = [path for path in earlier if path.exists()]
        if earlier:
            training.say(f"{self.models}: an earlier training's files are replaced (its run stays)")
        with writing(self.models):
            for path in earlier:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            self.models.mkdir(parents=True, exist_ok=True)
            self.progress.parent.mkdir(parents=True, exist_ok=True)
        save_config(self.config, self.models / CONFIG)
        where = os.path.relpath(training.run.path, self.models)
        replace_file(self.models / RUN, json.dumps({"run": where}) + "\n")
        replace_file(self.progress, ",".join(COLUMNS) + "\n")

    def after_record(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """A row where this update was evaluated."""
        every = training.experiment.checkpoint.every or training.experiment.ppo.total_steps
        self.due = training.step // every > self.last_step // every
        self.last_step = training.step
        if "eval/return_mean" in metrics:
            self.rows += 1
            self._write(training, metrics)

    def after_save(self, training: HookedTraining, folder: Path, best: bool) -> None:
        """The checkpoint under its names here."""
        names = [STEP + folder.name] if self.due else []
        names += [BEST] if best else []
        names += [FINAL] if training.finishing and not training.interrupted else []
        for name in names:
            copy(folder, self.models / name)

    def state_dict(self) -> dict[str, Any]:
        """How many rows there are, when it last looked, the seconds so far."""
        return {"rows": self.rows, "last_step": self.last_step, "seconds": self._elapsed()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, and drop rows of what is trained again."""
        self.last_step = int(state["last_step"])
        self.seconds, self.begun = float(state["seconds"]), time.monotonic()
        with writing(self.progress):
            self.progress.parent.mkdir(parents=True, exist_ok=True)
            lines = self.progress.read_text("utf-8").splitlines() if self.progress.exists() else []
        kept = lines[1 : 1 + int(state["rows"])]
        self.rows = int(state["rows"])
        replace_file(self.progress, "".join(f"{line}\n" for line in [",".join(COLUMNS), *kept]))

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.begun

    def _write(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        result = training.last_result
        values: dict[str, float | None] = {
            "epoch": self.rows,
            "step": training.step,
            "train_reward_mean": metrics.get("return_mean"),
            "train_reward_std": metrics.get("return_std"),
            "train_length_mean": metrics.get("length_mean"),
            "test_reward_mean": result.return_mean,
            "test_reward_std": result.return_std,
            "test_length_mean": result.length_mean,
            "duration": round(self._elapsed(), 3),
        }
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([values[name] for name in COLUMNS])
        with writing(self.progress), self.progress.open("a", encoding="utf-8") as file:
            file.write(line.getvalue())


def check_free(config: TrainingConfig) -> None:
    """UserError where the places hold files that no training of ours wrote, which must not be replaced."""
    models = Path(config.models)
    strange = [path for path in (models / CONFIG, Path(config.progress_file)) if path.exists()]
    if strange and not (models / RUN).exists():
        raise UserError(
            f"{strange[0]}: is not of a training of Proximo and would be replaced; choose another "
            "--experiment-name, --output-dir or --log-dir"
        )


@dataclass(frozen=True)
class Origin:
    """A checkpoint in these places: its folder, the configuration beside it, the run it belongs to."""

    checkpoint: Path
    config: TrainingConfig
    run: Path


def find(name: str) -> Path | None:
    """The checkpoint folder that `name` means: itself, with `.pth` as of old, or the best one of a models folder.

    None where it is none of these places.
    """
    path = Path(name)
    if path.suffix == ".pth" and not path.exists():
        path = path.with_suffix("")
    if not (path / checkpoint.STATE_FILE).is_file():
        bases = [path, Path("models") / name]
        inside = [base / last for base in bases if (base / CONFIG).is_file() for last in (BEST, FINAL)]
        path = next((folder for folder in inside if folder.is_dir()), path)
    good = (path / checkpoint.STATE_FILE).is_file() and (path.parent / CONFIG).is_file()
    return path if good else None


def origin(name: str) -> Origin:
    """Where a training can go on from `name`. Raises UserError, saying what is there instead."""
    path = find(name)
    if path is None:
        checkpoint.header(Path(name))
        raise UserError(f"{name}: has no {CONFIG} beside it; a run is resumed by: proximo resume {name}")
    checkpoint.verify(path)
    return Origin(path, load_config(path.parent / CONFIG), _run(path.parent))


def run_of(name: str) -> Path:
    """The run's folder behind `models/<name>`, `<name>`, one of its checkpoints, or a run itself."""
    place = find(name)
    folders = [place.parent] if place else [Path(name), Path("models") / name]
    known = next((folder for folder in folders if (folder / RUN).is_file()), None)
    return Run.open(name).path if known is None else _run(known)


def _run(models: Path) -> Path:
    try:
        where = json.loads((models / RUN).read_text(encoding="utf-8"))["run"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{models / RUN}: cannot be read, so the run of {models} is unknown") from error
    run = (models / str(where)).resolve()
    here = Path.cwd()
    run = run.relative_to(here) if run.is_relative_to(here) else run
    if not run.is_dir():
        raise UserError(f"{models}: its run {run} is gone, and with it what training needs; train anew")
    return run


def in_run(place: Origin, step: int) -> Path:
    """The checkpoint inside its run, brought back where the run no longer keeps it."""
    folder = Run.open(place.run).checkpoint_folder(step)
    if not folder.is_dir():
        copy(place.checkpoint, folder)
    return folder


def copy(folder: Path, to: Path) -> None:
    """The same checkpoint in another place, whole or not at all; files are linked where the disk allows."""
    temporary, old = (to.with_name(f".{kind}-{to.name}") for kind in ("new", "old"))
    with writing(to):
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(folder, temporary, copy_function=_link)
        if to.exists():
            shutil.rmtree(old, ignore_errors=True)
            to.rename(old)
        temporary.rename(to)
        shutil.rmtree(old, ignore_errors=True)


def _link(source: str, target: str) -> None:
    # A checkpoint's files are never written to again, so two names for one file are as good as a copy.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _checkpoints(models: Path) -> list[Path]:
    named = [path for path in models.glob("*") if path.name in (BEST, FINAL) or path.name.startswith(STEP)]
    return [path for path in named if (path / checkpoint.STATE_FILE).is_file()]
