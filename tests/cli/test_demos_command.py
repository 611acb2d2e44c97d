"""`proximo demos`: recording, examining and listing data sets, and one line where that cannot be."""

import importlib.util
import json
from pathlib import Path

import pytest

from proximo.cli import main as cli
from proximo.demos import store

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("minari", "h5py", "pyarrow")),
    reason="needs pip install 'proximo[demos]'",
)
Capture = pytest.CaptureFixture[str]
RANDOM = ["demos", "record", "Pendulum-v1", "--policy", "random", "--episodes", "3", "--dataset"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs")
    words = ["train", "CartPole-v1", "--untuned", "-q", "ppo.total_steps=256", "ppo.num_steps=16"]
    assert cli.main([*words, "eval.num_evals=0", f"runs_dir={folder}"]) == 0
    (path,) = (folder / "CartPole-v1").iterdir()
    return str(path)


def test_a_run_is_recorded_and_examined(run: str, capsys: Capture) -> None:
    capsys.readouterr()
    words = ["demos", "record", run, "--dataset", "classic/cartpole/weak-v0", "--episodes", "12"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "episode 12 of 12: return" in out
    (newest,) = (path.name for path in (Path(run) / "checkpoints").iterdir())
    assert out.splitlines()[0] == f"{run}: checkpoint {newest} acts, sampling"
    assert f"written: {store.root()}/classic/cartpole/weak-v0\n" in out
    assert cli.main(["demos", "info", "classic/cartpole/weak-v0"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert shown["environment"] == "CartPole-v1"
    assert shown["episodes"] == "12 (12 terminated, 0 truncated)"
    assert shown["log-probabilities"] == "recorded"
    assert shown["actions"] == "Discrete(2)"
    assert "95 % interval" in shown["return"]
    assert cli.main([*words, "--seed", "5"]) == 2
    assert "exists: give --overwrite" in capsys.readouterr().err
    assert cli.main([*words, "--overwrite", "--deterministic", "--format", "arrow", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert cli.main(["demos", "info", "classic/cartpole/weak-v0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["returns"] == made["returns"]
    assert found["lengths"] == made["lengths"]
    assert found["return_mean"] == pytest.approx(sum(made["returns"]) / 12)
    assert found["formats"] == ["arrow"]
    assert found["log_probabilities"] is False
    low, high = found["return_ci95"]
    assert low < found["return_mean"] < high


def test_several_are_examined_together_and_listed(capsys: Capture) -> None:
    assert cli.main([*RANDOM, "toy/a-v0"]) == 0
    assert cli.main([*RANDOM, "toy/b-v0", "--seed", "1", "env.max_episode_steps=20", "-q"]) == 0
    capsys.readouterr()
    assert cli.main(["demos", "info", "toy/a-v0", "toy/b-v0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lengths"] == [200, 200, 200, 20, 20, 20]
    assert cli.main(["demos", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "toy/a-v0  Pendulum-v1, 3 episodes, 600 steps, hdf5",
        "toy/b-v0  Pendulum-v1, 3 episodes, 60 steps, hdf5",
    ]
    assert cli.main(["demos", "list", "b-v", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["toy/b-v0"]
    assert cli.main(["demos", "download", "toy/a-v0"]) == 0
    assert "already in" in capsys.readouterr().out


def test_an_empty_list_says_how_to_fill_it(capsys: Capture) -> None:
    assert cli.main(["demos", "list"]) == 0
    assert f"no data set in {store.root()}; proximo demos record" in capsys.readouterr().out


def test_only_good_episodes_are_kept(capsys: Capture) -> None:
    words = ["demos", "record", "CartPole-v1", "--policy", "random", "--dataset", "toy/a-v0"]
    assert cli.main([*words, "--episodes", "4", "--min-return", "30"]) == 0
    out = capsys.readouterr().out
    assert "episodes reached a return of 30" in out
    assert cli.main(["demos", "info", "toy/a-v0", "--json"]) == 0
    assert min(json.loads(capsys.readouterr().out)["returns"]) >= 30


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "record CartPole-v1 --dataset toy/a-v0",
            "CartPole-v1 is an environment, not a run: say who acts there",
        ),
        ("record nowhere --dataset toy/a-v0", "nowhere"),
        ("record CartPole-v1 --policy random --dataset ../a-v0", "'../a-v0' is no name of a data set"),
        ("record CartPole-v1 --policy random --dataset a", "'a' is no name of a data set"),
        ("record CartPole-v1 --policy random", "--dataset"),
        ("record CartPole-v1 --policy rndom --dataset toy/a-v0", "did you mean random?"),
        ("record CartPole-v1 --policy nobody:Here --dataset toy/a-v0", "no module 'nobody'"),
        ("record CartPole-v1 --policy random --dataset toy/a-v0 --episodes 0", "at least 1"),
        ("record CartPole-v1 --policy random --dataset toy/a-v0 --deterministic", "are about a run's agent"),
        ("record CartPole-v1 --policy random --dataset toy/a-v0 --fps 3", "are for --policy keyboard"),
        (
            "record CartPole-v1 --policy keyboard --dataset toy/a-v0 --view terminal",
            "needs a terminal or a window",
        ),
        ("record CartPole-v9 --policy random --dataset toy/a-v0", "CartPole-v9"),
        ("info toy/a-v0", "data set toy/a-v0 is not in"),
        ("download toy/a-v0", "neither in"),
        ("info", "NAME"),
        ("frobnicate", "invalid choice"),
    ],
)
def test_bad_requests_are_one_line(words: str, expected: str, capsys: Capture, tmp_path: Path) -> None:
    assert cli.main(["demos", *words.split()]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not list(store.root().glob("*")) if store.root().exists() else True


def test_a_missing_extra_is_named(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "h5py" else found(name, *a)
    )
    assert cli.main([*RANDOM, "toy/a-v0"]) == 2
    assert "need h5py: pip install 'proximo[demos]'" in capsys.readouterr().err
