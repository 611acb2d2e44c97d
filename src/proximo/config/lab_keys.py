"""The keys of the lab's YAML, and the sheet on which a file in it is translated."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proximo.config import overrides, text
from proximo.config.registry import nearest

PPO = "training.algorithm_parameters"
NET = "training.architecture"
LOOP = "training.training"

KEYS: dict[str, str] = {
    "experiment.name": "`name`",
    "environment.id": "`env.id`",
    "environment.env_config": "`env.kwargs`",
    "environment.render_mode": "nothing for `rgb_array` (the recorder asks for it), else `env.kwargs.render_mode`",
    "environment.monitor": "nothing: returns and lengths of all episodes are always recorded",
    "environment.video_wrapper": "`video.every`, or no videos",
    "environment.video_trigger": "`video.every` (times `n_environments`, for it counts steps of all copies at once)",
    "environment.video_length": "`video.length`",
    "n_environments": "`env.num_envs`; 1 if left out",
    "training.algorithm": "must be `ppo`",
    "training.pretrained_model": "`init_from`",
    "training.use_wandb": "`track`: TensorBoard and W&B (`project: sb3`, `group` = the environment's id)",
    f"{PPO}.policy": "`policy.encoder`, where no extractor is named",
    f"{PPO}.learning_rate": "`ppo.learning_rate`; `lin_3e-4` also sets `ppo.lr_schedule: linear`",
    f"{PPO}.n_steps": "`ppo.num_steps` (of each environment)",
    f"{PPO}.batch_size": "`ppo.minibatch_size`",
    f"{PPO}.n_epochs": "`ppo.epochs`",
    f"{PPO}.gamma": "`ppo.gamma`",
    f"{PPO}.gae_lambda": "`ppo.gae_lambda`",
    f"{PPO}.clip_range": "`ppo.clip`; `lin_0.2` also sets `ppo.clip_schedule: linear`",
    f"{PPO}.clip_range_vf": "`ppo.value_clip`",
    f"{PPO}.normalize_advantage": "`ppo.normalize_advantage`: `minibatch` or `none`",
    f"{PPO}.ent_coef": "`ppo.entropy_coef`",
    f"{PPO}.vf_coef": "`ppo.value_coef`",
    f"{PPO}.max_grad_norm": "`ppo.max_grad_norm`",
    f"{PPO}.use_sde": "`policy.head.type: gsde`",
    f"{PPO}.sde_sample_freq": "`policy.head.sample_freq` (−1: `ppo.num_steps`)",
    f"{PPO}.target_kl": "`ppo.target_kl`",
    f"{PPO}.tensorboard_log": "`track: [tensorboard]`; the files lie in the run's folder",
    f"{PPO}.stats_window_size": "must be 100, which `return_mean` always uses",
    f"{NET}.net_arch": "`pi`: `policy.hidden_sizes`, `vf`: `policy.value_hidden_sizes`",
    f"{NET}.features_extractor_class": "`policy.encoder.type`",
    f"{NET}.features_extractor_kwargs": "`policy.encoder`'s own keys (`kwargs`, for a class of yours)",
    f"{NET}.activation_fn": "`policy.activation`",
    f"{NET}.share_features_extractor": "`policy.share_encoder`",
    f"{NET}.ortho_init": "`policy.ortho_init`",
    f"{NET}.log_std_init": "`policy.head.log_std_init`",
    f"{NET}.full_std": "`policy.head.full_std` (with `use_sde`)",
    f"{NET}.normalize_images": "must be true: images always arrive in [0, 1]",
    f"{NET}.squash_output": "must be false",
    f"{NET}.use_expln": "must be false",
    f"{NET}.optimizer_class": "must be `Adam`",
    f"{NET}.optimizer_kwargs": "`eps`: `ppo.adam_eps`",
    f"{LOOP}.seed": "`seed`",
    f"{LOOP}.eval.seed": "`eval.seed`",
    f"{LOOP}.eval.num_episodes": "`eval.episodes`",
    f"{LOOP}.eval.num_evals": "`eval.num_evals`",
    f"{LOOP}.total_timesteps": "`ppo.total_steps`",
    f"{LOOP}.device": "`device`",
    f"{LOOP}.log_points": "`checkpoint.every` (`total_timesteps` ÷ this: how often the model is saved)",
    f"{LOOP}.verbose": "0: `-q`, 1: as always, 2: `-v` (those options win)",
    "evaluation.num_episodes": "`hooks.evaluation`: that many episodes once training has ended",
    "play.experiment": "which run `proximo play lab.yaml` shows",
    "play.pretrained_model": "which of its checkpoints: `model` (the last), `best`, or a step",
}
"""Every key that is understood, and what it becomes, as docs/lab.md has it."""

PLACES = {
    "environment.n_environments": "n_environments",
    "training.n_environments": "n_environments",
    f"{LOOP}.n_environments": "n_environments",
    f"{LOOP}.num_envs": "n_environments",
    "training.evaluation": "evaluation",
    f"{PPO}.policy_kwargs": NET,
    f"{PPO}.seed": f"{LOOP}.seed",
    f"{PPO}.device": f"{LOOP}.device",
    f"{PPO}.verbose": f"{LOOP}.verbose",
}
"""Other places where the same key (or section) may stand."""

REFUSED = {
    "unity": "Unity environments are not supported yet; remove the section to train on a Gymnasium environment",
    "ros": "ROS is not supported yet; remove the section to train on a Gymnasium environment",
    f"{PPO}.rollout_buffer_class": "another rollout buffer is not supported; leave it out",
    f"{PPO}.rollout_buffer_kwargs": "another rollout buffer is not supported; leave it out",
    f"{PPO}.env": "the environment is named under environment.id; leave it out",
}
"""Keys that are known and cannot be honoured."""

TOP_LEVEL = frozenset(path.partition(".")[0] for path in (*KEYS, *REFUSED))


def canonical(path: str) -> str:
    """The place under which a key is known."""
    for place, home in PLACES.items():
        if path == place or path.startswith(f"{place}."):
            return home + path[len(place) :]
    return path


def is_section(path: str) -> bool:
    """Whether keys stand below this path."""
    return any(key.startswith(f"{path}.") for key in KEYS)


def suggest(path: str) -> str:
    """`; did you mean …?` for an unknown path: a slip of the pen here, or the same key elsewhere."""
    parent, _, key = path.rpartition(".")
    known = {*KEYS, *REFUSED, *PLACES}
    sections = {head for full in known for head in _heads(full)}
    here = sorted({p.rpartition(".")[2] for p in known | sections if p.rpartition(".")[0] == parent})
    near = difflib.get_close_matches(key.lower(), here, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    leaves = {full.rpartition(".")[2]: full for full in sorted(known, key=len, reverse=True)}
    far = difflib.get_close_matches(key.lower(), list(leaves), n=1, cutoff=0.75)
    if far:
        return f"; did you mean {leaves[far[0]]}?"
    return f"; {parent or 'the file'} has {', '.join(here)}" if here else ""


def _heads(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def clean(value: Any) -> Any:
    """The lab writes nothing as the text 'None'."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return None if value == "None" else value


