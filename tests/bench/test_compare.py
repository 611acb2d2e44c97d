"""The speed comparison: that it measures, sums up and writes; never how fast anything is."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proximo.bench import compare, peers, workloads
from proximo.bench.measure import measure
from proximo.bench.memory import held
from proximo.bench.table import render
from proximo.cli.main import main
from proximo.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"of_training", "after_start_up", "of_whole", "start_up", "memory_mib"}


def row(speed: float, start_up: float = 1.0, memory: float = 100.0) -> dict[str, Any]:
    return {
        "of_training": speed,
        "after_start_up": speed,
        "of_whole": speed / 2,
        "start_up": start_up,
        "memory_mib": memory,
    }


def test_the_harness_measures_both_sides_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    words = [
        "bench",
        "--workloads",
        "W1-sync",
        "--peers",
        "cleanrl",
        "--repeats",
        "1",
        "--steps-scale",
        "0.005",
    ]
    assert main([*words, "ppo.epochs=1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "CartPole-v1, 8 environments × 128 steps, 4 epochs, minibatch 256" in printed
    assert "only here: ppo.epochs=1" in printed
    found = json.loads(out.read_text())
    assert {"date", "command", "machine", "peers", "workloads"} <= set(found)
    assert {"processor", "cores", "versions"} <= set(found["machine"])
    result = found["workloads"]["W1-sync"]
    assert result["settings"]["overrides"] == ["ppo.epochs=1"]
    for name in ("proximo", "cleanrl"):
        measured = result["rows"][name][0]
        assert measured["steps"] == 2048
        assert measured["whole"] > measured["training"] > 0
        assert measured["whole"] > measured["start_up"] > 0
        assert measured["memory_mib"] > 50
        assert set(result["medians"][name]) == {*KEYS, "count"}
    assert result["rows"]["proximo"][0]["updates"] == 2
    assert result["rows"]["proximo"][0]["backend"] == "sync"
    assert set(result["ratios"]) == KEYS
    assert all(0 < ratio["low"] <= ratio["high"] for ratio in result["ratios"].values())


def test_ratios_are_of_medians_with_the_spread_of_pairs() -> None:
    rows = {
        "proximo": [row(100, 1.0), row(120, 2.0), row(80, 3.0)],
        "slow": [row(10, 0.5), row(10, 0.5), row(10, 0.5)],
        "fast": [row(20, 4.0), row(40, 4.0), row(10, 4.0)],
    }
    found = compare.ratios(rows, ["slow", "fast"])
    # Fastest by its median, 20; pairs 100/20, 120/40, 80/10.
    assert found["of_training"] == {"peer": "fast", "ratio": 5.0, "low": 3.0, "high": 8.0}
    # Start-up: less is better, so the best peer is the one with the smallest median.
    assert found["start_up"] == {"peer": "slow", "ratio": 4.0, "low": 2.0, "high": 6.0}


def test_peers_outside_of_pytorch_do_not_count_and_failed_ones_neither() -> None:
    rows = {"proximo": [row(100)], "jax": [row(1000)], "broken": [{"error": "no"}], "fast": [row(50)]}
    assert compare.ratios(rows, ["broken", "fast"])["of_training"]["peer"] == "fast"
    assert compare.ratios(rows, ["broken"]) == {}
    assert not peers.PEERS["jax"].torch


def test_rounds_are_interleaved_and_a_failed_side_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def fake(command: list[str], threads: int, timeout: float) -> dict[str, Any]:
        name = "proximo" if "-m" in command else Path(command[1]).stem
        calls.append(name)
        return {"error": "broken"} if name == "sb3_peer" else row(1.0)

    monkeypatch.setattr(compare, "measure", fake)
    sides = [peers.PEERS["sb3"], peers.PEERS["cleanrl"], peers.PEERS["rsl_rl"]]
    plan = compare.Plan([workloads.WORKLOADS["W1"]], sides, ROOT, sys.executable, 2)
    found = compare.run(plan, lambda text: None)["W1"]
    # rsl_rl has no discrete actions; sb3 failed in the first round.
    assert calls == ["proximo", "sb3_peer", "cleanrl_style", "proximo", "cleanrl_style"]
    assert found["medians"]["sb3_peer".removesuffix("_peer")] == {"error": "broken"}


def test_a_failed_side_is_shown_in_the_table() -> None:
    workload = workloads.WORKLOADS["W1"]
    rows = {
        "proximo": [row(100) | {"engine": "native", "backend": "sync"}],
        "sb3": [{"error": "out of luck"}],
    }
    medians = {name: compare.medians(found) for name, found in rows.items()}
    result = {"settings": workload.as_dict(), "rows": rows, "medians": medians, "ratios": {}}
    assert "failed: out of luck" in render(workload, result)


def test_a_process_that_fails_or_hangs_is_told_with_its_reason() -> None:
    crash = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    assert measure(crash, 1, 30) == {"error": "no such thing"}
    silent = [sys.executable, "-c", "print('hello')"]
    assert "did not end with a JSON line" in measure(silent, 1, 30)["error"]
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert measure(hang, 1, 0.5) == {"error": "took longer than 0.5 s"}


def test_memory_is_of_the_whole_tree() -> None:
    pytest.importorskip("psutil")
    hungry = "import time; x = bytearray(200_000_000); time.sleep(1.5)"
    line = "{'steps': 1, 'first_update_steps': 1, 'called_at': 0, 'first_update_at': 0, 'ended_at': 1, 'memory_mib': 1}"
    code = f"import json, subprocess, sys; subprocess.run([sys.executable, '-c', {hungry!r}])\n"
    code += f"print(json.dumps({line}))"
    found = measure([sys.executable, "-c", code], 1, 60)
    assert found["memory_of"] == "tree"
    assert 190 < found["memory_mib"] < 500


def smaps(*mappings: tuple[str, int, int, int]) -> str:
    """(name, inode, Rss, Pss) in kB as Linux tells them."""
    entry = "7f0000-7f1000 r-xp 00000000 fe:01 {1:<10} {0}\nSize: 9 kB\nRss:   {2} kB\nPss:   {3} kB\nVmFlags: rd ex\n"
    return "".join(entry.format(*mapping) for mapping in mappings)


def test_what_other_programs_share_counts_in_full_and_what_the_tree_shares_once() -> None:
    torch = ("/lib/libtorch.so", 7)
    # A third process, not of this tree, maps the library too: its proportional size is a third of 600.
    parent = smaps((*torch, 400, 134), (*torch, 200, 66), ("[heap]", 0, 50, 50))
    child = smaps((*torch, 500, 166), ("", 0, 30, 30), ("/tmp/game.so (deleted)", 8, 3, 3))
    assert held([parent, child]) == 1024 * (600 + 50 + 30 + 3)
    assert held([child]) == 1024 * (500 + 30 + 3)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux has it")
def test_a_process_alone_holds_what_it_has_resident() -> None:
    psutil = pytest.importorskip("psutil")
    assert held([Path("/proc/self/smaps").read_text()]) == pytest.approx(
        psutil.Process().memory_info().rss, rel=0.1
    )


def test_scaled_workloads_are_whole_rollouts() -> None:
    w1 = workloads.WORKLOADS["W1"]
    assert w1.scaled(1.0).total_steps == 196 * 1024
    assert w1.scaled(1e-9).total_steps == 2 * 1024
    assert w1.scaled(0.1).total_steps == 20 * 1024


def test_every_workload_is_a_valid_experiment_of_the_same_numbers() -> None:
    from proximo.bench.worker import settings
    from proximo.config.load import load_experiment

    for workload in workloads.WORKLOADS.values():
        exp = load_experiment(settings(workload.as_dict(), "runs"), workload.overrides)
        assert exp.env.num_envs * exp.ppo.num_steps == workload.rollout
        assert (exp.ppo.epochs, exp.ppo.minibatch_size) == (workload.epochs, workload.minibatch)
        assert exp.ppo.learning_rate == workload.learning_rate
        assert exp.policy.normalize_obs == exp.ppo.normalize_reward == workload.normalize
        assert exp.eval.num_evals == 0
        assert exp.track == ()


def test_networks_of_the_peers_are_proximos(monkeypatch: pytest.MonkeyPatch) -> None:
    from proximo.bench.worker import settings
    from proximo.build import build_policy
    from proximo.config.load import load_experiment
    from proximo.envs.make import make_env

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "peers"))
    import cleanrl_style
    import torch

    for name, env_id in (("W1", "CartPole-v1"), ("W5", "MountainCarContinuous-v0")):
        workload = replace(workloads.WORKLOADS[name], env=env_id)
        exp = load_experiment(settings(workload.as_dict(), "runs"))
        env = make_env(exp.env, num_envs=1)
        ours = build_policy(exp, env.spec, torch.device("cpu"))
        inputs = env.spec.obs_spaces["obs"].shape[0]
        theirs = cleanrl_style.Agent(inputs, env.spec.action_space, workload)
        shapes = [sorted(tuple(p.shape) for p in side.parameters()) for side in (ours, theirs)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--workloads", "W9"], "W9: no such workload; there are W1"),
        (["--peers", "sb4"], "sb4: no such peer; there are sb3"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--out", "/no/such/folder/x.json"], "there is no folder"),
        (["CartPole-v1"], "`bench env CartPole-v1`"),
        (["env"], "name an environment"),
        (["--python", "/no/such/python"], "does not run"),
    ],
)
def test_mistakes_are_one_line(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_a_peer_that_is_not_installed_is_named_with_its_cure() -> None:
    with pytest.raises(UserError, match=r"pip install skrl"):
        peers.choose(["skrl"], {})
    chosen, absent = peers.choose(None, {"skrl": "2.1.1"})
    assert [peer.name for peer in chosen] == ["cleanrl", "skrl"]
    assert any("stable-baselines3" in line for line in absent)
    assert peers.choose(["none"], {}) == ([], [])


def test_a_workload_that_cannot_run_here_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"mujoco", "ale_py"}
    monkeypatch.setattr(workloads.importlib.util, "find_spec", lambda name: name if name in there else None)
    chosen, absent = workloads.choose(None)
    assert [workload.name for workload in chosen] == ["W1", "W1-sync", "W2a", "W2b", "W4", "W5"]
    assert absent == ["W3: minihack is not installed: pip install 'proximo[nethack]'"]
    with pytest.raises(UserError, match=r"W3: minihack is not installed"):
        workloads.choose(["W1", "W3"])


def test_bench_help_needs_no_torch() -> None:
    code = "import sys, proximo.cli.bench, proximo.bench.workloads, proximo.bench.compare, proximo.bench.measure\n"
    code += "assert 'torch' not in sys.modules and 'psutil' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
