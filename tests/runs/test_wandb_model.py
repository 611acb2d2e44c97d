"""Downloading a model from W&B, with a stand-in for its library."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from proximo import Experiment, train
from proximo.cli import main as cli
from proximo.errors import RunError, UserError
from proximo.runs import wandb_model


class FakeArtifact:
    type = "model"

    def __init__(self, source: Path, version: str, latest: bool) -> None:
        self.source, self.name = source, f"model:{version}"
        self.aliases = [version, *(["latest"] if latest else [])]

    def download(self, root: str) -> str:
        shutil.copytree(self.source, root, dirs_exist_ok=True)
        return root


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict:
    """The runs of a pretended server: path → artifacts and files."""
    runs: dict = {}

    class Api:
        def run(self, path: str) -> SimpleNamespace:
            if path not in runs:
                raise ValueError(f"Could not find run {path}")
            artifacts, files = runs[path]
            return SimpleNamespace(logged_artifacts=lambda: artifacts, files=lambda: files)

    module = ModuleType("wandb")
    module.Api = Api
    module.errors = SimpleNamespace(Error=type("Error", (Exception,), {}))
    module.setup = lambda: SimpleNamespace(settings=SimpleNamespace(base_url="https://api.wandb.ai"))
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_API_KEY", "none")
    monkeypatch.chdir(tmp_path)
    return runs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run laid out as our W&B tracker uploads it."""
    root = tmp_path_factory.mktemp("trained")
    result = train(
        Experiment(
            env={"id": "CartPole-v1", "num_envs": 2},
            ppo={"total_steps": 64, "num_steps": 32, "prime_steps": 0},
            eval={"num_evals": 0},
            runs_dir=str(root / "runs"),
        ),
        verbosity=-1,
    )
    shutil.copytree(result.run / "checkpoints", root / "artifact" / "checkpoints")
    shutil.copy(result.run / "experiment.yaml", root / "artifact")
    return root / "artifact"


@pytest.mark.parametrize(
    "name",
    [
        "wandb:me/sb3/abc123",
        "https://wandb.ai/me/sb3/runs/abc123",
        "https://wandb.ai/me/sb3/runs/abc123/workspace",
    ],
)
def test_a_run_is_downloaded_and_evaluated(
    service: dict, model: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    service["me/sb3/abc123"] = (
        [FakeArtifact(model / "nothing", "v0", False), FakeArtifact(model, "v1", True)],
        [],
    )
    assert cli.main(["eval", name, "--episodes", "2"]) == 0
    out = capsys.readouterr().out
    assert "downloaded" in out
    assert "return" in out
    assert (Path("runs/wandb/me/sb3/abc123") / "experiment.yaml").is_file()
    assert cli.main(["eval", name, "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2


def test_a_pickled_model_is_refused(service: dict) -> None:
    service["me/sb3/old"] = ([], [SimpleNamespace(name="model.zip")])
    with pytest.raises(UserError, match="pickle"):
        wandb_model.download("wandb:me/sb3/old")
    service["me/sb3/empty"] = ([], [])
    with pytest.raises(UserError, match="has no model"):
        wandb_model.download("wandb:me/sb3/empty")


def test_what_goes_wrong_is_one_line(service: dict, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="wandb:me/sb3/none cannot be downloaded: Could not find run"):
        wandb_model.download("wandb:me/sb3/none")
    for name in ("wandb:abc", "wandb:../../etc", "wandb:a/../b"):
        with pytest.raises(UserError, match="entity/project/run"):
            wandb_model.download(name)
    service["me/sb3/foreign"] = ([FakeArtifact(model / "checkpoints", "v0", True)], [])
    with pytest.raises(UserError, match="no model of Proximo"):
        wandb_model.download("wandb:me/sb3/foreign")
    assert not list(Path("runs/wandb/me/sb3").iterdir())
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", "nowhere")
    with pytest.raises(UserError, match="wandb login"):
        wandb_model.download("wandb:me/sb3/none")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="pip install"):
        wandb_model.download("wandb:me/sb3/none")
