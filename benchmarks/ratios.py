"""Should a recorded row's ratio weigh its gradient once or twice? The table of docs/design.md; half a minute.

    python benchmarks/ratios.py

Random decision processes, exact values, a critic that is off by noise. Printed is the cosine between the gradient of a
batch of recorded rows and the exact one, for states of the recording policy μ and actions of the present policy π.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from proximo.core.returns import estimate, of_the_action

Array = npt.NDArray[np.float64]
STATES, ACTIONS, GAMMA, LAMBDA = 12, 4, 0.97, 0.95
PROCESSES, BATCHES, STEPS, COPIES = 12, 40, 64, 8
CRITIC_ERROR, REWARD_NOISE = 0.3, 0.5
KINDS = ("ratio twice", "ratio once", "no ratio")


def softmax(logits: Array) -> Array:
    """Over the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Process:
    """Random transitions and rewards, with two policies."""

    def __init__(self, seed: int, sharp: float) -> None:
        made = np.random.default_rng(seed)
        self.next = made.dirichlet(np.ones(STATES) * 0.3, size=(STATES, ACTIONS))
        self.reward = made.normal(size=(STATES, ACTIONS))
        self.random = np.random.default_rng(100 + seed)
        logits = self.random.normal(size=(STATES, ACTIONS))
        self.mu = softmax(logits)
        self.pi = softmax(logits + sharp * self.random.normal(size=(STATES, ACTIONS)))
        chain = np.einsum("sa,sat->st", self.pi, self.next)
        self.value = np.linalg.solve(np.eye(STATES) - GAMMA * chain, (self.pi * self.reward).sum(1))
        self.critic = self.value + CRITIC_ERROR * self.random.normal(size=STATES)

    def rollout(self, steps: int, copies: int) -> tuple[Array, ...]:
        """States, actions, rewards and successors under μ, `[T, N]`."""
        state, rows = self.random.integers(STATES, size=copies), []
        for _ in range(steps):
            action = _choice(self.random, self.mu[state])
            after = _choice(self.random, self.next[state, action])
            noise = REWARD_NOISE * self.random.normal(size=copies)
            rows.append((state, action, self.reward[state, action] + noise, after))
            state = after
        return tuple(np.stack(column) for column in zip(*rows, strict=True))

    def gradient(self, state: Array, action: Array, weight: Array) -> Array:
        """Of Σ weight · log π(action | state), by the logits."""
        found = np.zeros((STATES, ACTIONS))
        np.add.at(found, (state.ravel(), action.ravel()), weight.ravel())
        return found - self.pi * found.sum(1, keepdims=True)

    def exact(self) -> Array:
        """The expectation, for the states that μ comes to."""
        state = self.rollout(4000, 50)[0]
        share = np.bincount(state.ravel(), minlength=STATES)[:, None] / state.size
        advantage = self.reward + GAMMA * self.next @ self.value - self.value[:, None]
        found = share * self.pi * advantage
        return found - self.pi * found.sum(1, keepdims=True)


def _choice(random: np.random.Generator, probability: Array) -> npt.NDArray[np.int64]:
    drawn = random.random(len(probability))[:, None] > probability.cumsum(1)
    return drawn.sum(1).clip(max=probability.shape[1] - 1)


def weights(process: Process, rows: tuple[Array, ...]) -> tuple[dict[str, Array], float]:
    """What the three ways multiply each row's log-probability by, and the mean ρ."""
    state, action, reward, after = rows
    ratio = torch.as_tensor(process.pi[state, action] / process.mu[state, action])
    rho, weight = ratio.clamp(max=1.0), ratio.clamp(0.01, 1.0)
    never = torch.zeros(ratio.shape, dtype=torch.bool)
    value, following = (torch.as_tensor(process.critic[s]) for s in (state, after))
    given = (torch.as_tensor(reward), value, following, never, never)
    traced, _ = estimate(*given, rho, rho, gamma=GAMMA, lam=LAMBDA)
    gae, _ = estimate(*given, None, None, gamma=GAMMA, lam=LAMBDA)
    own = of_the_action(traced, *given, gamma=GAMMA, lam=LAMBDA)
    found = (weight * traced, weight * own, gae)
    return {name: w.numpy() for name, w in zip(KINDS, found, strict=True)}, float(rho.mean())


def main() -> None:
    """Print the table."""
    print("| sharp | mean ρ | " + " | ".join(KINDS) + " |")
    print("| --- |" + " --- |" * (1 + len(KINDS)))
    for sharp in (0.3, 0.7, 1.0, 1.5, 2.0, 3.0):
        cosines: dict[str, list[float]] = {name: [] for name in KINDS}
        rhos = []
        for seed in range(PROCESSES):
            process = Process(seed, sharp)
            exact = process.exact()
            for _ in range(BATCHES):
                rows = process.rollout(STEPS, COPIES)
                given, rho = weights(process, rows)
                rhos.append(rho)
                for name, weight in given.items():
                    gradient = process.gradient(rows[0], rows[1], weight)
                    size = np.linalg.norm(gradient) * np.linalg.norm(exact)
                    cosines[name].append(float((gradient * exact).sum() / size))
        cells = [f"{np.mean(c):.3f} ± {1.96 * np.std(c) / len(c) ** 0.5:.3f}" for c in cosines.values()]
        print(f"| {sharp} | {np.mean(rhos):.2f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
