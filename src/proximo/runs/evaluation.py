"""Evaluation: how good is a policy, on environments of its own, with a fixed list of seeds, against chance.

Environment i of N plays a fixed share of the episodes, whatever their lengths, so that short episodes are not
preferred and the same seed list is played every time. All randomness is drawn from streams of its own:
training goes on bitwise the same with or without evaluations.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from proximo.config.experiment import EnvConfig
from proximo.core import rng
from proximo.core.types import EnvSpec, Obs, Policy, State, Step, VecEnv
from proximo.envs.make import make_env
from proximo.errors import RunError
from proximo.runs.statistics import difference_ci95, mean_ci95

MAX_ENVS = 16
EPISODE_LIMIT = 200_000
"""Steps after which an episode that does not end by itself is counted as it stands."""
_baselines: dict[tuple[str, int, int], EvalResult] = {}


@dataclass
class EvalResult:
    """Returns and lengths of the episodes (in the order of the seed list) and what follows from them."""

    returns: list[float]
    lengths: list[int]
    successes: list[bool] = field(default_factory=list)
    """Empty where the environment does not tell."""
    infos: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    """Wall time, making the environments included."""
    cut: int = 0
    """Episodes that did not end within `EPISODE_LIMIT` steps."""

    @property
    def return_mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def return_std(self) -> float:
        """Sample deviation of the returns; 0 for a single episode."""
        return float(np.std(self.returns, ddof=1)) if len(self.returns) > 1 else 0.0

    @property
    def return_ci95(self) -> tuple[float, float]:
        """Student's 95 % interval of the mean return; (nan, nan) for a single episode."""
        return mean_ci95(self.returns)

    @property
    def length_mean(self) -> float:
        """Mean number of steps."""
        return float(np.mean(self.lengths))

    @property
    def success_rate(self) -> float | None:
        """Share of successful episodes among those that tell."""
        return float(np.mean(self.successes)) if self.successes else None

    @property
    def info(self) -> dict[str, float]:
        """Means of the named `info` values over the episodes that had them."""
        names = sorted({name for info in self.infos for name in info})
        return {name: float(np.mean([i[name] for i in self.infos if name in i])) for name in names}

    def as_dict(self) -> dict[str, Any]:
        """JSON values; an interval that does not exist is null."""
        low, high = self.return_ci95
        return {
            "episodes": len(self.returns),
            "return_mean": self.return_mean,
            "return_std": self.return_std,
            "return_ci95": None if math.isnan(low) else [low, high],
            "length_mean": self.length_mean,
            "success_rate": self.success_rate,
            "info": self.info,
            "seconds": self.seconds,
            "returns": self.returns,
            "lengths": self.lengths,
        }


def evaluate(
    policy: Policy,
    env_config: EnvConfig,
    episodes: int,
    seed: int,
    deterministic: bool = True,
    device: torch.device | str = "cpu",
) -> EvalResult:
    """Play `episodes` whole episodes; touches neither training's randomness nor the policy."""
    begun = time.perf_counter()
    env = make_env(env_config, num_envs=copies(episodes), device=device, training=False)
    try:
        with acting(policy):
            result = play(env, actor(policy, env.spec, seed, deterministic), episodes, seed)
    finally:
        env.close()
    result.seconds = time.perf_counter() - begun
    return result


