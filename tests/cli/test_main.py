"""The frame of the command line: exit codes, one line per mistake, no traceback unless asked for."""

import argparse
import json
from pathlib import Path

import pytest

from proximo.cli import main as cli
from proximo.errors import RunError, UserError

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "x"], "trian: no such command; did you mean train?"),
        (["xyzzy"], "xyzzy: no such command; commands: train, resume, eval"),
        (["CartPole-v1"], "CartPole-v1: name a command first: proximo train CartPole-v1"),
        (["my.yaml"], "my.yaml: name a command first: proximo train my.yaml"),
        (["train"], "the following arguments are required: source (see `proximo train --help`)"),
        (["train", "X", "--ppo.clip=1"], "--ppo.clip=1: settings are written without dashes: ppo.clip=1"),
        (["train", "X", "--fast"], "--fast: unknown argument (see `proximo train --help`)"),
        (["doctor", "x"], "x: unknown argument (see `proximo doctor --help`)"),
        (["config"], "the following arguments are required: show|schema|explain"),
        (["eval", "x", "--episodes", "0"], "argument --episodes: 0: must be a whole number of at least 1"),
        (["train", "no.yaml"], "no.yaml: there is no such file"),
        (["train", "CartPole-v1", "ppo.clip=-1"], "ppo.clip=-1: must be greater than 0"),
        (["train", "CartPole-v1", "--untuned", "lr=1"], "lr: unknown key; did you mean ppo.learning_rate?"),
        (
            ["train", "CartPole-v1", "--result", "/no/such/folder/x.json"],
            "--result /no/such/folder/x.json: cannot be",
        ),
        (["train", "CartPole-v1", "jobs=2"], "jobs=2: only together with seeds=…, such as seeds=5 jobs=2"),
        (["runs", "/no/such/folder"], "/no/such/folder: there is no such folder"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_two(words: list[str], message: str, capsys: Capture) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_every_mistake_has_its_line(capsys: Capture) -> None:
    assert cli.main(["train", "X-v0", "ppo.clip=-1", "ppo.epochs=0"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: ppo.epochs=0: must be at least 1",
        "error: ppo.clip=-1: must be greater than 0",
    ]


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("proximo.cli.doctor._doctor", run)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RunError("NaN"), 1, "error: NaN\n"),
        (UserError("no"), 2, "error: no\n"),
        (
            MemoryError(),
            1,
            "error: out of memory; make env.num_envs, ppo.num_steps, ppo.minibatch_size or the networks",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 1, "error: out of memory"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_failures_have_their_exit_code(
    error: BaseException, code: int, message: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(error, monkeypatch)
    assert cli.main(["doctor"]) == code
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert "Traceback" not in err


def test_debug_shows_the_traceback(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(RunError("NaN"), monkeypatch)
    assert cli.main(["doctor", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: NaN\n")


def test_a_bug_is_one_line_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(RuntimeError("a bug"), monkeypatch)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "error: RuntimeError: a bug (unexpected; --debug shows where)\n"


def test_config_show_prints_what_load_reads(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["config", "show", "X-v0", "ppo.clip=0.1", "--comments", "seed=3"]) == 0
    file = tmp_path / "x.yaml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    assert cli.main(["config", "explain", str(file), "ppo.clip", "seed"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"seed: 3  ({file})\n")
    assert f"ppo.clip: 0.1  ({file})\n" in out
    assert cli.main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Experiment"
