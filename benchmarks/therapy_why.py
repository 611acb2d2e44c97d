"""Why a strategic therapist beats complement, or not: what clients misperceive, and what their history tells of U.

    python benchmarks/therapy_why.py    # both tables; results/therapy_why.json

*Misperceived*: per therapist, which share of its sessions clients are warm (WD, W, WS) or cold (CS, C, CD), and what
the pairs are worth to them that they perceive truly and out of habit. *Told*: a network learns, from all that an agent
is shown and from counts over the whole treatment, the client's worth of every answer to the octant it shows; then new
clients are answered by the highest estimate. How much more than the complement is that worth, of what U would allow?
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from jobs import ROOT, markdown
from therapy_grid import described, warmer

from proximo.envs.therapy.clients import Clients
from proximo.envs.therapy.octants import COMPLEMENT, OCTANTS, UTILITY_LOW
from proximo.envs.therapy.parameters import parameters_of
from proximo.envs.therapy.summary import seen
from proximo.envs.therapy.therapists import THERAPISTS

RESULTS = ROOT / "benchmarks" / "results" / "therapy_why.json"
COLD = {"mechanism": "frequency_amplifier", "patterns": ["cold_stuck"]}
CELLS: tuple[dict[str, Any], ...] = (
    {**COLD, "bond_offset": 0.5},
    COLD,
    {**COLD, "baseline_accuracy": 0.8},
    {**COLD, "mechanism": "conditional_amplifier", "baseline_accuracy": 0.8},
    {**COLD, "entropy": 10.0},
)
WHO = {"complement": THERAPISTS["complement"], "warmer": warmer, "omniscient": THERAPISTS["omniscient"]}
GROUPS = {"warm": (1, 2, 3), "cold": (5, 6, 7)}
COUNT, SEED = 3000, 22_000_000
LEARNT_FROM, EVERY, CLOSE, PROBES = 15_000, 3, 15.0, 0.3
"""Clients, and of their sessions one in so many; answers this close to the best on average are tried this often."""


def endless(cell: dict[str, Any], count: int, seed: int) -> Clients:
    """Clients whose treatment ends with the sessions only."""
    clients = Clients(count, parameters_of({**cell, "threshold": 1.0, "dropout_session": 0}))
    clients.begin(np.arange(seed, seed + count))
    return clients


def misperceived(cell: dict[str, Any], name: str) -> dict[str, list[float]]:
    """Per group of octants: share of sessions, mean worth of pairs perceived truly, and out of habit."""
    clients, act = endless(cell, COUNT, SEED), WHO[name]
    sums = {group: np.zeros((2, 2)) for group in GROUPS}
    sessions = clients.parameters.max_sessions
    for _ in range(sessions):
        shown = clients.action.copy()
        outcome = clients.step(act(clients))
        worth = clients.utility[np.arange(COUNT), shown, outcome.perceived]
        for group, octants in GROUPS.items():
            for column, truly in enumerate((True, False)):
                some = np.isin(shown, octants) & ((outcome.perceived == outcome.therapist) == truly)
                sums[group][:, column] += some.sum(), worth[some].sum()
    return {
        group: [float(n.sum()) / (COUNT * sessions), *(float(x) for x in w / np.maximum(1, n))]
        for group, (n, w) in sums.items()
    }


def treated(cell: dict[str, Any], count: int, seed: int, probes: float) -> tuple[Any, Any, Any]:
    """What is seen `[S, F]`, what every answer is worth `[S, 8]`, the octant shown `[S]`, under complement."""
    clients, rng, rows = endless(cell, count, seed), np.random.default_rng(seed), np.arange(count)
    pairs, moves = (np.zeros((count, OCTANTS**2), np.float32) for _ in range(2))
    seen_all, worth_all, shown_all = [], [], []
    close = UTILITY_LOW.max(axis=1, keepdims=True) - CLOSE < UTILITY_LOW
    for session in range(clients.parameters.max_sessions):
        shown = clients.action.copy()
        if session % EVERY == EVERY - 1:
            seen_all.append(np.concatenate([seen(clients), pairs / 20, moves / 20], axis=1))
            worth_all.append(clients.utility[rows, shown])
            shown_all.append(shown)
        other = (close[shown] * rng.random((count, OCTANTS))).argmax(axis=1)
        answer = np.where(rng.random(count) < probes, other, COMPLEMENT[shown])
        clients.step(answer)
        pairs[rows, OCTANTS * shown + answer] += 1
        moves[rows, OCTANTS * shown + clients.action] += 1
    return np.concatenate(seen_all), np.concatenate(worth_all), np.concatenate(shown_all)


def told(cell: dict[str, Any], probes: float) -> dict[str, float]:
    """What answering by the estimate is worth, in points of utility per session above the complement."""
    torch.manual_seed(0)
    features, worth, shown = treated(cell, LEARNT_FROM, SEED + COUNT, probes)
    middle, half = UTILITY_LOW + 10, 10 / 3**0.5
    target = torch.tensor((worth - middle[shown]) / half, dtype=torch.float32)
    inputs = torch.tensor(features)
    width = 128
    net = torch.nn.Sequential(
        *(torch.nn.Linear(inputs.shape[1], width), torch.nn.ReLU()),
        *(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, OCTANTS)),
    )
    optimiser = torch.optim.Adam(net.parameters())
    for rate in (1e-3, 5e-4, 1e-4):
        optimiser.param_groups[0]["lr"] = rate
        for rows in torch.randperm(len(inputs)).split(1024):
            optimiser.zero_grad()
            (net(inputs[rows]) - target[rows]).square().mean().backward()
            optimiser.step()
    features, worth, shown = treated(cell, COUNT, SEED + COUNT + LEARNT_FROM, probes)
    with torch.no_grad():
        guess = net(torch.tensor(features)).numpy() * half + middle[shown]
    rows = np.arange(len(shown))
    complement = worth[rows, COMPLEMENT[shown]]
    explained = 1 - ((guess - worth) ** 2).mean() / ((middle[shown] - worth) ** 2).mean()
    return {
        "explained": float(explained),
        "told": float((worth[rows, guess.argmax(axis=1)] - complement).mean()),
        "there": float((worth.max(axis=1) - complement).mean()),
    }


def main() -> int:
    """Make and print both tables."""
    found: list[dict[str, Any]] = []
    first, second = [], []
    for cell in CELLS:
        row = {"cell": cell, "misperceived": {name: misperceived(cell, name) for name in WHO}}
        row["told"] = {str(probes): told(cell, probes) for probes in (0.0, PROBES)}
        found.append(row)
        for name, groups in row["misperceived"].items():
            words = [
                f"{100 * share:.0f} %, {truly:.1f}, {habit:.1f}" for share, truly, habit in groups.values()
            ]
            first.append([described(cell), name, *words])
        for probes, one in row["told"].items():
            numbers = [f"{one['explained']:.3f}", f"{one['told']:+.3f}", f"{one['there']:+.2f}"]
            second.append([described(cell), f"{100 * float(probes):.0f} %", *numbers])
        print(described(cell), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    what = "share of sessions, worth truly, worth out of habit"
    print("\n".join(markdown(["cell", "therapist", *(f"{group}: {what}" for group in GROUPS)], first)))
    header = ["cell", "probing answers", "of U’s variance explained", "worth of the estimate’s best answer"]
    print("\n".join(markdown([*header, "worth of the best answer"], second)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
