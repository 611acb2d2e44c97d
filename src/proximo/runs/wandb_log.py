"""Weights & Biases: scalars, videos, and the final checkpoint as a model to download and play."""

from __future__ import annotations

import json
import netrc
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from proximo.config.experiment import Experiment, WandbTracker
from proximo.runs.extras import optional
from proximo.runs.files import replace_file
from proximo.runs.run import EXPERIMENT_FILE, Run

INIT_SECONDS = 30
"""How long to try to reach the server before recording offline."""


class WandbLog:
    """A W&B run that goes on under the same id when the Proximo run is resumed.

    With `sync_tensorboard` TensorBoard's files are uploaded too, for the TensorBoard tab of the W&B page;
    their numbers are the ones sent here, so W&B's own patching of TensorBoard would only send them twice.
    """

    def __init__(self, config: WandbTracker, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._wandb: Any = None
        self._session: Any = None
        self._run: Run | None = None

    def start(self, run: Run, experiment: Experiment, resume_step: int | None) -> None:
        """Open online, or offline with one printed line where there is no login or no connection."""
        wandb = optional("wandb", "wandb")
        self._wandb, self._run = wandb, run
        self._board = run.tensorboard(experiment)
        # Before its first use: what it prints by itself (about linked files, say) follows the settings of then.
        wandb.setup(wandb.Settings(silent=True))
        mode = self._mode()
        if mode == "online":
            try:
                self._session = self._open(run, experiment, "online")
            except wandb.errors.Error as error:
                self._say(f"W&B cannot be reached ({_first_line(error)}): recording offline")
                mode = "offline"
                # Its service still holds the id of the attempt.
                wandb.teardown()
        if self._session is None:
            self._session = self._open(run, experiment, mode)
        self._session.define_metric("*", step_metric="step")
        if mode == "online":
            self._say(f"W&B: {self._session.url}")
        elif mode == "offline":
            self._say(f"W&B: upload later with `wandb sync {Path(self._session.dir).parent}`")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Send the metrics with `step` as their axis, whatever W&B's own counter says."""
        self._session.log({**values, "step": step})

    def video(self, step: int, path: Path) -> None:
        """Upload the video, if `monitor_gym`."""
        if self._config.monitor_gym:
            video = self._wandb.Video(str(path), format=path.suffix.removeprefix("."))
            self._session.log({"video": video, "step": step})

    def artifact(self, path: Path) -> None:
        """Upload the checkpoint, if `save_model`, laid out as the run folder that `play` understands."""
        if not self._config.save_model:
            return
        assert self._run is not None
        model = self._wandb.Artifact(f"model-{self._session.id}", type="model")
        for file in sorted(path.iterdir()):
            model.add_file(str(file), name=f"checkpoints/{path.name}/{file.name}")
        model.add_file(str(self._run.path / EXPERIMENT_FILE))
        self._session.log_artifact(model)

    def close(self, status: str) -> None:
        """Wait for the upload; a failed run is marked as such."""
        if self._session is None or self._run is None:
            return
        if self._config.sync_tensorboard and self._board.is_dir():
            for file in sorted(self._board.iterdir()):
                self._session.save(str(file), base_path=str(self._board.parent), policy="now")
        self._session.finish(exit_code=1 if status == "failed" else 0)

    def _mode(self) -> str:
        if self._config.mode == "auto" and "WANDB_MODE" in os.environ:
            return os.environ["WANDB_MODE"]
        if self._config.mode == "offline":
            return "offline"
        if not logged_in(self._wandb.setup().settings.base_url):
            self._say("W&B: not logged in (run `wandb login`): recording offline")
            return "offline"
        return "online"

    def _open(self, run: Run, experiment: Experiment, mode: str) -> Any:
        settings = self._wandb.Settings(
            silent=True, console="off", disable_git=True, init_timeout=INIT_SECONDS
        )
        return self._wandb.init(
            project=self._config.project,
            name=experiment.name,
            group=self._config.group,
            id=_id_of(run),
            resume="allow",
            config=experiment.model_dump(mode="json"),
            dir=str(run.path),
            mode=mode,
            save_code=False,
            settings=settings,
        )


def logged_in(base_url: str) -> bool:
    """Whether there is a login for the server at `base_url`, in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(base_url).hostname
    named = os.environ.get("NETRC")
    for file in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            found = netrc.netrc(str(file)).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if host in found:
            return True
    return False


def _id_of(run: Run) -> str:
    # Kept in a file of its own: every resume, offline or online, has to find the same W&B run.
    file = run.path / "wandb.json"
    if file.exists():
        return str(json.loads(file.read_text(encoding="utf-8"))["id"])
    name = secrets.token_hex(4)
    replace_file(file, json.dumps({"id": name}) + "\n")
    return name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
