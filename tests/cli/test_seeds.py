"""Several seeds with one command: which seeds, how many at a time, and what comes out."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proximo.cli import seeds
from proximo.cli.seeds import Plan, split
from proximo.config.load import load_experiment
from proximo.errors import UserError


@pytest.mark.parametrize(
    ("items", "plan", "rest"),
    [
        (["a=1", "seed=3"], None, ["a=1", "seed=3"]),
        (["seeds=3", "a=1"], Plan((0, 1, 2), 1), ["a=1"]),
        (["seeds=2", "seed=10", "jobs=4"], Plan((10, 11), 4), []),
        (["seeds=[5, 3]", "jobs=2"], Plan((5, 3), 2), []),
    ],
)
def test_seeds_and_jobs_are_taken_out(items: list[str], plan: Plan | None, rest: list[str]) -> None:
    assert split(items) == (plan, rest)


@pytest.mark.parametrize(
    "item", ["seeds=0", "seeds=x", "seeds=[]", "seeds=[1, 1]", "seeds=[-1]", "seeds=1.5", "jobs=0"]
)
def test_wrong_seeds_are_named(item: str) -> None:
    with pytest.raises(UserError, match=re.escape(item)):
        split([item, "seeds=2"] if item.startswith("jobs") else [item])


def test_all_seeds_share_a_group_unless_one_is_configured() -> None:
    experiment = load_experiment("X-v0", ["track=[wandb, tensorboard]", "name=abc"])
    (setting,) = seeds._grouped(experiment)
    again = load_experiment("X-v0", ["track=[wandb, tensorboard]", "name=abc", setting])
    assert again.track[0].group.startswith("abc-")  # type: ignore[union-attr]
    assert again.track[1] == experiment.track[1]
    assert seeds._grouped(load_experiment("X-v0", ["track=[{type: wandb, group: g}]"])) == []


@pytest.mark.parametrize(("jobs", "share"), [(1, 8), (2, 4), (3, 2), (16, 2)])
def test_each_job_has_its_share_of_the_cores(
    jobs: int, share: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seeds, "cores", lambda: 8)
    script = f"import os; print(os.environ['{seeds.SHARE}'])"
    assert set(seeds._run_all({s: [sys.executable, "-c", script] for s in range(4)}, jobs).values()) == {0}
    assert re.findall(r"\] (\d+)", capfd.readouterr().out) == [str(share)] * 4


def test_two_at_a_time_in_processes_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    clock = "print('{}', time.monotonic())"
    script = f"import sys, time; {clock.format('at')}; time.sleep(0.3); {clock.format('to')}; sys.exit(CODE)"
    codes = seeds._run_all(
        {s: [sys.executable, "-c", script.replace("CODE", str(s))] for s in (0, 1, 2, 3)}, jobs=2
    )
    assert codes == {0: 0, 1: 1, 2: 2, 3: 3}
    moments = re.findall(r"\[seed (\d)\] (at|to) ([\d.]+)", capfd.readouterr().out)
    begun = {s: float(t) for s, word, t in moments if word == "at"}
    ended = {s: float(t) for s, word, t in moments if word == "to"}
    for moment in begun.values():
        assert sum(begun[s] <= moment < ended[s] for s in begun) <= 2


TRAIN = ["train", "CartPole-v1", "ppo.total_steps=1024", "ppo.num_steps=64", "eval.num_evals=0", "--untuned"]


def test_every_seed_has_its_own_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proximo", *TRAIN, "seeds=2", "jobs=2", "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = sorted((tmp_path / "runs" / "CartPole-v1").iterdir())
    assert sorted(json.loads((run / "provenance.json").read_text())["seed"] for run in runs) == [0, 1]
    assert re.search(r"^2 seeds: return [\d.]+, 95 % interval [-\d.]+ to [\d.]+$", done.stdout, re.MULTILINE)


def test_what_holds_for_all_seeds_is_printed_once(tmp_path: Path) -> None:
    words = ["train", "CartPole-v1", "ppo.total_steps=1024", "eval.num_evals=0", "seeds=2", "jobs=2"]
    done = subprocess.run(
        [sys.executable, "-m", "proximo", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("settings: tuned for CartPole-v1") == 1
    assert done.stdout.count("engine: ") == 2


def test_a_failing_seed_is_told_and_sets_the_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proximo", "train", "NoSuchEnv-v0", "seeds=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "seed 0: failed with exit code 2\nseed 1: failed with exit code 2\n" in done.stdout


ENDLESS = [
    "train",
    "CartPole-v1",
    "ppo.total_steps=1e7",
    "eval.num_evals=0",
    "--untuned",
    "seeds=2",
    "jobs=1",
]
BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
"""What a script's `command &` does to the command."""


@pytest.mark.parametrize(
    ("before", "number"), [([], signal.SIGINT), ([], signal.SIGTERM), (BACKGROUND, signal.SIGINT)]
)
def test_a_signal_reaches_the_seeds_and_leaves_checkpoints(
    before: list[str], number: int, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "proximo", *ENDLESS], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if re.search(r"^\[seed 0\] +[\d,]+ of ", line):
                break
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped at step" in out
    assert "seed 1: interrupted" in out
    assert list((tmp_path / "runs").glob("CartPole-v1/*/checkpoints/*/policy.safetensors"))


def test_seeds_can_be_interrupted_before_they_train(capfd: pytest.CaptureFixture[str]) -> None:
    """In a job that ignores SIGINT, too: else a seed that has no handler yet would train to its end."""
    send = "os.kill(os.getppid(), signal.SIGINT)"
    script = f"import os, signal; print('here', flush=True); signal.alarm(30); {send}; signal.pause()"
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        codes = seeds._run_all({s: [sys.executable, "-c", script] for s in (3, 4)}, jobs=1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)
    assert codes == {3: 130, 4: 130}
    assert "[seed 3] here" in capfd.readouterr().out
