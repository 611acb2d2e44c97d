"""When does a strategic therapist beat a complementary one? A grid of scripted ones, then learnt ones in some cells.

    python benchmarks/therapy_question.py grid    # scripted therapists in every cell: results/therapy_grid.json
    python benchmarks/therapy_question.py learn   # learnt ones in CELLS: results/therapy_question.jsonl
    python benchmarks/therapy_question.py table   # both as Markdown, and the pictures

Learnt therapists begin from scratch, by PPO alone and without demonstrations. `sees` is shown what every agent is:
the history; `knows` also U, bond and memory. The final policy treats the same clients as complement does, on seeds
that no training and no choice of settings has used. What has a row with the same settings is not run again;
`--only 0-sees 1-knows` trains these arms in the cells of these numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import therapy_grid
from jobs import ROOT, Job, Row, append_row, markdown, parser, read_rows, run_jobs, write_result
from therapy_grid import described, points
from therapy_picture import write

from proximo.envs.hashing import Ints
from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.octants import CODES, COMPLEMENT, OCTANTS
from proximo.envs.therapy.parameters import Parameters, parameters_of
from proximo.envs.therapy.therapists import Therapist

CONFIG = ROOT / "configs" / "learn.yaml"
PICTURE = ROOT / "benchmarks" / "therapy_question.svg"
CLIENTS = 4000
_COLD = {"mechanism": "frequency_amplifier", "patterns": ["cold_stuck"]}
_FIVE = list(Parameters().patterns)
CELLS: tuple[dict[str, Any], ...] = (
    {**_COLD, "bond_offset": 0.5, "threshold": 0.9},
    {**_COLD, "baseline_accuracy": 0.8, "threshold": 0.8},
    {
        "mechanism": "bond_weighted_frequency_amplifier",
        "patterns": ["dominant_stuck"],
        "bond_offset": 0.5,
        "threshold": 0.9,
    },
    {**_COLD, "threshold": 0.7},
    {"mechanism": "conditional_amplifier", "patterns": ["conflictual"], "bond_offset": 0.5, "threshold": 0.8},
    {**_COLD, "bond_offset": 0.9, "threshold": 0.7},
    {"mechanism": "bond_only", "patterns": _FIVE, "bond_offset": 0.5, "threshold": 0.7},
    {**_COLD, "patterns": _FIVE, "threshold": 0.8},
)
"""Where learnt therapists try: where the grid says that there is something to be had, and default clients."""
ARMS: dict[str, dict[str, Any]] = {"sees": {"gae_lambda": 0.97}, "knows": {"use_omniscient_wrapper": True}}
"""What a learnt therapist is shown: the history, or also U, bond and what the client remembers.

What pays without U pays late, so that its arm looks further ahead; what U tells pays at once.
"""
SETTINGS: dict[str, Any] = {
    "total_timesteps": 9_000_000,
    "perception_episodes": 6000,
    "learning_rate": 0.003,
    "settings": ["ppo.lr_schedule=linear", "ppo.entropy_schedule=linear", "policy.normalize_obs=true"],
}
"""What is changed of the committed configuration. Each of them was needed: see benchmarks/README.md."""
SEEDS = (0, 1, 2)


def settings(cell: dict[str, Any], arm: str) -> dict[str, Any]:
    """The flat configuration of a training, without what is as by default (so that new fields change no digest)."""
    from proximo.recipes.therapy_config import get_default_config, load_config

    values = {**asdict(load_config(CONFIG)), **SETTINGS, **cell, **ARMS[arm]}
    defaults = {**asdict(get_default_config()), "experiment_name": values["experiment_name"]}
    return {name: value for name, value in values.items() if value != defaults[name]}


def digest(cell: dict[str, Any], arm: str) -> str:
    """Short name of the settings."""
    return hashlib.sha256(json.dumps(settings(cell, arm), sort_keys=True).encode()).hexdigest()[:10]


class Answers:
    """A therapist whose answers to clients still in treatment are counted, `[8, 8]`: client's octant, answer."""

    def __init__(self, acts: Therapist, threshold: float) -> None:
        self.acts, self.threshold = acts, threshold
        self.counts = np.zeros((OCTANTS, OCTANTS), np.int64)

    def __call__(self, clients: Clients) -> Ints:
        """Octants `[N]`."""
        octants = self.acts(clients)
        if (clients.session == 0).all():
            self._running = np.ones(clients.count, np.bool_)
        self._running &= clients.progress < self.threshold
        np.add.at(self.counts, (clients.action[self._running], octants[self._running]), 1)
        return octants


def work(index: int, arm: str, seed: int, folder: Path) -> int:
    """One training and its judgement, in this process."""
    from proximo.recipes import therapy
    from proximo.recipes.therapy_config import resolve
    from proximo.recipes.therapy_judge import FIRST_SEED, Cell, judge, summary, therapists

    cell = CELLS[index]
    places = {name: str(folder / name[:-4]) for name in ("output_dir", "log_dir", "runs_dir")}
    result = therapy.start(resolve(None, {**settings(cell, arm), **places, "seed": seed}))
    if result.status != "finished":
        return 1
    clients = parameters_of(cell)
    seeds = np.arange(FIRST_SEED, FIRST_SEED + CLIENTS)
    (agent,) = therapists([places["output_dir"] + "/policy_final"], []).values()
    learnt = Answers(agent, clients.threshold)
    who: dict[str, Therapist] = {"learnt": learnt, **therapy_grid.WHO}
    results = {name: judge(acts, seeds, clients) for name, acts in who.items()}
    compared = Cell("", clients.mechanism, clients.threshold, results)
    row = {
        "cell": cell,
        "arm": arm,
        "seed": seed,
        "settings": digest(cell, arm),
        "steps": result.step,
        "return_mean": result.return_mean,
        "judged": {name: summary(name, one) for name, one in results.items()},
        "difference": {name: compared.difference(name, "complement") for name in who if name != "complement"},
        "answers": learnt.counts.tolist(),
    }
    write_result(folder, row, ("torch", "numpy", "gymnasium"))
    return 0


