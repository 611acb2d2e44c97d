"""Backends measured for an environment, the fastest remembered."""

import json
from pathlib import Path
from typing import Any

import pytest

from proximo.cli.main import main
from proximo.config.experiment import EnvConfig
from proximo.envs import candidates, winners
from proximo.envs.make import BACKENDS, choose_backend


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_every_backend_is_measured_or_tells_why_not() -> None:
    found = candidates.measure(EnvConfig(id="CartPole-v1", num_envs=2), rounds=1, seconds=0.02)
    assert {row.backend for row in found} == set(BACKENDS)
    able = [row.steps_per_second for row in found if row.steps_per_second is not None]
    assert able == sorted(able, reverse=True)
    assert "sync" in {row.backend for row in found if row.steps_per_second}
    assert all(row.reason for row in found if row.steps_per_second is None)


def test_a_backend_that_cannot_comes_last_with_its_reason() -> None:
    found = candidates.measure(EnvConfig(id="MountainCarContinuous-v0", num_envs=2), rounds=1, seconds=0.02)
    refused = [row for row in found if row.steps_per_second is None]
    assert "vector" in {row.backend for row in refused}
    assert found[-1] in refused


def test_what_is_remembered_is_of_this_environment_number_and_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = EnvConfig(id="CartPole-v1", num_envs=4)
    assert winners.cached_winner(config) is None
    winners.remember(config, "vector")
    assert winners.cached_winner(config) == "vector"
    assert winners.cached_winner(config.model_copy(update={"backend": "sync"})) == "vector"
    assert winners.cached_winner(config.model_copy(update={"num_envs": 8})) is None
    assert winners.cached_winner(config.model_copy(update={"kwargs": {"sutton_barto_reward": True}})) is None
    assert choose_backend(config) == (
        "vector",
        "the fastest on this machine, as `proximo bench env` measured",
    )
    assert choose_backend(config.model_copy(update={"backend": "sync"})) == ("sync", "asked for")
    winners.remember(config, "no longer there")
    assert choose_backend(config)[0] != "no longer there"
    monkeypatch.setattr(winners, "_processor", lambda: "another processor")
    assert winners.cached_winner(config) is None


def test_a_broken_cache_file_is_as_good_as_none() -> None:
    config = EnvConfig(id="CartPole-v1")
    path = winners.remember(config, "vector")
    path.write_text('{"backend": ')
    assert winners.cached_winner(config) is None
    path.write_text("[]")
    assert winners.cached_winner(config) is None


def test_the_command_prints_a_table_and_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def quick(config: Any) -> list[candidates.Candidate]:
        assert config.num_envs == 3
        return [
            candidates.Candidate("vector", 2e6, 0.1),
            candidates.Candidate("sync", 1e6, 0.2),
            candidates.Candidate("pool", None, reason="not here"),
        ]

    monkeypatch.setattr(candidates, "measure", quick)
    out = tmp_path / "env.json"
    assert main(["bench", "env", "CartPole-v1", "--num-envs", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2,000,000" in printed
    assert "not here" in printed
    assert "fastest: vector" in printed
    assert [row["backend"] for row in json.loads(out.read_text())["backends"]] == ["vector", "sync", "pool"]


def test_masked_actions_begin_where_their_space_does() -> None:
    import torch
    from gymnasium import spaces

    from proximo.core.types import EnvSpec

    for space, expected in (
        (spaces.Discrete(3, start=1), [3, 1]),
        (spaces.MultiDiscrete([[1, 2]], start=[[7, -1]]), [[[7, 0]], [[7, -1]]]),
    ):

        class Env:
            spec = EnvSpec("Toy-v0", {}, space, 2, torch.device("cpu"), mask_key="mask")

        mask = torch.tensor([[False, False, True], [True, False, False]])
        if isinstance(space, spaces.MultiDiscrete):
            mask = torch.tensor([[True, False, True], [True, True, False]])
        drawn = candidates._random(Env())({"mask": mask})  # type: ignore[arg-type]
        assert drawn.tolist() == expected


def test_masked_actions_are_drawn_from_what_is_allowed() -> None:
    import torch
    from gymnasium import spaces

    from proximo.core.types import EnvSpec

    class Env:
        spec = EnvSpec("Toy-v0", {}, spaces.MultiDiscrete([2, 3]), 2, torch.device("cpu"), mask_key="mask")

    act = candidates._random(Env())  # type: ignore[arg-type]
    mask = torch.tensor([[True, False, False, True, False], [False, True, False, False, True]])
    for _ in range(5):
        assert act({"mask": mask}).tolist() == [[0, 1], [1, 2]]
