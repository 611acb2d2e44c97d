"""A doctor for environments: what training would trip over, found in a few seconds of random play."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces

from proximo.config.experiment import EnvConfig
from proximo.core.rng import integer_seed
from proximo.core.types import Obs, Step, VecEnv
from proximo.envs.examine import Finding, Seen, examine_play, examine_spaces, sample
from proximo.envs.make import choose_backend, make_env
from proximo.envs.single import make_single
from proximo.errors import ProximoError

STEPS, EPISODES, REPEAT = 2_000, 5, 200
"""Random steps at least, episodes at least (within ten times the steps), steps compared between copies."""


@dataclass
class Report:
    """What `check_env` found; `ok` unless something would break training."""

    env_id: str
    findings: list[Finding] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No finding is an error."""
        return all(finding.level != "error" for finding in self.findings)

    def add(self, level: Literal["ok", "note", "warning", "error"], topic: str, text: str) -> None:
        """Record a finding."""
        self.findings.append(Finding(level, topic, text))

    def as_dict(self) -> dict[str, Any]:
        """JSON values only."""
        found = [{"level": f.level, "topic": f.topic, "text": f.text} for f in self.findings]
        return {"env": self.env_id, "ok": self.ok, "numbers": self.numbers, "findings": found}

    def __str__(self) -> str:
        """One line per finding, the verdict last."""
        lines = [f"{self.env_id}"]
        lines += [f"  {f.level:<7} {f.topic}: {f.text}" for f in self.findings]
        count = sum(f.level == "error" for f in self.findings)
        verdict = (
            "ready to train" if self.ok else f"{count} error{'s' if count > 1 else ''}: fix before training"
        )
        return "\n".join([*lines, f"  {verdict}"])


def check_env(config: EnvConfig, seed: int = 0) -> Report:
    """Examine an environment by random play; `UserError` only where it cannot be made at all.

    Looks at spaces, dtypes, unbounded boxes, reward scale, NaN, end flags, seeds, replay, steps per second and
    the random policy's return (per step of one copy, in the environment's own reward).
    """
    report = Report(config.id)
    backend, reason = choose_backend(config)
    report.add("ok", "backend", f"{backend} ({reason})")
    if backend != "vector":
        single = make_single(config, training=False)
        report.findings += examine_spaces(single, config)
        if not report.ok:
            return report
        seen = examine_play(single, config, STEPS, EPISODES, integer_seed(seed, "check"))
        single.close()  # type: ignore[no-untyped-call]
        report.findings += seen.findings
        _describe(report, config, seen)
        if not report.ok:
            return report
    try:
        _repeat(report, config, seed)
    except ProximoError as error:
        report.add("error", "stepping", str(error))
    return report


def _describe(report: Report, config: EnvConfig, seen: Seen) -> None:
    report.numbers["steps_per_second"] = seen.speed
    if seen.speed:
        report.add("ok", "speed", f"{seen.speed:,.0f} steps/s in one copy, resets included")
    if seen.rewards:
        rewards = np.array(seen.rewards)
        # + 0.0 turns -0.0 into 0.0.
        low, high, deviation = float(rewards.min()) + 0.0, float(rewards.max()) + 0.0, float(rewards.std())
        report.numbers |= {"reward_min": low, "reward_max": high, "reward_std": deviation}
        text = f"from {low:.4g} to {high:.4g}, deviation {deviation:.4g}"
        if max(abs(low), abs(high)) > 100:
            report.add("warning", "reward", f"{text}: large; keep ppo.normalize_reward on, or scale it")
        elif deviation == 0.0:
            report.add(
                "note", "reward", f"{text}: the same in every step of random play (sparse, or per step)"
            )
        else:
            report.add("ok", "reward", text)
    if seen.returns:
        mean, spread = float(np.mean(seen.returns)), float(np.std(seen.returns))
        report.numbers |= {"random_return_mean": mean, "random_length_mean": float(np.mean(seen.lengths))}
        report.add(
            "ok",
            "random policy",
            f"return {mean:.4g} ± {spread:.4g}, length {np.mean(seen.lengths):.4g} ({len(seen.returns)} episodes, "
            f"{seen.terminations} terminated, {seen.truncations} truncated)",
        )
    elif seen.steps and report.ok:
        report.add(
            "warning",
            "episodes",
            f"none ended within {seen.steps} steps; set env.max_episode_steps if they can go on for ever",
        )
    for name in config.info:
        if name not in seen.numbers:
            known = ", ".join(sorted(seen.numbers)) or "none"
            report.add("warning", "info", f"{name!r} never occurred; numbers that did: {known}")
    if seen.numbers and not config.info:
        report.add("note", "info", f"numbers that env.info could log: {', '.join(sorted(seen.numbers))}")


