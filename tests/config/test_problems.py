"""Mistakes in a configuration: one line each, all at once, naming the path, the value and the cure."""

from pathlib import Path

import pytest

from proximo.config import problems, schema
from proximo.config.load import load_experiment
from proximo.errors import UserError


def lines(source: object, *settings: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_experiment(source, settings, untuned=True)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ppo.lerning_rate=1e-4", "ppo.lerning_rate: unknown key; did you mean ppo.learning_rate?"),
        ("learning_rate=1e-4", "learning_rate: unknown key; did you mean ppo.learning_rate?"),
        ("ppo.num_envs=4", "ppo.num_envs: unknown key; did you mean env.num_envs?"),
        ("n_steps=4", "n_steps: unknown key; did you mean ppo.num_steps?"),
        ("ppo.ent_coef=4", "ppo.ent_coef: unknown key; did you mean ppo.entropy_coef?"),
        ("sede=4", "sede: unknown key; did you mean seed?"),
        ("ppo.clip=-1", "ppo.clip=-1: must be greater than 0"),
        ("ppo.gamma=1.5", "ppo.gamma=1.5: must be at most 1"),
        ("ppo.learning_rate=fast", "ppo.learning_rate=fast: must be a number"),
        ("ppo.learning_rate=.nan", "ppo.learning_rate=.nan: must be a finite number"),
        ("ppo.epochs=2.5", "ppo.epochs=2.5: must be a whole number"),
        ("ppo.epochs=true", "ppo.epochs=true: must be a number"),
        ("ppo.epochs=0", "ppo.epochs=0: must be at least 1"),
        ("ppo.epochs=", "ppo.epochs=null: must be a whole number"),
        ("env.num_envs=0", "env.num_envs=0: must be at least 1"),
        ("seed=-1", "seed=-1: must be at least 0"),
        ("seed=2147483648", "seed=2147483648: must be less than 2147483648"),
        ("seed.x=1", "seed={x: 1}: must be a whole number"),
        ("device=gpu", "device=gpu: must be one of auto, cpu, cuda, mps; did you mean cpu?"),
        ("policy.ortho_init=maybe", "policy.ortho_init=maybe: must be true or false"),
        ("track=tensorboard", "track=tensorboard: must be a list, such as [tensorboard]"),
        ("policy.hidden_sizes=64", "policy.hidden_sizes=64: must be a list, such as [64, 64]"),
        ("policy.hidden_sizes=[64, 0]", "policy.hidden_sizes.1=0: must be at least 1"),
        ("policy.memory=gru", "policy.memory=gru: must be a mapping with a type: none, gru, lstm"),
        (
            "policy.memory.type=lstn",
            "policy.memory={type: lstn}: its type must be one of none, gru, lstm; did you mean lstm?",
        ),
        ("policy.head.sample_freq=3", "policy.head={sample_freq: 3}: its type must be one of"),
        (
            "track=[wandbb]",
            "track.0=wandbb: its type must be one of tensorboard, wandb, trackio or a class",
        ),
        ("track=wandb", "track=wandb: must be a list"),
        ("env=CartPole-v1", "env=CartPole-v1: must be a mapping with the keys id, kwargs, num_envs"),
        ("env.id=", "env.id=null: must be text"),
        ("env.id=''", "env.id='': must not be empty"),
        ("name=../up", "name=../up: must start with a letter or digit and hold only"),
        (
            "rewards.mine.type=nocolon:",
            "rewards.mine.type='nocolon:': must be a class, named as module:Class",
        ),
        ("ppo.minibatch_size=1e5", "ppo.minibatch_size=100000 is larger than the rollout: ppo.num_steps=256"),
        ("ppo.sequence_length=7", "ppo.sequence_length=7 must divide ppo.num_steps=256"),
        ("streams.task.gamma=0.9", "streams.task: the task stream is configured under ppo"),
        ("streams.more.gamma=0.9", "streams.more: no reward term writes to it"),
        ("losses.value.type=cloning", "losses.value: the built-in losses are configured under ppo"),
        ("just_a_word", "just_a_word: a setting is written as key=value, such as ppo.learning_rate=1e-4"),
        ("=3", "=3: a setting is written as key=value"),
        ("ppo..clip=3", "ppo..clip=3: a setting is written as key=value"),
        ("ppo.clip=[1", "ppo.clip=[1: not valid YAML: expected ',' or ']'"),
        ("env.id.x=1", "env.id.x: env.id is X-v0, which has no keys"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(setting: str, message: str) -> None:
    found = lines({"env": {"id": "X-v0"}}, setting)
    assert len(found) == 1
    assert found[0].startswith(message)


def test_a_key_of_another_type_says_to_which_it_belongs() -> None:
    assert lines("X-v0", "policy.memory.type=none", "policy.memory.size=3") == [
        "policy.memory.size: unknown key for type none; it belongs to type gru or lstm"
    ]


def test_a_position_outside_a_list_says_so() -> None:
    assert lines("X-v0", "track=[wandb]", "track.1.group=x") == [
        "track.1.group: track is a list of 1; 1 is no position in it (0 is first)"
    ]


def test_all_mistakes_are_told_at_once_with_the_file_they_are_in(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("env: {id: X-v0}\nppo: {lerning_rate: 1e-3, clip: -1}\n", encoding="utf-8")
    assert sorted(lines(str(file), "ppo.epochs=0")) == [
        f"{file}: ppo.clip=-1: must be greater than 0",
        f"{file}: ppo.lerning_rate: unknown key; did you mean ppo.learning_rate?",
        "ppo.epochs=0: must be at least 1",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; the smallest experiment is `env: {id: CartPole-v1}`"),
        ("# nothing\n", "is empty"),
        ("- 1\n- 2\n", "must be a mapping of keys, not [1, 2]"),
        ("hello", "must be a mapping of keys, not hello"),
        ("ppo: {clip: 0.2}", "env: is required (for example env.id: CartPole-v1)"),
        ("env: {num_envs: 2}", "env.id: is required"),
        ("version: 99\nenv: {id: X}", "version 99 is newer than this Proximo (1); update Proximo"),
    ],
)
def test_a_file_that_is_no_experiment(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(content, encoding="utf-8")
    found = lines(file)
    assert len(found) == 1
    assert found[0].startswith(f"{file}: {message}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert lines("no.yaml") == ["no.yaml: there is no such file"]
    assert "is a folder" in lines(str(tmp_path))[0]
    assert "is a folder" in lines(tmp_path)[0]
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    assert lines(binary) == [f"{binary}: is not a text file"]
    assert lines("") == [
        "no experiment is named; give a YAML file or an environment's id, such as CartPole-v1"
    ]


def test_the_environment_is_named_once() -> None:
    assert lines("CartPole-v1", "env.id=Acrobot-v1") == [
        "env.id=Acrobot-v1: name the environment as the first argument instead of CartPole-v1"
    ]


def test_every_alias_leads_to_a_key_that_exists() -> None:
    known = {field.path for field in schema.walk()}
    for target in problems.ALIASES.values():
        assert target.partition("=")[0] in known


def test_no_alias_hides_a_key() -> None:
    own = {field.path.rpartition(".")[2] for field in schema.walk() if "<" not in field.path}
    assert not own & set(problems.ALIASES)
