"""Steps per second of collecting and learning against environments, width, observation size and minibatch.

    python benchmarks/scaling.py              # some minutes; rewrites scaling.md, scaling.svg and results/scaling.json
    python benchmarks/scaling.py --quick      # to see that it works; writes nothing unless told where

Each point is a whole iteration of the training loop (`proximo.build`, engine native, one thread) beside its floor: the
environment alone plus the arithmetic of acting, valuing and learning at the measured peak of one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from clocks import one_thread, provenance, seconds_each, where, write_json
from jobs import ROOT, markdown
from peak import peaks

ADAM_FLOPS = 14
"""Operations per parameter and optimiser step: clipping, two moments, the step."""


@dataclass(frozen=True)
class Point:
    """One configuration: separate actor and critic of two tanh layers of `width`."""

    env: str = "CartPole-v1"
    num_envs: int = 64
    num_steps: int = 64
    width: int = 64
    obs: int = 4
    minibatch: int = 256
    epochs: int = 4

    @property
    def rows(self) -> int:
        """Steps of one iteration."""
        return self.num_envs * self.num_steps


def sweeps() -> dict[str, tuple[str, list[Point]]]:
    """Quantity → field of `Point`, points. What is not swept stays as in `Point`."""
    envs = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
    wide = Point(num_envs=16, num_steps=64)
    signal = Point(env=f"{Path(__file__).parent / 'scaling_env.py'}:Signal")
    return {
        "environments": ("num_envs", [Point(num_envs=n, num_steps=max(8, 4096 // n)) for n in envs]),
        "width": ("width", [replace(wide, width=w) for w in (16, 32, 64, 128, 256, 512, 1024)]),
        "observation size": ("obs", [replace(signal, obs=d) for d in (4, 16, 64, 256, 1024)]),
        "minibatch": (
            "minibatch",
            [Point(minibatch=b) for b in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)],
        ),
    }


def main() -> int:
    """Measure, print, write."""
    args = _arguments()
    one_thread()
    import torch

    torch.set_num_threads(1)
    found = {**where(), "versions": {"torch": torch.__version__}, **peaks(), "sweeps": {}}
    for name, (field, points) in sweeps().items():
        chosen = points[:2] if args.quick else points
        found["sweeps"][name] = measure(name, field, chosen, args.rounds, args.least)
    page = render(found)
    print(page)
    if args.out:
        write_json(args.out / "results" / "scaling.json", found)
        (args.out / "scaling.md").write_text(page, encoding="utf-8")
        plot(found, args.out / "scaling.svg")
    return 0


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--quick", action="store_true", help="two points a sweep, one short round, nothing written"
    )
    options.add_argument(
        "--rounds", type=int, default=3, help="interleaved rounds, of which the medians are taken"
    )
    options.add_argument("--out", type=Path, help="folder of scaling.md (default: benchmarks)")
    args = options.parse_args()
    args.least = 0.3
    if args.quick:
        args.rounds, args.least = 1, 0.0
    elif args.out is None:
        args.out = ROOT / "benchmarks"
    return args


def measure(name: str, field: str, points: list[Point], rounds: int, least: float) -> list[dict[str, Any]]:
    """Rows of one sweep; its points take turns, so that what disturbs the machine hits all of them."""
    made = [make(point) for point in points]
    for training in made:
        for _ in range(2):  # the first allocates the rollout's memory
            training.ppo.iterate()
    seconds: list[list[float]] = [[] for _ in points]
    alone: list[list[float]] = [[] for _ in points]
    phases: list[dict[str, float]] = [{} for _ in points]
    for _ in range(rounds):
        for index, (point, training) in enumerate(zip(points, made, strict=True)):
            training.ppo.parts.timer.take()
            seconds[index].append(seconds_each(training.ppo.iterate, least) / point.rows)
            phases[index] = training.ppo.parts.timer.take()
            alone[index].append(env_alone(point, least / 3))
    print(f"{name}: measured", file=sys.stderr, flush=True)
    rows = []
    for index, point in enumerate(points):
        total = sum(phases[index].values())
        rows.append(
            {
                "point": {**asdict(point), "env": Path(point.env).name, "swept": field},
                "seconds_a_step": seconds[index],
                "env_seconds_a_step": alone[index],
                "flops_a_step": flops(point),
                "phases": {key: spent / total for key, spent in phases[index].items() if spent},
            }
        )
    return rows


def make(point: Point) -> Any:
    """The parts of a training, by the front door."""
    import torch

    from proximo.build import build
    from proximo.config.experiment import Experiment
    from proximo.core.timer import Timer

    env: dict[str, Any] = {"id": point.env, "num_envs": point.num_envs}
    if "Signal" in point.env:
        env["kwargs"] = {"width": point.obs}
    ppo = {
        "num_steps": point.num_steps,
        "minibatch_size": point.minibatch,
        "epochs": point.epochs,
        "total_steps": 10**12,
    }
    policy = {"hidden_sizes": (point.width, point.width), "activation": "Tanh"}
    tree = {"env": env, "ppo": ppo, "policy": policy, "engine": "native", "threads": 1, "device": "cpu"}
    return build(Experiment.model_validate(tree), torch.device("cpu"), Timer(), lambda line: None)


def flops(point: Point) -> float:
    """Operations per environment step: products of the layers and Adam; activations and losses are left out."""
    width, first = point.width, point.obs * point.width
    actor, critic = first + width * width + 2 * width, first + width * width + width
    both = actor + critic
    # Acting and valuing once; learning: forward, weights' gradients, inputs' gradients but for the observations'.
    learning = 2 * (3 * both - 2 * first)
    parameters = both + 4 * width + 3
    adam = ADAM_FLOPS * parameters / min(point.minibatch, point.rows)
    return 2 * both + point.epochs * (learning + adam)


def env_alone(point: Point, least: float) -> float:
    """Seconds a step of the environment with random actions; CartPole by the kernels, 64 copies at least."""
    import numpy as np

    if "Signal" in point.env:
        from scaling_env import Signal

        env = Signal(point.num_envs, point.obs)
        env.reset()
        actions = np.random.default_rng(0).integers(2, size=point.num_envs)
        return seconds_each(lambda: [env.step(actions) for _ in range(20)], least) / 20 / point.num_envs
    return _classic_alone(max(point.num_envs, 64), least)


def _classic_alone(copies: int, least: float) -> float:
    """The kernels' step called directly: no tensors are made."""
    import torch

    from proximo.config.experiment import EnvConfig
    from proximo.core.engines.native import classic
    from proximo.envs.classic import BatchClassic

    env = BatchClassic(EnvConfig(id="CartPole-v1"), copies, torch.device("cpu"))
    env.reset(0)
    actions = torch.randint(2, (64, copies), generator=torch.Generator().manual_seed(0))
    out = [
        torch.empty(copies, 4),
        torch.empty(copies),
        *(torch.empty(copies, dtype=torch.bool) for _ in range(2)),
    ]
    out += [torch.empty(copies, 4), torch.empty(copies, dtype=torch.int64)]
    addresses = [tensor.data_ptr() for tensor in out]
    step, struct = classic.kernels().proximo_classic_step, env._address
    rows = [row.data_ptr() for row in actions]

    def pass_once() -> None:
        for row in rows:
            step(struct, row, None, *addresses)

    return seconds_each(pass_once, least) / len(rows) / copies