def _repeat(report: Report, config: EnvConfig, seed: int) -> None:
    """Same seed, same actions: the same data, in another object, after other episodes, after a restore?"""
    used, fresh = (make_env(config, num_envs=2, training=False) for _ in range(2))
    first = used.reset(seed + 1)
    _play(used, first, REPEAT)
    again = used.reset(seed)
    if all(torch.equal(first[key], again[key]) for key in first):
        report.add("note", "seed", "different seeds give the same first observation")
    begun = fresh.reset(seed)
    difference = _first_difference(_play(used, again, REPEAT), _play(fresh, begun, REPEAT))
    if difference is None:
        report.add("ok", "seed", f"same seed and actions give the same {REPEAT} steps, bitwise")
    else:
        report.add(
            "warning",
            "seed",
            f"same seed and actions differ from step {difference} on: runs cannot be repeated or resumed exactly",
        )
    saved = getattr(used, "state_dict", None)
    if saved is None:
        report.add("warning", "resume", "cannot be saved: a resumed run begins new episodes")
    elif difference is None:
        restored: Any = make_env(config, num_envs=2, training=False)
        restored.load_state_dict(saved())
        report.add("ok", "resume", "a running episode is restored bitwise")
        restored.close()
    used.close()
    fresh.close()


def _play(env: VecEnv, obs: Obs, steps: int) -> list[Step]:
    """Random steps, only with what is allowed where there is a mask; `obs` is what was seen last."""
    generator, space, key = (
        torch.Generator().manual_seed(0),
        deepcopy(env.spec.action_space),
        env.spec.mask_key,
    )
    space.seed(0)
    played: list[Step] = []
    for _ in range(steps):
        if key is None:
            action = random_action(env, generator)
        else:
            action = torch.as_tensor(np.stack([sample(space, row) for row in obs[key].cpu().numpy()]))
        played.append(env.step(action))
        obs = played[-1].obs
    return played


def random_action(env: VecEnv, generator: torch.Generator) -> torch.Tensor:
    """`[N, *action_space.shape]` uniform within the bounds (infinite ones: within ±1), whatever the mask says."""
    space, count = env.spec.action_space, env.spec.num_envs
    uniform = torch.rand((count, *(space.shape or ())), generator=generator, dtype=torch.float64)
    if isinstance(space, spaces.Discrete):
        return (uniform * int(space.n)).long() + int(space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return (uniform * torch.from_numpy(space.nvec)).long() + torch.from_numpy(space.start)
    if isinstance(space, spaces.MultiBinary):
        return (uniform < 0.5).long()
    assert isinstance(space, spaces.Box)
    low = np.where(np.isfinite(space.low), space.low, -1.0)
    high = np.where(np.isfinite(space.high), space.high, 1.0)
    return (uniform * torch.from_numpy(high - low) + torch.from_numpy(low)).float()


def _first_difference(ours: list[Step], theirs: list[Step]) -> int | None:
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        pairs = [(a.reward, b.reward), (a.terminated, b.terminated), (a.truncated, b.truncated)]
        pairs += [(a.obs[key], b.obs[key]) for key in a.obs]
        if not all(torch.equal(x, y) for x, y in pairs):
            return number + 1
    return None