@dataclass
class Sheet:
    """A file in translation: what was given, what it became, and every mistake."""

    source: str
    folder: Path
    given: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Per canonical path: the path as written, and the value."""
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Path as written, and what became of it."""
    assumed: dict[str, Any] = field(default_factory=dict)
    """What was left out and filled in as stable-baselines3 does."""
    errors: list[str] = field(default_factory=list)

    def read(self, tree: dict[str, Any], above: str = "") -> None:
        """Take in all keys; unknown ones, and those that cannot be honoured, are mistakes."""
        for key, raw in tree.items():
            written = f"{above}.{key}" if above else str(key)
            path, value = canonical(written), clean(raw)
            if path in REFUSED:
                if value:
                    self.errors.append(f"{written}: {REFUSED[path]}")
            elif path in KEYS:
                self._take(path, written, value)
            elif not is_section(path):
                self.errors.append(f"{written}: unknown key{suggest(written)}")
            elif isinstance(value, dict):
                self.read(value, written)
            elif value is not None:
                self.errors.append(f"{written}={text.scalar(value)[:60]}: must be a mapping of keys")

    def _take(self, path: str, written: str, value: Any) -> None:
        if path in self.given and self.given[path][1] != value and value is not None:
            self.errors.append(f"{written}: {self.given[path][0]} says something else; keep one of the two")
        if value is not None:
            self.given[path] = (written, value)

    def get(self, path: str, default: Any = None) -> Any:
        """The value that was given, else `default`."""
        return self.given[path][1] if path in self.given else default

    def written(self, path: str) -> str:
        """A known path as it stands in the file."""
        return self.given[path][0] if path in self.given else path

    def fail(self, path: str, message: str) -> None:
        """Note a mistake at `path`."""
        shown = f"{self.written(path)}={text.scalar(self.get(path))[:60]}" if path in self.given else path
        self.errors.append(f"{shown}: {message}")

    def put(self, path: str, ours: str, value: Any) -> None:
        """Write what `path` becomes, or would become by default where it was left out."""
        if path not in self.given:
            self.assume(ours, value)
            return
        overrides.put(self.data, ours, value)
        self.origins[ours] = f"{self.source}: {self.written(path)}"
        self.notes.append((self.written(path), f"{ours}={text.scalar(value)}"))

    def assume(self, ours: str, value: Any) -> None:
        """Write stable-baselines3's default."""
        overrides.put(self.data, ours, value)
        self.origins[ours] = "stable-baselines3's default"
        self.assumed[ours] = value

    def note(self, path: str, words: str) -> None:
        """Say what becomes of a key that has no counterpart."""
        self.notes.append((self.written(path), words))

    def lines(self) -> list[str]:
        """The translation in words, in the order of the file."""
        order = {written: i for i, (written, _) in enumerate(self.given.values())}
        rows = [f"{w} → {words}" for w, words in sorted(self.notes, key=lambda note: order[note[0]])]
        left = ", ".join(f"{ours}={text.scalar(value)}" for ours, value in self.assumed.items())
        return [*rows, f"left out, so as in stable-baselines3: {left}"]

    def flag(self, path: str, default: bool) -> bool:
        """A value that must be true or false."""
        value = self.get(path, default)
        if not isinstance(value, bool):
            self.fail(path, "must be true or false")
            return default
        return value

    def count(self, path: str, default: int | None = None, least: int = 1) -> int | None:
        """A whole number of at least `least`, such as 5000 or 1e6."""
        value = self.get(path, default)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and (not number or value != int(value) or value < least):
            self.fail(path, f"must be a whole number of at least {least}")
            return default
        return None if value is None else int(value)

    def mapping(self, path: str) -> dict[str, Any]:
        """A value that must be a mapping; empty if left out."""
        value = self.get(path, {})
        if not isinstance(value, dict):
            self.fail(path, "must be a mapping of keys, or 'None'")
            return {}
        return value

    def only(self, path: str, given: dict[str, Any], known: list[str]) -> None:
        """Entries of the mapping at `path` that are not known are mistakes."""
        for key in given:
            if key not in known:
                listed = f"; it takes {', '.join(known) or 'none'}"
                self.errors.append(f"{self.written(path)}.{key}: unknown key{nearest(key, known) or listed}")
