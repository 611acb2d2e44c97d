"""The speed table: bars, ratios, start-up and memory from what `proximo bench --out` wrote.

    proximo bench --python PEERS/bin/python --peers sb3 skrl --workloads W1 … --out benchmarks/results/speed.json
    python benchmarks/speed_table.py benchmarks/results/speed*.json

Writes `benchmarks/speed.md`. A workload that is in several files is taken from the last one named.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jobs import ROOT, markdown

BARS = {
    "W1": 10.0,
    "W1-vector": 7.5,
    "W1-sync": 5.5,
    "W2a": 5.0,
    "W2a-64": 8.0,
    "W2b": 2.3,
    "W2b-64": 3.5,
    "W3": 1.6,
    "W4": 1.4,
    "W5": 1.3,
}
OUT = ROOT / "benchmarks" / "speed.md"


def main() -> int:
    """Write the page; 0 if every bar is reached, start-up and memory included."""
    files = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    if not files:
        sys.exit("name the JSON files that proximo bench --out wrote")
    found = {name: (result, file) for file in files for name, result in file["workloads"].items()}
    ordered = [name for name in BARS if name in found] + [name for name in found if name not in BARS]
    rows = [_row(name, found[name][0]) for name in ordered]
    header = ["workload", "Proximo", "peers", "ratio to the fastest (pairs)", "bar", "reached"]
    header += ["start-up s, ratio to the quickest", "memory MiB, ratio to the smallest"]
    OUT.write_text(
        "\n".join([*_head(files), *markdown(header, rows), "", *_settings(found, ordered)]), encoding="utf-8"
    )
    print(OUT.read_text(encoding="utf-8"))
    return 0 if all(row[5] != "no" for row in rows) else 1


HEAD = """# Speed

Written by `benchmarks/speed_table.py`. Environment steps per second of the training call, medians; each side in a
process of its own, in turn within one run, one PyTorch thread (W4: all cores). A ratio is Proximo's median over
that of the fastest PyTorch peer; in brackets the range over the pairs of one round. Start-up is from the command to
the end of the first update, memory the peak of the process tree.
"""


def _head(files: list[dict[str, Any]]) -> list[str]:
    lines = [HEAD]
    for file in files:
        machine = file["machine"]
        told = " ".join(Path(word).name if word.startswith("/") else word for word in file["command"][1:])
        names = ", ".join(f"{name} {version}" for name, version in file["peers"].items())
        commit = (machine["git"] or {}).get("commit", "")[:12]
        where = f"{machine['processor']}, {machine['cores']} cores, {file['repeats']} rounds"
        day, torch = file["date"][:10], file["peers_torch"]
        lines.append(f"- `proximo {told}`, {day}, commit {commit}, {where}, torch {torch}; {names}.")
    return [*lines, ""]


def _row(name: str, result: dict[str, Any]) -> list[str]:
    medians, ratios = result["medians"], result["ratios"]
    peers = {peer: side for peer, side in medians.items() if peer != "proximo" and "error" not in side}
    speed, bar = ratios["of_training"], BARS.get(name)
    reached = "" if bar is None else "yes" if speed["ratio"] >= bar else "no"
    return [
        name,
        f"{medians['proximo']['of_training']['median']:,.0f}",
        ", ".join(f"{peer} {side['of_training']['median']:,.0f}" for peer, side in peers.items()),
        f"**{speed['ratio']:.2f}** ({speed['low']:.2f}–{speed['high']:.2f})",
        "" if bar is None else f"≥ {bar:g}",
        reached,
        _less(medians, ratios, "start_up", "{:.2f}"),
        _less(medians, ratios, "memory_mib", "{:.0f}"),
    ]


def _less(medians: dict[str, Any], ratios: dict[str, Any], quantity: str, form: str) -> str:
    return f"{form.format(medians['proximo'][quantity]['median'])}, {ratios[quantity]['ratio']:.2f}"


def _settings(found: dict[str, tuple[dict[str, Any], dict[str, Any]]], ordered: list[str]) -> list[str]:
    sys.path.insert(0, str(ROOT / "src"))
    from proximo.bench.workloads import Workload

    lines = ["## Workloads", ""]
    for name in ordered:
        result = found[name][0]
        given = result["settings"]
        own = result["rows"]["proximo"][0]
        only = f"; Proximo alone: {' '.join(given['overrides'])}" if given["overrides"] else ""
        made = Workload(**{**given, "overrides": tuple(given["overrides"]), "hidden": tuple(given["hidden"])})
        lines.append(
            f"- **{name}**: {made}. Proximo: engine {own['engine']}, env.backend {own['backend']}{only}."
            f"{_differences(result['rows'])}"
        )
    return [*lines, ""]


def _differences(rows: dict[str, list[dict[str, Any]]]) -> str:
    """What peers cannot do as the others do, in their own words."""
    told = [f"{peer}: {found[0]['differs']}" for peer, found in rows.items() if found[0].get("differs")]
    return f" Differs, for want of a setting, {'. '.join(told)}." if told else ""


if __name__ == "__main__":
    sys.exit(main())