def copies(episodes: int) -> int:
    """Environments to play `episodes` in: as few as take the same number of rounds, so that none idles in the last."""
    rounds = -(-episodes // MAX_ENVS)
    return -(-episodes // rounds)


@contextmanager
def acting(policy: Policy) -> Iterator[None]:
    """Dropout and the like are off inside the block, and afterwards as they were."""
    if not (isinstance(policy, nn.Module) and policy.training):
        yield
        return
    policy.eval()
    try:
        yield
    finally:
        policy.train()


Actor = Callable[[Obs, Tensor], Tensor]
"""`(obs, start [N]) -> action for the environment`; called once a step."""


def actor(policy: Policy, spec: EnvSpec, seed: int, deterministic: bool) -> Actor:
    """`policy` with its memory and with noise from the stream `evaluation` of `seed`."""
    weight = next(iter(policy.parameters()), None)
    device = spec.device if weight is None else weight.device
    state: State = policy.initial_state(spec.num_envs)
    envs = torch.arange(spec.num_envs, device=device)
    key = rng.stream_key(seed, "evaluation")
    draw = rng.normal if policy.noise.kind == "normal" else rng.uniform
    steps = 0

    @torch.no_grad()
    def step(obs: Obs, start: Tensor) -> Tensor:
        nonlocal state, steps
        noise = None
        if not deterministic:
            noise = draw(key, envs, steps // policy.noise.every, 1, policy.noise.dim)[0]
        moved = {name: entry.to(device) for name, entry in obs.items()}
        act = policy.act(moved, state, start.to(device), noise)
        state = act.state
        steps += 1
        return policy.to_env(act.action)

    return step


def play(env: VecEnv, act: Actor, episodes: int, seed: int) -> EvalResult:
    """Play the fixed share of each environment: of N, environment i plays episodes i, i + N, i + 2N, …"""
    count = env.spec.num_envs
    share = [len(range(i, episodes, count)) for i in range(count)]
    ledger = _Ledger(count, share)
    obs = env.reset(seed)
    start = torch.ones(count, dtype=torch.bool, device=env.spec.device)
    while not ledger.full():
        step = env.step(act(obs, start))
        cut = ledger.add(step)
        obs = step.obs
        start = step.terminated | step.truncated | ~step.valid
        if cut:
            start = start.clone()
            start[cut] = True
    return ledger.result()


class _Ledger:
    """Running sums of each environment's episode, and the finished ones until its share is played."""

    def __init__(self, num_envs: int, share: list[int]) -> None:
        self.share = share
        self.finished: list[list[tuple[float, int, dict[str, float]]]] = [[] for _ in range(num_envs)]
        self.missing = sum(share)
        self.return_ = np.zeros(num_envs)
        self.length = np.zeros(num_envs, dtype=np.int64)
        self.cut = 0

    def full(self) -> bool:
        return self.missing == 0

    def add(self, step: Step) -> list[int]:
        """Count a step; returns the environments whose episode was cut by the limit."""
        valid = step.valid.cpu().numpy()
        self.return_ += np.where(valid, step.reward.double().cpu().numpy(), 0.0)
        self.length += valid
        ends = (step.terminated | step.truncated).cpu().numpy()
        # The episode of a worker that died is played again.
        lost, done = ends & ~valid, ends & valid
        self.return_[lost], self.length[lost] = 0.0, 0
        info = {name: entry.cpu().numpy() for name, entry in step.info.items()}
        reported = "episode_return" in info
        if reported:
            # A wrapper moved the episode's ends or changed its reward, and tells the true ones.
            done = ~np.isnan(info["episode_return"])
        cut = self.length >= EPISODE_LIMIT
        for i in np.flatnonzero(done | cut):
            last = {name: float(entry[i]) for name, entry in info.items() if not np.isnan(entry[i])}
            return_ = last.pop("episode_return", float(self.return_[i]))
            length = int(last.pop("episode_length", int(self.length[i])))
            self.return_[i], self.length[i] = 0.0, 0
            if len(self.finished[i]) < self.share[i]:
                self.finished[i].append((return_, length, last))
                self.missing -= 1
                self.cut += bool(cut[i] and not done[i])
        return [int(i) for i in np.flatnonzero(cut & ~done)]

    def result(self) -> EvalResult:
        rounds = range(max(self.share))
        order = [played[k] for k in rounds for played in self.finished if k < len(played)]
        infos = [dict(last) for _, _, last in order]
        successes = [bool(info.pop("success")) for info in infos if "success" in info]
        return EvalResult([r for r, _, _ in order], [n for _, n, _ in order], successes, infos, cut=self.cut)


def random_baseline(env_config: EnvConfig, episodes: int, seed: int) -> EvalResult:
    """The same measurement for uniformly random (allowed) actions; kept for this process."""
    key = (env_config.model_dump_json(exclude={"num_envs"}), episodes, seed)
    if key not in _baselines:
        begun = time.perf_counter()
        env = make_env(env_config, num_envs=copies(episodes), training=False)
        try:
            _baselines[key] = play(env, random_actor(env.spec, seed), episodes, seed)
        finally:
            env.close()
        _baselines[key].seconds = time.perf_counter() - begun
    return _baselines[key]


def random_actor(spec: EnvSpec, seed: int) -> Actor:
    """Samples of the action space from its own generators, only allowed actions where there is a mask."""
    samplers = [copy.deepcopy(spec.action_space) for _ in range(spec.num_envs)]
    for i, space in enumerate(samplers):
        space.seed(rng.integer_seed(seed, "random", i))

    def act(obs: Obs, start: Tensor) -> Tensor:
        masks = None if spec.mask_key is None else obs[spec.mask_key].cpu().numpy().astype(bool)
        rows = [
            space.sample() if masks is None else _allowed_sample(space, masks[i].reshape(-1), spec.id)
            for i, space in enumerate(samplers)
        ]
        return torch.as_tensor(np.stack(rows), device=spec.device)

    return act


def _allowed_sample(space: spaces.Space[Any], mask: np.ndarray[Any, Any], env_id: str) -> Any:
    if isinstance(space, spaces.Discrete):
        return space.start + _choice(space.np_random, mask, env_id)
    if isinstance(space, spaces.MultiDiscrete):
        parts = np.split(mask, np.cumsum(space.nvec.reshape(-1))[:-1])
        picks = [_choice(space.np_random, part, env_id) for part in parts]
        return space.start + np.array(picks, dtype=np.int64).reshape(space.shape)
    return space.sample() * mask.reshape(space.shape)


def _choice(generator: np.random.Generator, allowed: np.ndarray[Any, Any], env_id: str) -> int:
    if not allowed.any():
        raise RunError(f"{env_id}: its action mask allows nothing; allow at least one action in every state")
    return int(generator.choice(np.flatnonzero(allowed)))


def verdict(result: EvalResult, baseline: EvalResult) -> str:
    """In words: better than random only where Welch's 95 % interval of the difference lies above 0."""
    low, _ = difference_ci95(result.returns, baseline.returns)
    if math.isnan(low):
        return "not better than a random policy (one episode tells nothing of the spread: play more)"
    return "better than a random policy" if low > 0 else "not better than a random policy"
