"""What the pipeline does while it clones: an entry, and where it counts a checkpoint, for each epoch."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from proximo.core.evaluate import judge
from proximo.core.types import Policy
from proximo.demos.dataset import Dataset
from proximo.demos.source import DemoSource
from proximo.errors import RunError
from proximo.recipes.hybrid_places import Clones, Epoch, Index
from proximo.runs import archive, checkpoint
from proximo.runs.files import writing
from proximo.runs.hook import HookedTraining

_BEGUN = ".epoch-"


class Epochs:
    """Validates after each pass over the data, keeps the table and the index, and the checkpoints that count.

    Kept are every `save_every`-th epoch, the last one, and always the best so far.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        epochs: int,
        save_every: int,
        log_interval: int,
        made: Mapping[str, Any],
        loss: str = "cloning",
    ) -> None:
        """`loss`: the name of the cloning term in `losses`."""
        self.clones, self.metric = Clones(Path(folder), name), f"{loss}_loss"
        self.total, self.save_every, self.log_interval = epochs, save_every, log_interval
        self.made = dict(made)
        self.epochs: list[Epoch] = []
        self.step, self.rows, self.loss = 0, 0, 0.0
        """Up to where rows were counted; rows of the present epoch, and the sum of their losses."""

    def at_start(self, training: HookedTraining) -> None:
        """Begin the places anew."""
        self.clones.clear()
        self._tidy()
        self.clones.write(self._index(training))

    def after_update(self, training: HookedTraining, metrics: dict[str, float]) -> None:
        """Adds `epoch`, `train_loss` and `val_loss` to the metrics where a pass has ended."""
        source = _source(training)
        rows = training.step - self.step
        self.loss += metrics[self.metric] * rows
        self.rows, self.step = self.rows + rows, training.step
        if source.passes == len(self.epochs):
            return
        train_loss, valid_loss = self.loss / self.rows, self._validate(training, source)
        self.rows, self.loss = 0, 0.0
        number = len(self.epochs) + 1
        metrics |= {"epoch": number, "train_loss": train_loss, "val_loss": valid_loss}
        if not math.isfinite(valid_loss):
            raise RunError(f"val_loss became {valid_loss} in epoch {number}: lower bc.ppo.learning_rate")
        best = all(valid_loss < epoch.val_loss for epoch in self.epochs)
        path = self.clones.file(number, train_loss)
        kept = best or number % self.save_every == 0 or number == self.total
        if kept:
            self._pack(training, path, {"epoch": number, "train_loss": train_loss, "val_loss": valid_loss})
        self.epochs.append(Epoch(number, train_loss, valid_loss, path.name if kept else None))
        self._forget()
        self.clones.write(self._index(training))
        self._tidy()
        if number % self.log_interval == 0 or number in (1, self.total):
            note = " (best so far)" if best else ""
            training.say(
                f"epoch {number} of {self.total}: train_loss {train_loss:.4f}, val_loss {valid_loss:.4f}{note}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Epochs so far, and what the present one adds up to."""
        counted = {"step": self.step, "rows": self.rows, "loss": self.loss}
        return {"epochs": [asdict(epoch) for epoch in self.epochs], **counted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, on disk too: later epochs are trained again."""
        # A file that a later epoch replaced is gone; that epoch comes again.
        epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        there = [epoch.file is not None and (self.clones.folder / epoch.file).is_file() for epoch in epochs]
        self.epochs = [
            epoch if kept else replace(epoch, file=None) for epoch, kept in zip(epochs, there, strict=True)
        ]
        self.step, self.rows, self.loss = int(state["step"]), int(state["rows"]), float(state["loss"])
        index = self.clones.index()
        if index is not None:
            index.epochs = self.epochs
            self.clones.write(index)

    def _validate(self, training: HookedTraining, source: DemoSource) -> float:
        if source.held_out is None:
            raise RunError("cloning needs demos.data.holdout, the episodes that validate")
        return validation_loss(training.policy, source.held_out)

    def _pack(self, training: HookedTraining, path: Path, facts: Mapping[str, float]) -> None:
        with writing(path):
            self.clones.folder.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=_BEGUN, dir=self.clones.folder))
        try:
            folder = work / "checkpoints" / str(training.step)
            meta = {"env": training.experiment.env.id, **facts}
            checkpoint.save(folder, {"policy": training.policy.state_dict()}, step=training.step, meta=meta)
            for name in ("experiment.yaml", "provenance.json"):
                shutil.copy2(training.run.path / name, work)
            archive.pack_run(path, work, [folder])
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _forget(self) -> None:
        """Of the epochs that were kept for being the best, only the last one is."""
        best = Index({}, "", epochs=self.epochs).best
        for i, epoch in enumerate(self.epochs):
            due = epoch.epoch % self.save_every == 0 or epoch.epoch == self.total
            if epoch.file is not None and epoch is not best and not due:
                self.epochs[i] = replace(epoch, file=None)

    def _tidy(self) -> None:
        self.clones.tidy({epoch.file for epoch in self.epochs if epoch.file is not None})
        for left in self.clones.folder.glob(f"{_BEGUN}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _index(self, training: HookedTraining) -> Index:
        return Index(self.made, str(training.run.path), False, self.epochs)


def validation_loss(policy: Policy, data: Dataset) -> float:
    """−mean log π(a|s) over a data set, in nats, with memories begun anew at each episode."""
    source = DemoSource(data, data.rows, 1, 0, name="validation")
    total, rows = 0.0, 0
    for rollout in source.in_order(policy):
        logp, _ = judge(policy, rollout, policy.normalize(rollout.obs, rollout.stats))
        total -= float(logp[rollout.valid].double().sum())
        rows += int(rollout.valid.sum())
    return total / rows


def _source(training: HookedTraining) -> DemoSource:
    found = [source for source in training.ppo.parts.sources if isinstance(source, DemoSource)]
    return found[0]
