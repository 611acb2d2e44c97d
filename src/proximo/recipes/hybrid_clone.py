"""The pipeline's first stage: take the clone that is there and fits, go on with one that was begun, or make one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from proximo.config.experiment import EnvConfig, Experiment, PolicyConfig
from proximo.demos.dataset import Dataset
from proximo.errors import RunError, UserError
from proximo.launch import Result, resume, train
from proximo.recipes import hybrid_stages
from proximo.recipes.hybrid_fields import HybridConfig
from proximo.recipes.hybrid_hparam import Entry
from proximo.recipes.hybrid_places import Clones, Epoch, Index, differences
from proximo.recipes.hybrid_record import Unfinished, locked
from proximo.runs import archive, checkpoint

Ask = Callable[[str], str]
TASK = {"id", "kwargs", "wrappers", "max_episode_steps", "mask_key", "info", "success_key"}
"""The fields of an environment's configuration that say what is to be learnt."""
MUST_FIT = ("data", "env", "policy")
"""A clone that was made with another of these is of no use."""


class Stopped(Exception):
    """A signal ended a stage early; the same command goes on."""


class CloneStage:
    """What decides whether there is something to clone, and does it."""

    def __init__(
        self, config: HybridConfig, entry: Entry, state: Unfinished, verbosity: int, ask: Ask | None
    ) -> None:
        self.config, self.entry, self.state, self.verbosity, self.ask = config, entry, state, verbosity, ask
        self.clones = Clones.of(config)

    def say(self, line: str) -> None:
        """One line for the reader."""
        if self.verbosity >= 0:
            print(line, flush=True)

    def run(self, data: Dataset, env: EnvConfig, plan: Experiment) -> tuple[Path, Epoch]:
        """The best checkpoint: of a clone that is there, of one that is gone on with, or of a new one."""
        tree: dict[str, Any] = {}
        if not self.config.skip_bc:
            tree = hybrid_stages.clone_tree(self.config, self.entry, data, env)
            hybrid_stages.check_same_networks(
                PolicyConfig.model_validate(tree["policy"]), plan, self.config.hparam_bc
            )
        made = self._made(tree, data, env)
        if self.config.skip_bc:
            found = self.clones.best()
            self._check_fits(made)
            return found
        if not self.clones.folder.is_dir():
            self.say(f"{self.clones.missing()}: normal for first run; the clone is trained now")
        # Other seeds may want the same clone at the same time: the first one makes it.
        with locked(self.clones.folder / f".{self.clones.name}.lock", self._tell_busy):
            if not self._reuse(made):
                self._train_clone(data, env, made)
            return self.clones.best()

    def _tell_busy(self) -> None:
        self.say(f"another pipeline is cloning in {self.clones.folder}: waiting for it")

    def _made(self, tree: Mapping[str, Any], data: Dataset, env: EnvConfig) -> dict[str, Any]:
        policy = hybrid_stages.policy_of(self.entry, data, hybrid_stages.for_clone(self.config))
        facts = {
            "data": {
                "names": self.config.data_sets,
                "rows": data.rows,
                "episodes": data.episodes,
                "return_mean": data.return_mean,
            },
            "env": env.model_dump(mode="json", include=TASK),
            "policy": policy,
            "seed": self.config.seed,
            "num_bc_epochs": self.config.num_bc_epochs,
            "bc_coeff": self.config.bc_coeff,
            "ppo": tree.get("ppo", {}),
            "settings": hybrid_stages.for_clone(self.config),
        }
        return dict(json.loads(json.dumps(facts)))

    def _check_fits(self, made: Mapping[str, Any]) -> None:
        index = self.clones.index()
        then = {} if index is None else index.made
        wrong = [name for name in MUST_FIT if then.get(name) != made[name]]
        if wrong:
            told = "; ".join(differences(_only(then, wrong), _only(made, wrong)))
            raise UserError(
                f"the clone in {self.clones.folder} does not fit: {told}; clone anew with --force_bc_retrain"
            )
        if index is not None and not index.finished:
            self.say(f"cloning was not finished: {len(index.epochs)} epochs were made")

    def _reuse(self, made: Mapping[str, Any]) -> bool:
        """Whether a clone that is there is taken as it is."""
        if self.config.force_bc_retrain:
            return False
        index = self.clones.index()
        if index is None or index.best is None:
            return False
        told = differences(index.made, made)
        if any(index.made.get(name) != made[name] for name in MUST_FIT):
            self.say(
                f"the clone in {self.clones.folder} does not fit ({'; '.join(told)}): cloned anew "
                f"(its run stays: {index.run})"
            )
            return False
        if not index.finished:
            if told:
                self.say(f"the unfinished clone was made differently ({'; '.join(told)}): cloned anew")
            return False
        notice = f", made differently: {'; '.join(told)}" if told else ""
        if not self.clones.holds(index):
            self.say(f"the clone's best checkpoint is gone from {self.clones.folder}: cloned anew")
            return False
        path, best = self.clones.best()
        self.say(f"a clone is there: {path} (val_loss {best.val_loss:.4f}{notice})")
        if self.ask is not None and "reuse" not in self.state.values:
            answer = self.ask("Reuse it? [Y/n] ").strip().lower()
            self.state.note(reuse=answer in ("", "y", "yes"))
        reuse = bool(self.state.values.get("reuse", True))
        self.say("it is reused (--force_bc_retrain clones anew)" if reuse else "cloned anew")
        return reuse

    def _train_clone(self, data: Dataset, env: EnvConfig, made: Mapping[str, Any]) -> None:
        index = self._begun()
        if index is not None and index.made == made and index.finished and self.clones.holds(index):
            return
        if index is not None and index.made == made and not index.finished and usable(index.run):
            self.say(f"cloning goes on: {len(index.epochs)} of {self.config.num_bc_epochs} epochs were made")
            result = resume(index.run, verbosity=self.verbosity)
        else:
            experiment = hybrid_stages.clone_experiment(self.config, self.entry, data, env, self.clones, made)
            result = train(experiment, verbosity=self.verbosity)
        check_not_stopped(result)
        index = self.clones.index()
        if index is None or index.best is None:
            raise RunError("No BC checkpoint available: cloning made none; retry with --force_bc_retrain")
        index.finished = True
        self.clones.write(index)
        self.state.note(reuse=True)

    def _begun(self) -> Index | None:
        """The clone to go on with: any that is there, but where it is to be made anew only what this command made."""
        anew = self.config.force_bc_retrain or not self.state.values.get("reuse", True)
        if not anew:
            return self.clones.index()
        if "instead_of" not in self.state.values:
            # A damaged index is no obstacle to cloning anew.
            with suppress(UserError):
                old = self.clones.index()
                self.state.note(instead_of=None if old is None else old.run)
            if "instead_of" not in self.state.values:
                self.state.note(instead_of=None)
                self.clones.clear()
            return None
        index = self.clones.index()
        return None if index is None or index.run == self.state.values["instead_of"] else index


def _only(made: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: made[name] for name in names if name in made}


def usable(run: str) -> bool:
    """Whether a run is there with a checkpoint to go on from."""
    return bool((Path(run) / archive.EXPERIMENT_FILE).is_file() and checkpoint.checkpoints(Path(run)))


def check_not_stopped(result: Result) -> None:
    if result.status == "stopped":
        raise Stopped