def summary(row: dict[str, Any], peak_gflops: float) -> dict[str, float]:
    """Microseconds a step: measured, floor and its parts; share of the peak that the arithmetic alone would need."""
    env, arithmetic = median(row["env_seconds_a_step"]), row["flops_a_step"] / (peak_gflops * 1e9)
    seconds = median(row["seconds_a_step"])
    return {
        "value": row["point"][row["point"]["swept"]],
        "speed": 1 / seconds,
        "us": 1e6 * seconds,
        "env": 1e6 * env,
        "arithmetic": 1e6 * arithmetic,
        "floor_speed": 1 / (env + arithmetic),
        "share": (env + arithmetic) / seconds,
    }


def render(found: dict[str, Any]) -> str:
    """The page."""
    parts = [
        "# How cost grows",
        "Written by `benchmarks/scaling.py`.",
        provenance(found, f", torch {found['versions']['torch']}"),
        f"Whole iterations of the training loop (collect, estimate, learn), engine native, medians of {_rounds(found)} "
        "interleaved rounds.\nFloor: the environment alone (CartPole: its kernel, 64 copies at least) plus the "
        "arithmetic of acting, valuing and\nlearning (products of the layers, Adam) at the peak of one core, "
        f"**{found['peak_gflops']:.0f} GFLOP/s**, measured with {found['peak_by']}.\nActivations, losses, draws and "
        "copies are not in it, so small networks cannot come near.",
        "![Steps per second against environments, width, observation size and minibatch](scaling.svg)",
    ]
    for name, rows in found["sweeps"].items():
        point = rows[0]["point"]
        parts.append(
            f"## {name.capitalize()}\n\n{_setting(point)}\n\n" + "\n".join(_table(name, rows, found))
        )
    return "\n\n".join(parts) + "\n"


def _setting(point: dict[str, Any]) -> str:
    words = {
        "num_envs": f"{point['num_envs']} environments × {point['num_steps']} steps",
        "width": "64 × 64 tanh actor and critic"
        if point["width"] == 64
        else f"two layers of {point['width']}",
        "obs": f"{point['obs']} observations",
        "minibatch": f"minibatch {point['minibatch']}",
    }
    if point["swept"] == "num_envs":
        words["num_envs"] = "4,096 steps an iteration, 8 of each environment at least"
    elif point["swept"] in words:
        del words[point["swept"]]
    return f"{point['env']}: {', '.join(words.values())}, {point['epochs']} epochs."


def _table(name: str, rows: list[dict[str, Any]], found: dict[str, Any]) -> Iterator[str]:
    lines = []
    for row in rows:
        one = summary(row, found["peak_gflops"])
        shares = ", ".join(f"{key} {100 * share:.0f} %" for key, share in row["phases"].items())
        lines.append(
            [
                f"{one['value']:,}", f"{one['speed']:,.0f}", f"{one['us']:.2f}", f"{one['env']:.3f}",
                f"{one['arithmetic']:.2f}", f"{one['floor_speed']:,.0f}", f"{100 * one['share']:.0f} %", shares,
            ]
        )  # fmt: skip
    heads = [
        name,
        "steps/s",
        "µs a step",
        "environment µs",
        "arithmetic µs",
        "floor steps/s",
        "floor/measured",
        "phases",
    ]
    return markdown(heads, lines)


def _rounds(found: dict[str, Any]) -> int:
    return len(next(iter(found["sweeps"].values()))[0]["seconds_a_step"])


def plot(found: dict[str, Any], path: Path) -> None:
    """Four panels, both axes logarithmic, as SVG."""
    from scaling_plot import draw

    panels = {
        name: [summary(row, found["peak_gflops"]) for row in rows] for name, rows in found["sweeps"].items()
    }
    path.write_text(draw(panels), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