def learn(args: argparse.Namespace) -> None:
    """Train what is missing, one seed after the other, so that every cell has a row early."""
    known = {(row.get("settings"), row["seed"]) for row in read_rows(args.out)}
    jobs = []
    for seed, (index, cell), arm in itertools.product(args.seeds or SEEDS, enumerate(CELLS), ARMS):
        name = digest(cell, arm)
        if (name, seed) in known or f"{index}-{arm}" not in (args.only or [f"{index}-{arm}"]):
            continue
        folder = (args.work / "question" / f"{name}-{seed}").resolve()
        words = [sys.executable, str(Path(__file__).resolve()), "--worker", str(index), arm, str(seed)]
        jobs.append(Job(f"{titled(cell)}, {arm}, seed {seed}", [*words, str(folder)], folder))
    run_jobs(jobs, args.jobs, args.time_limit, lambda row: append_row(args.out, row))


def titled(cell: dict[str, Any]) -> str:
    """A cell in words."""
    return f"{described(cell)}, threshold {cell['threshold']:g}"


def report(rows: Sequence[Row]) -> str:
    """Learnt therapists, a line per cell and arm, then what they answer; draws the picture too."""
    mine = {(row.get("settings"), row["seed"]): row for row in rows}
    found = [
        (cell, arm, [mine[key] for seed in range(1000) if (key := (digest(cell, arm), seed)) in mine])
        for cell, arm in itertools.product(CELLS, ARMS)
    ]
    found = [(cell, arm, some) for cell, arm, some in found if some]
    if not found:
        return ""
    draw(found)
    header = ["cell", "complement %", "omniscient − complement", "warmer − complement", "arm", "learnt %"]
    table = markdown([*header, "learnt − complement, a seed each", ""], [_line(*one) for one in found])
    answers = markdown(
        ["cell", "arm", "answers to clients in treatment other than the complement (all seeds)"],
        [[titled(cell), arm, _answers(some)] for cell, arm, some in found],
    )
    return "\n\n".join(["\n".join(table), "\n".join(answers)])


def _line(cell: dict[str, Any], arm: str, rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    base = _interval(first["judged"]["complement"])
    learnt = [_interval(row["judged"]["learnt"]) for row in rows]
    differences = [row["difference"]["learnt"] for row in rows]
    if all(low > 0 for _, low, _ in differences):
        said = "**above, apart**" if all(low > base[2] for _, low, _ in learnt) else "above"
    else:
        said = "below" if all(high < 0 for _, _, high in differences) else ""
    return [
        titled(cell),
        "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * value for value in base)),
        *(points(first["difference"][name]) for name in ("omniscient", "warmer")),
        arm,
        " / ".join(f"{100 * mean:.1f}" for mean, _, _ in learnt),
        "; ".join(points(one) for one in differences),
        said,
    ]


def _interval(judged: Row) -> tuple[float, float, float]:
    """A success rate and its 95 % interval, after Wilson 1927."""
    rate, n, z = judged["success_rate"], judged["clients"], 1.959964
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return rate, middle - half, middle + half


def _answers(rows: Sequence[Row]) -> str:
    """Which other answers than the complement an octant got in a tenth of its sessions or more."""
    counts = np.sum([row["answers"] for row in rows], axis=0)
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    said = [
        f"{CODES[shown]}: {CODES[answer]} {100 * share[shown, answer]:.0f} %"
        for shown, answer in itertools.product(range(OCTANTS), repeat=2)
        if answer != COMPLEMENT[shown] and share[shown, answer] >= 0.1
    ]
    return ", ".join(said) or "none"


LEGEND = {
    "sees": "learnt, sees the history",
    "knows": "learnt, knows U",
    "omniscient": "scripted, knows U",
    "warmer": "scripted, warmer",
}


def draw(found: Sequence[tuple[dict[str, Any], str, Sequence[Row]]]) -> None:
    """The picture: a band per cell, complement being the line at 0."""
    lines: list[tuple[str, str, Any]] = []
    for _, group in itertools.groupby(found, key=lambda one: titled(one[0])):
        arms = list(group)
        title = titled(arms[0][0])
        lines += [(title, arm, row["difference"]["learnt"]) for _, arm, rows in arms for row in rows]
        lines += [(title, name, arms[0][2][0]["difference"][name]) for name in ("omniscient", "warmer")]
    write(PICTURE, lines, LEGEND, f"success minus complement’s, points (same {CLIENTS:,} clients, 95 %)")


def main() -> int:
    """Do what was asked for."""
    args = parser(__doc__ or "", "therapy_question.jsonl")
    args.formatter_class = argparse.RawDescriptionHelpFormatter
    args.add_argument("what", nargs="?", choices=("grid", "learn", "table"), default="table")
    args.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = args.parse_args()
    if given.worker:
        index, arm, seed, folder = given.worker
        return work(int(index), arm, int(seed), Path(folder))
    if given.what == "grid":
        therapy_grid.grid()
    elif given.what == "learn":
        learn(given)
    print("\n\n".join(part for part in (therapy_grid.report(), report(read_rows(given.out))) if part))
    return 0


if __name__ == "__main__":
    sys.exit(main())
