"""A trained policy, ready to act: `load(run).act(obs)` is all that deployment needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

from proximo.build import build_policy
from proximo.config.experiment import EnvConfig, Experiment
from proximo.config.load import load_experiment
from proximo.core import rng
from proximo.core.types import EnvSpec, State
from proximo.envs.make import make_env
from proximo.envs.single import make_single
from proximo.envs.spaces import observation_leaves
from proximo.errors import UserError
from proximo.policies.actor_critic import ActorCritic
from proximo.runs import checkpoint
from proximo.runs.restore import check_environment, detail
from proximo.runs.run import Run


class Agent:
    """Acts on single raw observations of the environment, keeping its memory until `reset`."""

    def __init__(
        self, policy: ActorCritic, experiment: Experiment, observation_space: Any, spec: EnvSpec
    ) -> None:
        self.policy = policy.eval()
        self.experiment = experiment
        self.spec = spec
        self._leaves = observation_leaves(observation_space, spec.id)
        self._key = rng.stream_key(experiment.seed, "agent")
        self._drawn = 0
        self.reset()

    def reset(self) -> None:
        """Begin a new episode: forget the memory."""
        self._state: State = self.policy.initial_state(1)
        self._start = True

    @torch.no_grad()
    def act(self, obs: Any, deterministic: bool = True, mask: Any = None) -> Any:
        """The action for one observation, in the environment's own form.

        `mask`: the action mask, where the environment gives it outside the observation.
        """
        device = self.spec.device
        rows = {
            leaf.key: torch.as_tensor(np.asarray(leaf.get(obs), dtype=leaf.dtype), device=device)[None]
            for leaf in self._leaves
        }
        key = self.spec.mask_key
        if key is not None and key not in rows:
            if mask is None:
                raise UserError(f"this agent acts with a mask: act(obs, mask=info[{key!r}])")
            rows[key] = torch.as_tensor(np.asarray(mask), device=device)[None]
        noise = None
        if not deterministic:
            spec = self.policy.noise
            draw = rng.normal if spec.kind == "normal" else rng.uniform
            noise = draw(self._key, torch.zeros(1, dtype=torch.int64), self._drawn // spec.every, 1, spec.dim)
            noise = noise[0].to(device)
            self._drawn += 1
        start = torch.tensor([self._start], device=device)
        act = self.policy.act(rows, self._state, start, noise)
        self._state, self._start = act.state, False
        action = self.policy.to_env(act.action)[0].cpu().numpy()
        space = self.spec.action_space
        return int(action) if isinstance(space, Discrete) else action.astype(space.dtype)


def load(path: str | Path, checkpoint_name: str | None = None) -> Agent:
    """The agent of a run (its best checkpoint, else its newest), or of a checkpoint folder.

    `checkpoint_name`: `best` or `last`. Raises: UserError where there is none or the name is unknown.
    """
    run = Run.open(path)
    experiment = load_experiment(run.path / "experiment.yaml")
    folder = checkpoint_folder(run, checkpoint_name)
    env = make_env(experiment.env, num_envs=1, training=False)
    try:
        policy = load_policy(experiment, env.spec, folder)
        return Agent(policy, experiment, observation_space(experiment.env), env.spec)
    finally:
        env.close()


def observation_space(config: EnvConfig) -> Any:
    """The space of what `Agent.act` takes: as the environment itself declares it."""
    single = make_single(config, training=False)
    try:
        return single.observation_space
    finally:
        single.close()  # type: ignore[no-untyped-call]


def checkpoint_folder(run: Run, name: str | None = None) -> Path:
    """The checkpoint to use: the one named, else the best, else the newest intact one."""
    if name is not None and name not in ("best", "last"):
        raise UserError(f"checkpoint {name!r}: it is `best` or `last`")
    if run.chosen is None:
        found = checkpoint.pointed(run.path, name or "best")
        if found is not None:
            checkpoint.verify(found)
            return found
        if name == "best":
            raise UserError(f"run {run.path} has no best checkpoint: it was never evaluated")
    return run.checkpoint()[0]


def load_policy(experiment: Experiment, spec: EnvSpec, folder: Path) -> ActorCritic:
    """The policy of a checkpoint; UserError where it does not fit the experiment."""
    check_environment(folder, experiment.env.id)
    policy = build_policy(experiment, spec, spec.device)
    state = checkpoint.load_part(folder, "policy")
    try:
        policy.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"checkpoint {folder}: its weights do not fit {experiment.env.id} and policy.* ({detail(error)}); "
            "give the run its own checkpoint and settings again"
        ) from error
    return policy
