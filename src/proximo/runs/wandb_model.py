"""A run's model from Weights & Biases, as a folder that `play`, `eval` and `init_from` take."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from proximo.errors import RunError, UserError
from proximo.runs.extras import optional
from proximo.runs.files import writing
from proximo.runs.run import EXPERIMENT_FILE
from proximo.runs.wandb_log import logged_in

PREFIX = "wandb:"
DOWNLOADS = Path("runs/wandb")
_NAME = r"([A-Za-z0-9_-][A-Za-z0-9_.-]*)"
_REFERENCE = re.compile(
    rf"(?:wandb:)?(?:https?://[^/]+/)?{_NAME}/{_NAME}/(?:runs/)?{_NAME}/?(?:workspace)?(?:\?.*)?"
)


def is_reference(name: str) -> bool:
    """Whether `name` is a W&B run: `wandb:entity/project/run`, or the address of its page."""
    return name.startswith((PREFIX, "https://wandb.ai/"))


def download(name: str, root: Path = DOWNLOADS) -> Path:
    """Download the newest model of a W&B run into `root/entity/project/run` and give back that folder.

    Raises: UserError for a bad name, no login, no such run, or a run without a model of Proximo's.
    """
    match = _REFERENCE.fullmatch(name)
    if match is None:
        raise UserError(f"{name}: a W&B run is named as wandb:entity/project/run, as in its page's address")
    wandb = optional("wandb", "wandb")
    if not logged_in(wandb.setup().settings.base_url):
        raise UserError(f"{name}: not logged in to W&B; run `wandb login`")
    path = "/".join(match.groups())
    folder = root.joinpath(*match.groups())
    try:
        artifact = _model(wandb.Api().run(path), path)
        _fetch(artifact, folder)
    except (wandb.errors.Error, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"{PREFIX}{path} cannot be downloaded: {reason}") from error
    return folder


def _model(run: Any, path: str) -> Any:
    models = [artifact for artifact in run.logged_artifacts() if artifact.type == "model"]
    if models:
        latest = [artifact for artifact in models if "latest" in artifact.aliases]
        return (latest or models)[-1]
    if any(file.name.endswith(".zip") for file in run.files()):
        raise UserError(
            f"{PREFIX}{path}: its model is a pickled .zip of stable-baselines3; reading a pickle runs whatever "
            "code is in it, so it is refused: train anew with Proximo"
        )
    raise UserError(f"{PREFIX}{path}: the run has no model; it is uploaded when a training finishes")


def _fetch(artifact: Any, folder: Path) -> None:
    temporary = folder.with_name(f".tmp-{folder.name}")
    with writing(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        artifact.download(root=str(temporary))
        if not (temporary / EXPERIMENT_FILE).is_file():
            raise UserError(f"{artifact.name}: is no model of Proximo's: it has no {EXPERIMENT_FILE}")
        with writing(folder):
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
