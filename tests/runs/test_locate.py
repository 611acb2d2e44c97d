"""What `proximo play lab.yaml` shows."""

from pathlib import Path

import pytest
import torch

from proximo.config.experiment import Experiment
from proximo.errors import UserError
from proximo.runs import checkpoint
from proximo.runs.locate import Located, locate

LAB = """
experiment: {{name: walk}}
environment: {{id: CartPole-v1}}
training: {{training: {{total_timesteps: 100}}}}
play: {{experiment: {experiment}, pretrained_model: {model}}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(name: str) -> Path:
    folder = Path("runs/CartPole-v1") / name
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text("env: {id: CartPole-v1}\n", encoding="utf-8")
    checkpoint.save(folder / "checkpoints" / "64", {"policy": {"w": torch.zeros(1)}})
    checkpoint.point(folder, "last", folder / "checkpoints" / "64")
    return folder


def lab(experiment: str = "experiment_date", model: str = "model") -> Located:
    Path("lab.yaml").write_text(LAB.format(experiment=experiment, model=model), encoding="utf-8")
    return locate("lab.yaml")


def test_the_placeholder_is_the_newest_run_of_the_experiment() -> None:
    run("walk-20260101-120000")
    newest = run("walk-20260102-120000")
    run("walk-fast-20260103-120000")
    for word in ("experiment_date", "'None'"):
        found = lab(word)
        assert (found.path, found.checkpoint) == (str(newest), "last")
        assert str(newest) in found.line


@pytest.mark.parametrize(
    "word",
    ["walk-20260101-120000", "walk-20260101", "walk_2026-01-01", "runs/CartPole-v1/walk-20260101-120000"],
)
def test_a_run_by_name_and_date(word: str) -> None:
    wanted = run("walk-20260101-120000")
    run("walk-20260102-120000")
    assert lab(word).path == str(wanted)


def test_best_and_steps() -> None:
    folder = run("walk-20260101-120000")
    assert lab(model="best").checkpoint == "best"
    assert lab(model="model.zip").checkpoint == "last"
    assert lab(model="'64'").path == str(folder / "checkpoints" / "64")
    with pytest.raises(UserError, match=r"pretrained_model=65.*best.*64"):
        lab(model="'65'")


def test_a_run_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"play\.experiment: no run walk .*none yet"):
        lab()
    run("walk-20260101-120000")
    with pytest.raises(UserError, match=r"no run run_2025-01-01 .*walk-20260101-120000"):
        lab("run_2025-01-01")


def test_a_pickled_model_is_refused_with_the_reason() -> None:
    folder = Path("experiments/CartPole-v1/ppo/walk_2026-01-01")
    folder.mkdir(parents=True)
    (folder / "model.zip").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(UserError, match="pickle"):
        lab("walk_2026-01-01")


def test_other_names_stay_as_they_are() -> None:
    folder = run("walk-20260101-120000")
    assert locate(str(folder)) == Located(str(folder))
    assert locate(str(folder / "experiment.yaml")).path == str(folder / "experiment.yaml")
    Path("own.yaml").write_text("env: {id: CartPole-v1}\n", encoding="utf-8")
    with pytest.raises(UserError, match="is an experiment, not a run"):
        locate("own.yaml")
    assert Experiment(env={"id": "CartPole-v1"}).runs_dir == "runs"
