"""What a user names when showing or measuring an agent: a run, a W&B run, or the lab's YAML file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from proximo.config.experiment import Experiment
from proximo.config.load import load_traced
from proximo.errors import UserError
from proximo.runs import checkpoint, wandb_model
from proximo.runs.files import safe_name
from proximo.runs.run import EXPERIMENT_FILE, list_runs

PLACEHOLDER = "experiment_date"
"""Stands in the lab's example for a run that is yet to be named: the newest one of this experiment."""
LAST = ("model", "model.zip", "last_model", "last_model.zip", "last")
BEST = ("best", "best_model", "best_model.zip")
_TIME = r"-\d{8}-\d{6}(-\d+)?"


@dataclass(frozen=True)
class Located:
    """A run (or a checkpoint in it) on this machine."""

    path: str
    checkpoint: str | None = None
    """`best` or `last`, where one was asked for."""
    line: str = ""
    """What was chosen, where that was not plain from the name."""


def locate(name: str) -> Located:
    """Where `name` is: a run stays as it is, a W&B run is downloaded, a lab file's `play` section is followed.

    Raises: UserError where a lab file names a run that is not there, or a model that cannot be read.
    """
    if wandb_model.is_reference(name):
        folder = wandb_model.download(name)
        return Located(str(folder), None, f"downloaded {name} to {folder}")
    file = Path(name)
    if file.suffix.lower() not in (".yaml", ".yml") or not file.is_file() or file.name == EXPERIMENT_FILE:
        return Located(name)
    loaded = load_traced(file)
    if loaded.translation is None:
        raise UserError(f"{name}: is an experiment, not a run; `proximo runs` lists what was trained with it")
    play = {key: str(value) for key, value in loaded.translation.play.items() if value is not None}
    model = play.get("pretrained_model", LAST[0])
    wanted = play.get("experiment", PLACEHOLDER)
    if wandb_model.is_reference(wanted):
        return locate(wanted)
    run = _find(loaded.experiment, wanted, model, name)
    return _with_model(run, model, name)


def _find(experiment: Experiment, wanted: str, model: str, source: str) -> Path:
    if (Path(wanted) / EXPERIMENT_FILE).is_file():
        return Path(wanted)
    root = Path(experiment.runs_dir) / safe_name(experiment.env.id)
    runs = [run.path for run in list_runs(root) if run.path.parent == root]
    if wanted == PLACEHOLDER:
        shown = safe_name(experiment.name)
        found = [path for path in runs if re.fullmatch(re.escape(shown) + _TIME, path.name)]
    else:
        shown = wanted
        key = _dated(safe_name(wanted))
        found = [path for path in runs if re.fullmatch(re.escape(key) + r"(-.*)?", _dated(path.name))]
    if found:
        return found[-1]
    _refuse_pickles(Path("experiments") / experiment.env.id / "ppo" / wanted, model)
    there = f"there are {', '.join(path.name for path in runs[-5:])}" if runs else "there is none yet"
    raise UserError(f"{source}: play.experiment: no run {shown} in {root} ({there}); train it first")


def _dated(name: str) -> str:
    """The lab writes `name_2026-01-31`, we write `name-20260131-…`."""
    return re.sub(r"[_-](\d{4})-?(\d{2})-?(\d{2})(?!\d)", r"-\1\2\3", name)


def _refuse_pickles(folder: Path, model: str) -> None:
    for file in (folder / model, folder / f"{model}.zip"):
        if file.is_file():
            checkpoint.header(file)


def _with_model(run: Path, model: str, source: str) -> Located:
    if model in LAST or model in BEST:
        which = "last" if model in LAST else "best"
        return Located(str(run), which, f"run: {run} ({which} checkpoint)")
    if (run / "checkpoints" / model).is_dir():
        path = run / "checkpoints" / model
        return Located(str(path), None, f"run: {path}")
    steps = ", ".join(path.name for path in checkpoint.checkpoints(run))
    raise UserError(
        f"{source}: play.pretrained_model={model}: it is model (the last checkpoint), best, or a step of {run} "
        f"({steps})"
    )
