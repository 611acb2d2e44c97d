"""From files, ids and settings to a checked experiment, and back."""

from pathlib import Path

import pytest

from proximo.config import load
from proximo.config.experiment import Experiment, GruMemory, WandbTracker
from proximo.config.load import dump_experiment, explain, load_experiment, load_traced
from proximo.errors import UserError


def test_an_id_is_the_whole_experiment() -> None:
    assert load_experiment("CartPole-v1", untuned=True) == Experiment(env={"id": "CartPole-v1"})


def test_settings_are_typed_as_yaml() -> None:
    experiment = load_experiment(
        "X-v0",
        [
            "ppo.total_steps=2e6",
            "ppo.learning_rate=1e-4",
            "policy.hidden_sizes=[32, 16]",
            "policy.memory.type=gru",
            "policy.memory.size=7",
            "env.kwargs.gravity=-9.5",
            "track=[wandb]",
            "track.0={type: wandb, group: g}",
            "name=2024",
            "stop.minutes=",
        ],
        untuned=True,
    )
    assert experiment.ppo.total_steps == 2_000_000
    assert type(experiment.ppo.total_steps) is int
    assert experiment.ppo.learning_rate == 1e-4
    assert experiment.policy.hidden_sizes == (32, 16)
    assert experiment.policy.memory == GruMemory(size=7)
    assert experiment.env.kwargs == {"gravity": -9.5}
    assert experiment.track == (WandbTracker(group="g"),)
    assert experiment.name == "2024"
    assert experiment.stop.minutes is None


def test_the_last_setting_wins_and_a_mapping_source_is_left_alone() -> None:
    source = {"env": {"id": "X-v0"}, "ppo": {"clip": 0.3}}
    assert load_experiment(source, ["ppo.clip=0.1", "ppo.clip=0.15"]).ppo.clip == 0.15
    assert source == {"env": {"id": "X-v0"}, "ppo": {"clip": 0.3}}


def test_a_file_is_read_and_settings_go_over_it(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("env: {id: X-v0}\nppo:\n  clip: 0.3\n  epochs: 1e1\n", encoding="utf-8")
    experiment = load_experiment(file, ["ppo.clip=0.1"])
    assert (experiment.ppo.clip, experiment.ppo.epochs) == (0.1, 10)
    assert load_experiment(str(file)).ppo.clip == 0.3


def test_tuned_settings_are_found_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "ALE_Pong-v5.yaml").write_text(
        "env: {id: ALE/Pong-v5, num_envs: 3}\nppo: {minibatch_size: 32}\n", encoding="utf-8"
    )
    monkeypatch.setattr(load.importlib.resources, "files", lambda package: tmp_path)
    loaded = load_traced("ALE/Pong-v5", ["ppo.clip=0.1"])
    assert loaded.tuned == "ALE/Pong-v5"
    assert loaded.experiment.env.num_envs == 3
    assert loaded.origin("env.num_envs") == "tuned settings of ALE/Pong-v5"
    assert loaded.origin("ppo.clip") == "override"
    assert loaded.origin("ppo.gamma") == "default"
    plain = load_traced("ALE/Pong-v5", untuned=True)
    assert plain.tuned is None
    assert plain.experiment.env.num_envs == 8
    assert load.tuned_ids() == ["ALE/Pong-v5"]


def test_every_tuned_file_validates_and_is_named_after_its_environment() -> None:
    for env_id in load.tuned_ids():
        loaded = load_traced(env_id)
        assert loaded.tuned == env_id
        assert loaded.experiment.env.id == env_id


def test_a_dump_is_read_back_the_same(tmp_path: Path) -> None:
    experiment = load_experiment(
        {
            "env": {"id": "X-v0", "kwargs": {"a": "1e5", "b": "yes", "c": 1e-7, "d": [None, {"e": "x: y"}]}},
            "name": "1e3",
            "policy": {"encoders": {"cam": {"type": "my.py:Enc", "kwargs": {"n": 3}}}},
            "rewards": {"more": {"type": "m:R", "stream": "other"}},
            "streams": {"other": {"gamma": 0.9}},
            "track": ["tensorboard", {"type": "wandb", "mode": "offline"}],
        }
    )
    file = tmp_path / "x.yaml"
    for comments in (False, True):
        file.write_text(dump_experiment(experiment, comments=comments), encoding="utf-8")
        assert load_experiment(file) == experiment
    assert "  clip: 0.2  # The probability ratio counts only within 1 ± this.\n" in file.read_text(
        encoding="utf-8"
    )


def test_explain_tells_value_origin_and_meaning(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("env: {id: X-v0}\nppo: {gamma: 0.9}\npolicy: {memory: {type: gru}}\n", encoding="utf-8")
    loaded = load_traced(str(file), ["ppo.clip=0.1"])
    everything = explain(loaded)
    assert (
        f"ppo.gamma: 0.9  ({file})\n    Discount of the task stream. [a number ≥ 0 and ≤ 1]\n" in everything
    )
    assert (
        "ppo.clip: 0.1  (override)\n    The probability ratio counts only within 1 ± this. [a number > 0]\n"
        in everything
    )
    assert "seed: 0  (default)\n" in everything
    assert (
        f"policy.memory.type: gru  ({file})\n"
        "    Recurrent memory between encoder and layers. [none | gru | lstm]\n" in everything
    )
    assert explain(loaded, ["ppo.clip"]).startswith("ppo.clip: 0.1")
    assert explain(loaded, ["ppo.clip"]).count("\n") == 2
    with pytest.raises(UserError, match=r"ppo.clap: no such key; did you mean ppo.clip\?"):
        explain(loaded, ["ppo.clap"])


def test_every_field_has_a_meaning() -> None:
    for block in explain(load_traced("X-v0", untuned=True)).split("\n")[1::2]:
        assert len(block.strip()) > 10, block


def test_an_older_version_is_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(data: dict[str, object]) -> dict[str, object]:
        return {"env": {"id": data["environment"]}, "version": 1}

    monkeypatch.setitem(load.MIGRATIONS, 0, rename)
    assert load_experiment({"version": 0, "environment": "X-v0"}).env.id == "X-v0"
