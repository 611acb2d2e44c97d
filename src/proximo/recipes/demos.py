"""Recording demonstrations from a trained agent or from anybody else: the front door of `proximo demos record`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box

from proximo.agent import Agent, checkpoint_folder, load
from proximo.config.experiment import EnvConfig, Experiment
from proximo.config.load import load_experiment
from proximo.core import rng
from proximo.core.types import State
from proximo.demos.dataset import Form
from proximo.demos.record import Choice, Demonstrator, Summary, record
from proximo.demos.write import Writer
from proximo.envs.replay import GymEnv
from proximo.envs.single import find, make_single
from proximo.envs.spaces import observation_leaves
from proximo.errors import UserError
from proximo.policies.continuous import DiagonalGaussianHead
from proximo.runs.locate import locate
from proximo.runs.run import EXPERIMENT_FILE, Run

PLACES = 8
"""Copies that a trained agent acts in at once: one call of the policy for all."""


class AgentPlays:
    """A trained policy in several environments at once, sampling unless `deterministic`.

    Log-probabilities are of the action before it was clipped or rescaled. The mode of a policy has none.
    """

    places = PLACES
    render_mode: str | None = None

    def __init__(self, agent: Agent, seed: int, deterministic: bool, label: str) -> None:
        self.label, self.policy, self.spec = label, agent.policy, agent.spec
        self.deterministic = deterministic
        head = agent.policy.head
        self.box = isinstance(agent.spec.action_space, Box)
        squash = isinstance(head, DiagonalGaussianHead) and head.squash
        recorded = self.box and not deterministic
        self.form: Form = ("squashed" if squash else "unclipped") if recorded else "environment"
        self._leaves: Any = None
        self._rows: dict[str, np.ndarray[Any, Any]] = {}
        self._state: State = self.policy.initial_state(PLACES)
        self._start = np.ones(PLACES, np.bool_)
        self._key = rng.stream_key(seed, "demos/agent")
        self._steps = 0

    def close(self) -> None:
        """Nothing is held."""

    def begin(self, place: int, env: GymEnv, seed: int) -> None:
        """Forget what was remembered in this place."""
        if self._leaves is None:
            self._leaves = observation_leaves(env.observation_space, self.spec.id)
            self._check(env)
            for key, space in self.spec.obs_spaces.items():
                self._rows[key] = np.zeros((PLACES, *(space.shape or ())), space.dtype)
            # Places without an environment must not be without an action.
            if self.spec.mask_key is not None:
                self._rows[self.spec.mask_key][:] = 1
        self._start[place] = True

    def _check(self, env: GymEnv) -> None:
        known = {key: space.shape for key, space in self.spec.obs_spaces.items()}
        for leaf in self._leaves:
            if leaf.key not in known or leaf.shape != known[leaf.key]:
                raise UserError(
                    f"the agent was not trained on this observation: {leaf.key} of shape {leaf.shape}"
                )
        if env.action_space != self.spec.action_space:
            raise UserError(
                f"the agent acts in {self.spec.action_space}, this environment in {env.action_space}"
            )

    @torch.no_grad()
    def act(self, places: list[int], obs: list[Any], infos: list[dict[str, Any]]) -> list[Choice]:
        """One pass for all places; those without an episode get an action that nobody takes."""
        for place, seen, info in zip(places, obs, infos, strict=True):
            for leaf in self._leaves:
                self._rows[leaf.key][place] = leaf.get(seen)
            key = self.spec.mask_key
            if key is not None and all(leaf.key != key for leaf in self._leaves):
                self._rows[key][place] = np.asarray(info[key]).reshape(-1)
        device = self.spec.device
        rows = {key: torch.as_tensor(value, device=device) for key, value in self._rows.items()}
        noise = None
        spec = self.policy.noise
        if not self.deterministic:
            draw = rng.normal if spec.kind == "normal" else rng.uniform
            envs = torch.arange(PLACES, device=device)
            noise = draw(self._key, envs, self._steps // spec.every, 1, spec.dim)[0]
        act = self.policy.act(rows, self._state, torch.as_tensor(self._start, device=device), noise)
        self._state, self._steps = act.state, self._steps + 1
        self._start[places] = False
        env_action = self.policy.to_env(act.action).cpu().numpy()
        if self.deterministic:
            return [Choice(env_action[place]) for place in places]
        own, logp = act.action.cpu().numpy().copy(), act.logp.tolist()
        return [Choice(env_action[p], logp[p], own[p] if self.box else None) for p in places]


@dataclass(frozen=True)
class Recording:
    """A data set that was recorded."""

    path: Path
    summary: Summary


def record_demos(
    config: EnvConfig,
    who: Demonstrator,
    name: str,
    episodes: int,
    seed: int,
    *,
    format_: str = "hdf5",
    overwrite: bool = False,
    min_return: float = -math.inf,
    say: Callable[[str], None] = print,
) -> Recording:
    """Record `episodes` whole episodes, of at least `min_return`, as data set `name`, all or nothing.

    Raises: UserError where the name is taken or no episode was finished, RunError where the environment fails.
    """
    try:
        obs_space, action_space = _spaces(config)
        writer = Writer(
            name,
            obs_space,
            action_space,
            config,
            form=who.form,
            policy=who.label,
            seed=seed,
            format_=format_,
            overwrite=overwrite,
        )
        try:
            summary = record(config, who, writer, episodes, seed, say, min_return)
            return Recording(writer.publish(), summary)
        finally:
            writer.discard()
    finally:
        who.close()


def _spaces(config: EnvConfig) -> tuple[Any, Any]:
    env = make_single(config, training=False)
    try:
        return env.observation_space, env.action_space
    finally:
        env.close()  # type: ignore[no-untyped-call]


def agent_demonstrator(
    run: str,
    seed: int,
    items: Sequence[str] = (),
    *,
    deterministic: bool = False,
    checkpoint: str | None = None,
    say: Callable[[str], None] = print,
) -> tuple[EnvConfig, AgentPlays]:
    """The environment (changed by `items`) and the agent of a run, its best checkpoint, else its newest.

    Raises: UserError where there is no such run.
    """
    try:
        found = locate(run)
        name = checkpoint or found.checkpoint
        agent = load(found.path, name)
    except UserError as error:
        if _is_environment(run):
            raise UserError(
                f"{run} is an environment, not a run: say who acts there, with --policy random, keyboard or "
                "module:Class"
            ) from error
        raise
    how = "taking its mode, without log-probabilities" if deterministic else "sampling"
    say(f"{run}: checkpoint {checkpoint_folder(Run.open(found.path), name).name} acts, {how}")
    label = f"PPO ({Path(run).name})"
    return _changed(agent.experiment, items), AgentPlays(agent, seed, deterministic, label)


def environment_of(source: str, items: Sequence[str] = ()) -> EnvConfig:
    """The environment of a run, an environment's id or a YAML file, changed by `items`."""
    if Path(source).suffix.lower() in (".yaml", ".yml") or _is_environment(source):
        return load_experiment(source, items).env
    return _changed(load_experiment(Run.open(locate(source).path).path / EXPERIMENT_FILE), items)


def _is_environment(source: str) -> bool:
    try:
        find(source)
    except UserError:
        return False
    return True


def _changed(experiment: Experiment, items: Sequence[str]) -> EnvConfig:
    for item in items:
        if not item.startswith("env."):
            raise UserError(f"{item}: only settings of the environment (env.…) matter for a recording")
    if not items:
        return experiment.env
    return load_experiment(experiment.model_dump(mode="json"), items).env
