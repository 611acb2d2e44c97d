"""The commands on a real run: train, list, evaluate, resume; and what doctor and envs tell."""

import json
from pathlib import Path

import pytest

from proximo.cli import doctor, envs
from proximo.cli import main as cli

Capture = pytest.CaptureFixture[str]
TRAIN = ["train", "CartPole-v1", "ppo.total_steps=1024", "ppo.num_steps=64", "eval.num_evals=1", "--untuned"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    result = folder / "result.json"
    assert cli.main([*TRAIN, "--result", str(result), "-q", f"runs_dir={folder}"]) == 0
    values = json.loads(result.read_text(encoding="utf-8"))
    assert values["status"] == "finished"
    assert values["step"] >= 1024
    return Path(values["run"])


def test_training_tells_where_how_good_and_how_to_watch(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main([*TRAIN, f"runs_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "CartPole-v1").iterdir()
    assert f"run: {folder}\n" in out
    assert "random policy" in out
    assert f"proximo play {folder}" in out


def test_eval_prints_json(run: Path, capsys: Capture) -> None:
    assert cli.main(["eval", str(run), "--episodes", "3", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["episodes"] == len(values["returns"]) == 3
    assert values["return_mean"] == pytest.approx(sum(values["returns"]) / 3)
    low, high = values["return_ci95"]
    assert low <= values["return_mean"] <= high
    assert 10 < values["random_return_mean"] < 40
    assert "random policy" in values["verdict"]


def test_eval_of_one_episode_has_no_interval(run: Path, capsys: Capture) -> None:
    assert cli.main(["eval", str(run), "--episodes", "1", "--stochastic", "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert "interval" not in out
    assert "nan" not in out


def test_runs_lists_it(run: Path, capsys: Capture) -> None:
    root = str(run.parent.parent)
    assert cli.main(["runs", root]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["run", "seed", "status", "steps", "return", "in", "training", "evaluated"]
    assert rows[0].split()[:3] == [str(run), "0", "finished"]
    assert cli.main(["runs", root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["path"] == str(run)


def test_resuming_a_finished_run_says_so(run: Path, capsys: Capture) -> None:
    assert cli.main(["resume", str(run)]) == 0
    assert "is finished at step" in capsys.readouterr().out
    assert cli.main(["resume", str(run), "ppo.total_steps=2048", "-q"]) == 0
    assert f"run: {run}\n" in capsys.readouterr().out


def test_playing_without_a_display_says_what_to_do(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert cli.main(["play", str(run)]) == 2
    assert "no display for a window; record a video instead: --video out.mp4" in capsys.readouterr().err


def test_a_run_that_is_not_there(capsys: Capture, tmp_path: Path) -> None:
    for command in ("resume", "eval", "play"):
        assert cli.main([command, str(tmp_path / "nothing")]) == 2
        err = capsys.readouterr().err
        assert "nothing" in err
        assert err.count("\n") == 1


def test_doctor_names_what_is_missing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_mujoco(extra: str, package: str = "proximo") -> list[str]:
        return ["mujoco"] if extra == "mujoco" else []

    monkeypatch.setattr(doctor, "missing", no_mujoco)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "\n  mujoco missing mujoco: pip install 'proximo[mujoco]'\n" in out
    assert "\n  box2d installed\n" in out
    assert "\n  torch " in out
    assert "\n  device auto means " in out


def test_extras_and_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"box2d", "mujoco", "atari", "wandb", "trackio", "video", "onnx", "dev"} <= set(doctor.extras())
    assert "all" not in doctor.extras()
    present = {"imageio"}

    def version(name: str) -> str:
        if name not in present:
            raise doctor.PackageNotFoundError(name)
        return "1"

    requirements = {
        "proximo": ["torch>=2", "imageio[ffmpeg]>=2.34; extra == 'video'", "pygame-ce; extra == 'video'"],
        "imageio": ['imageio-ffmpeg; extra == "ffmpeg"', 'tifffile; extra == "tifffile"'],
    }
    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "requires", lambda name: requirements.get(name))
    assert doctor.missing("video") == ["imageio-ffmpeg", "pygame-ce"]


def test_envs_lists_families_and_the_extra_of_a_missing_one(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envs, "missing", lambda extra: [extra] if extra in ("atari", "mujoco") else [])
    monkeypatch.setattr("proximo.config.load.tuned_ids", lambda: ["CartPole-v1"])
    assert cli.main(["envs"]) == 0
    out = capsys.readouterr().out
    assert "classic_control: Acrobot-v1, CartPole-v1*, MountainCar-v0" in out
    assert "atari: not installed: pip install 'proximo[atari]'\n" in out
    assert "mujoco: not installed: pip install 'proximo[mujoco]'\n" in out
    assert cli.main(["envs", "cartpole"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "classic_control: CartPole-v1*"
    assert all("not installed" not in line for line in rest)
    assert cli.main(["envs", "nosuch"]) == 2
    assert "'nosuch'" in capsys.readouterr().err
