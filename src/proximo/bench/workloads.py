"""The workloads: environment, networks and hyper-parameters, the same for Proximo and every peer.

The numbers behind a workload reach each measured process as one JSON object; nothing here imports torch.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from proximo.errors import UserError


@dataclass(frozen=True)
class Workload:
    """One line of the comparison."""

    name: str
    env: str
    num_envs: int
    num_steps: int
    """Steps of each environment per rollout."""
    epochs: int
    minibatch: int
    total_steps: int
    backend: str = "auto"
    """How Proximo steps the environments; the peers step Gymnasium's one by one (ALE's vector env for Pong)."""
    overrides: tuple[str, ...] = ()
    """Settings of Proximo's side alone, printed with the table."""
    wrapper: str = ""
    """`file.py:Class` among the peers' scripts, around every environment of every side."""
    network: str = "mlp"
    """`mlp`: separate tanh actor and critic; `module`: the same size, as a user's own module; `cnn`: NatureCNN."""
    hidden: tuple[int, ...] = (64, 64)
    normalize: bool = False
    """Scale observations and rewards by running statistics."""
    learning_rate: float = 3e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_coef: float = 0.0
    value_coef: float = 0.5
    max_grad_norm: float = 0.5
    adam_eps: float = 1e-5
    threads: int = 1
    """PyTorch threads; 0: all cores."""
    seed: int = 1

    @property
    def rollout(self) -> int:
        """Environment steps per update."""
        return self.num_envs * self.num_steps

    def scaled(self, factor: float) -> Workload:
        """With `factor` times the steps, rounded to whole rollouts, two at least."""
        updates = max(2, math.ceil(self.total_steps * factor / self.rollout - 1e-9))
        return replace(self, total_steps=updates * self.rollout)

    def as_dict(self) -> dict[str, Any]:
        """JSON values only."""
        return {**asdict(self), "overrides": list(self.overrides), "hidden": list(self.hidden)}

    def __str__(self) -> str:
        """Everything that both sides share, on one line."""
        network = {
            "mlp": f"separate {'×'.join(map(str, self.hidden))} tanh actor and critic",
            "module": f"separate {'×'.join(map(str, self.hidden))} encoders of the user's, linear heads",
            "cnn": "NatureCNN shared by actor and critic",
        }[self.network]
        scaling = "observations and rewards normalised" if self.normalize else "nothing normalised"
        seen = f" through {self.wrapper.rpartition(':')[2]}" if self.wrapper else ""
        return (
            f"{self.env}{seen}, {self.num_envs} environments × {self.num_steps} steps, {self.epochs} epochs, minibatch "
            f"{self.minibatch}, {network}, {scaling}, Adam {self.learning_rate:g} (eps {self.adam_eps:g}), gamma "
            f"{self.gamma:g}, lambda {self.gae_lambda:g}, clip {self.clip:g}, entropy {self.entropy_coef:g}, value "
            f"{self.value_coef:g}, gradient norm {self.max_grad_norm:g}, {self.total_steps:,} steps, "
            f"{self.threads or 'all'} PyTorch thread{'' if self.threads == 1 else 's'}"
        )


_W1 = Workload("W1", "CartPole-v1", 8, 128, 4, 256, 200_000)
_W2A = Workload("W2a", "HalfCheetah-v5", 8, 256, 10, 64, 60_000, "sync", normalize=True)
_W2B = replace(_W2A, name="W2b", minibatch=512, total_steps=120_000)
_W3 = Workload(
    "W3", "MiniHack-Room-5x5-v0", 8, 128, 4, 256, 65_536, normalize=True, wrapper="flat_crop.py:FlatCrop"
)
_WIDE = ("env.num_envs=64", "ppo.num_steps=32")

WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        _W1,
        replace(_W1, name="W1-vector", backend="vector"),
        replace(_W1, name="W1-sync", backend="sync"),
        _W2A,
        replace(_W2A, name="W2a-64", backend="auto", overrides=_WIDE),
        replace(_W2A, name="W2a-threads", backend="threads"),
        replace(_W2A, name="W2a-envpool", backend="envpool"),
        _W2B,
        replace(_W2B, name="W2b-64", backend="auto", overrides=_WIDE),
        replace(_W2B, name="W2b-threads", backend="threads"),
        replace(_W2B, name="W2b-envpool", backend="envpool"),
        _W3,
        Workload("W4", "ALE/Pong-v5", 8, 128, 4, 256, 16_384, network="cnn", learning_rate=2.5e-4, threads=0),
        replace(_W2A, name="W5", network="module"),
    )
}
"""All workloads by name; `-64`: the peers as ever, Proximo with as many rows from 64 environments; `-threads`,
`-envpool`: Proximo with this `env.backend`."""

STANDARD = ("W1", "W1-sync", "W2a", "W2b", "W3", "W4", "W5")
_NEEDS = {
    "HalfCheetah": ("mujoco", "mujoco"),
    "MiniHack": ("minihack", "nethack"),
    "ALE/": ("ale_py", "atari"),
}
"""Beginning of an environment's id → the module it needs and the extra that brings it."""


def choose(names: list[str] | None) -> tuple[list[Workload], list[str]]:
    """The workloads of these names (default: all that can run here), and one line for each that is left out.

    Raises: UserError for one that does not exist, or was asked for and cannot run here.
    """
    chosen, absent = [], []
    for name in names or STANDARD:
        if name not in WORKLOADS:
            raise UserError(f"{name}: no such workload; there are {', '.join(WORKLOADS)}")
        missing = _missing(WORKLOADS[name].env)
        if missing is None:
            chosen.append(WORKLOADS[name])
        elif names:
            raise UserError(f"{name}: {missing}")
        else:
            absent.append(f"{name}: {missing}")
    return chosen, absent


def _missing(env: str) -> str | None:
    for beginning, (module, extra) in _NEEDS.items():
        if env.startswith(beginning) and importlib.util.find_spec(module) is None:
            return f"{module} is not installed: pip install 'proximo[{extra}]'"
    return None
