"""Whole trainings from the lab's YAML, and encoders dropped in beside it."""

import copy
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml

from proximo import load
from proximo.cli import main as cli
from proximo.config.load import load_experiment
from proximo.errors import UserError

Capture = pytest.CaptureFixture[str]
EXAMPLE = Path(__file__).with_name("lab_example.yaml")
SMALL = {
    "experiment": {"name": "small"},
    "environment": {"id": "CartPole-v1"},
    "training": {"training": {"total_timesteps": 4096}},
}
DROP_IN = """
    # Other files and what this one imports elsewhere must not matter to finding it.
    import torch
    from rl_pipeline.models.feature_extractors.base_extractor import BaseFeaturesExtractor


    class TinyNet(BaseFeaturesExtractor):
        def __init__(self, observation_space, features_dim=16):
            super(TinyNet, self).__init__(observation_space, features_dim)
            self.layer = torch.nn.Linear(observation_space.shape[0], features_dim)

        def forward(self, observations):
            return torch.relu(self.layer(observations))
"""


def network(**values):
    tree = copy.deepcopy(SMALL)
    tree["training"]["architecture"] = values
    return tree


def error(file):
    with pytest.raises(UserError) as caught:
        load_experiment(file)
    return str(caught.value)


def test_a_drop_in_class_is_found_without_importing(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "feature_extractors"
    folder.mkdir(parents=True)
    (folder / "net.py").write_text(textwrap.dedent(DROP_IN), encoding="utf-8")
    (folder / "bad.py").write_text("import nothing_like_this\nraise SystemExit(3)\n", encoding="utf-8")
    (folder / "worse.py").write_text("class (:\n", encoding="utf-8")
    file = tmp_path / "lab.yaml"
    file.write_text(yaml.safe_dump(network(features_extractor_class="TinyNet")), encoding="utf-8")
    assert load_experiment(file).policy.encoder.type == f"{(folder / 'net.py').resolve()}:TinyNet"
    configs = tmp_path / "configs"
    configs.mkdir()
    inside = configs / "lab.yaml"
    inside.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_experiment(inside).policy.encoder.type.endswith("net.py:TinyNet")
    file.write_text(yaml.safe_dump(network(features_extractor_class="TinyNett")), encoding="utf-8")
    message = error(file)
    assert "did you mean TinyNet?" in message
    assert "worse.py" in message
    (tmp_path / "twin.py").write_text(textwrap.dedent(DROP_IN), encoding="utf-8")
    file.write_text(yaml.safe_dump(network(features_extractor_class="TinyNet")), encoding="utf-8")
    assert "keep one of them" in error(file)


def test_a_drop_in_encoder_trains_resumes_evaluates_and_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "rl_pipeline" / "models" / "feature_extractors"
    folder.mkdir(parents=True)
    (folder / "net.py").write_text(textwrap.dedent(DROP_IN), encoding="utf-8")
    tree = network(features_extractor_class="TinyNet", features_extractor_kwargs={"features_dim": 8})
    tree["evaluation"] = {"num_episodes": 2}
    Path("lab.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    items = [
        "ppo.num_steps=64",
        "ppo.total_steps=128",
        "eval.num_evals=1",
        "eval.episodes=2",
        "eval.random_episodes=2",
    ]
    assert cli.main(["train", "lab.yaml", *items]) == 0
    out = capsys.readouterr().out
    assert "features_extractor_class → policy.encoder.type=" in out
    assert "evaluation after training: return" in out
    (run,) = (tmp_path / "runs" / "CartPole-v1").iterdir()
    assert cli.main(["resume", str(run), "ppo.total_steps=256"]) == 0
    assert (run / "checkpoints" / "256").is_dir()
    capsys.readouterr()
    assert cli.main(["eval", "lab.yaml", "--episodes", "2"]) == 0
    out = capsys.readouterr().out
    assert f"run: {Path('runs') / 'CartPole-v1' / run.name} (last checkpoint)" in out
    assert "return" in out
    tree["training"]["pretrained_model"] = str(run)
    tree["training"]["training"]["verbose"] = 0
    Path("lab.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert cli.main(["train", "lab.yaml", *items, "ppo.learning_rate=1e-30"]) == 0
    out = capsys.readouterr().out
    assert "steps/s" not in out
    (second,) = set(run.parent.iterdir()) - {run}
    # A run starts from the best checkpoint of another, which need not be its last one.
    weights = [load(run).policy.state_dict(), load(second, "last").policy.state_dict()]
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name]), name


def test_the_example_runs_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("Box2D")
    for name in ("wandb", "tensorboard", "tensorboard.summary.writer.event_file_writer"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cut = [f"ppo.{key}" for key in ("total_steps=256", "num_steps=128", "minibatch_size=64")]
    cut += [
        "video.length=2",
        "video.every=200",
        "eval.num_evals=1",
        "eval.episodes=1",
        "eval.random_episodes=2",
    ]
    assert cli.main(["train", str(EXAMPLE), *cut]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("device: cuda is not available" in line for line in lines) == 1
    assert sum("not tracked by wandb" in line for line in lines) == 1
    (run,) = (tmp_path / "runs" / "BipedalWalker-v3").iterdir()
    assert run.name.startswith("BipedalWalker-Benchmark-")
    assert (run / "checkpoints" / "256" / "policy.safetensors").is_file()
    assert load_experiment(run / "experiment.yaml").ppo.minibatch_size == 64
