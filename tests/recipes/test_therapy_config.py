"""The flat configuration: defaults of the specification, files, options that win, and one line per mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

import proximo.recipes
from proximo.build import build_policy
from proximo.core.types import PLAIN_KEY
from proximo.envs.make import make_env
from proximo.errors import UserError
from proximo.recipes.therapy import experiment_of
from proximo.recipes.therapy_config import get_default_config, load_config, resolve, resolve_over, save_config
from proximo.recipes.therapy_fields import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]


def written(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(call, *given, **named):
    with pytest.raises(UserError) as caught:
        call(*given, **named)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_the_defaults_are_those_of_the_specification():
    experiment = experiment_of(get_default_config())
    ppo, env, policy = experiment.ppo, experiment.env, experiment.policy
    assert (ppo.learning_rate, ppo.epochs, ppo.minibatch_size) == (3e-4, 10, 64)
    assert (ppo.gamma, ppo.gae_lambda, ppo.clip, ppo.value_clip) == (0.99, 0.95, 0.2, 0.2)
    assert (ppo.value_coef, ppo.entropy_coef, ppo.max_grad_norm) == (0.5, 0.01, 0.5)
    assert (ppo.normalize_reward, ppo.normalize_advantage, ppo.total_steps) == (True, "minibatch", 500_000)
    assert env.num_envs * ppo.num_steps == 512
    assert env.num_envs == 8
    assert env.kwargs["threshold"] == 0.9
    assert env.kwargs["patterns"] == [
        "cold_stuck",
        "dominant_stuck",
        "submissive_stuck",
        "mixed_random",
        "cold_warm",
    ]
    assert policy.encoder.type == "therapy"
    assert policy.encoder.hidden_size == 256
    assert policy.hidden_sizes == ()
    assert experiment.threads == 1
    assert set(experiment.rewards) == set()


def test_the_network_is_the_specified_one():
    experiment = experiment_of(get_default_config())
    env = make_env(experiment.env, num_envs=1)
    policy = build_policy(experiment, env.spec, env.spec.device)
    assert sum(p.numel() for p in policy.parameters()) == 348_313


def test_a_saved_configuration_comes_back(tmp_path):
    config = TrainingConfig(
        threshold=0.6, patterns=["cold_stuck"], settings=["ppo.lr_schedule=linear"], seed=7
    )
    save_config(config, tmp_path / "deep" / "x.yaml")
    assert load_config(tmp_path / "deep" / "x.yaml") == config


def test_a_predecessors_file_is_read(tmp_path):
    """Keys and nulls of the YAML files that its users have."""
    text = "experiment_name: old\nbond_alpha: null\nmax_grad_norm: null\nlstm_hidden_size: 128\n"
    config = load_config(written(tmp_path, text + "use_omniscient_wrapper: true\ntotal_timesteps: 5e4\n"))
    experiment = experiment_of(config)
    assert experiment.ppo.total_steps == 50_000
    assert experiment.ppo.max_grad_norm > 1e9
    assert "bond_alpha" not in experiment.env.kwargs
    assert [wrapper.name.rpartition(":")[2] for wrapper in experiment.env.wrappers] == ["Omniscient"]
    assert experiment.policy.normalize_obs


def test_an_explicit_option_wins_and_the_rest_combines(tmp_path):
    path = written(tmp_path, "threshold: 0.9\nn_envs: 4\n")
    resolved = resolve(path, {"threshold": 0.8, "seed": 3})
    config = resolved.config
    assert (config.threshold, config.n_envs, config.seed, config.n_epochs) == (0.8, 4, 3, 10)
    lines = list(resolved.lines())
    assert f"{path}: n_envs=4" in lines
    assert "options: threshold=0.8, seed=3" in lines
    assert "--threshold wins over the file's threshold=0.9" in lines
    assert any(line.startswith("defaults: ") and "n_epochs=10" in line for line in lines)


def test_a_resumed_training_keeps_what_neither_file_nor_option_says(tmp_path):
    base = TrainingConfig(threshold=0.6, n_envs=2, total_timesteps=1000)
    resolved = resolve_over(base, written(tmp_path, "n_epochs: 3\n"), {"total_timesteps": 2000})
    assert resolved.config == TrainingConfig(threshold=0.6, n_envs=2, n_epochs=3, total_timesteps=2000)
    assert resolved.overruled == {}


def test_curriculum_and_shaping_are_lines_of_the_experiment():
    config = TrainingConfig(threshold=0.7, curriculum_start=0.5, curriculum_step=0.1, shaping=30.0)
    experiment = experiment_of(config)
    hook, term = experiment.hooks["curriculum"], experiment.rewards["shaping"]
    assert (hook.parameter, hook.start, hook.end, hook.step) == ("threshold", 0.5, 0.7, 0.1)
    assert (term.type, term.weight, term.after) == ("potential", 30.0, "progress")
    assert experiment.env.kwargs["threshold"] == 0.7


def test_clients_may_perceive_better_at_first():
    experiment = experiment_of(TrainingConfig(perception_start=0.9, perception_episodes=7))
    hook = experiment.hooks["perception"]
    assert (hook.parameter, hook.start, hook.end, hook.episodes) == ("baseline_accuracy", 0.9, 0.5, 7)
    for wrong in ({"perception_start": 0.5}, {"perception_start": 0.9, "enable_perception": False}):
        (line,) = refused(experiment_of, TrainingConfig(**wrong))
        assert "must be above baseline_accuracy=0.5" in line


def test_a_summary_is_read_by_layers_that_the_kernels_run():
    experiment = experiment_of(TrainingConfig(observation="summary", hidden_size=32))
    env = make_env(experiment.env, num_envs=1)
    policy = build_policy(experiment, env.spec, env.spec.device)
    graph = policy.graph()
    assert [layer.outputs for layer in graph.layers] == [32, 32, 32, 32, 8, 1]
    assert graph.obs_width == env.spec.obs_spaces[PLAIN_KEY].shape[0]
    all_in_one = experiment_of(TrainingConfig(observation="summary", use_omniscient_wrapper=True))
    assert [wrapper.kwargs for wrapper in all_in_one.env.wrappers] == [{"omniscient": True}]
    # U is learnt from only so.
    assert (experiment.policy.normalize_obs, all_in_one.policy.normalize_obs) == (False, True)
    lines = refused(TrainingConfig, observation="all")
    assert lines == ["observation='all': must be one of history, summary"]


@pytest.mark.parametrize("name", ["example_experiment.yaml", "learn.yaml", "test_training.yaml"])
def test_shipped_files_are_those_beside_the_readme(name, tmp_path, monkeypatch, capsys):
    packaged = Path(proximo.recipes.__file__).parent / "configs" / name
    assert packaged.read_bytes() == (ROOT / "configs" / name).read_bytes()
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("configs") / name)
    assert "ships" in capsys.readouterr().out
    experiment_of(config)
    if name == "test_training.yaml":
        assert (config.total_timesteps, config.n_envs) == (10_000, 2)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("treshold: 0.5\n", ["treshold: unknown key; did you mean threshold?"]),
        (
            "threshold: high\nn_envs: 0\n",
            ["threshold='high': must be a number", "n_envs=0: must be at least 1"],
        ),
        ("n_envs: 2.5\n", ["n_envs=2.5: must be a whole number"]),
        ("n_envs: true\n", ["n_envs=True: must be a whole number"]),
        ("learning_rate: 0\n", ["learning_rate=0.0: must be positive"]),
        ("gamma: 1.5\n", ["gamma=1.5: must be at most 1"]),
        ("patterns: [1]\n", ["patterns=[1]: must be a list of names"]),
        ("memory: gruu\n", ["memory='gruu': must be one of none, gru, lstm"]),
        ("experiment_name: a/b\n", ["experiment_name='a/b': must begin with"]),
        ("enable_perception: 1\n", ["enable_perception=1: must be true or false"]),
        ("seed: null\n", ["seed=None: must be a whole number"]),
        ("- 1\n", ["must be a mapping of keys"]),
        ("env: {id: CartPole-v1}\n", ["is an experiment"]),
        ("seed: 1\nseed: 2\n", ["stands twice"]),
    ],
)
def test_a_bad_file_is_one_line_per_mistake(tmp_path, text, lines):
    found = refused(load_config, written(tmp_path, text))
    assert len(found) == len(lines)
    for line, wanted in zip(found, lines, strict=True):
        assert "config.yaml" in line
        assert wanted in line


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"threshold": 1.5}, "threshold must be a number in (0, 1], not 1.5"),
        ({"threshold": 0.0}, "threshold must be a number in (0, 1], not 0.0"),
        ({"patterns": ["cold_stuc"]}, "did you mean cold_stuck?"),
        ({"patterns": []}, "patterns must name one or more"),
        ({"mechanism": "bond"}, "'bond' is none of bond_only"),
        ({"max_sessions": 0}, "max_sessions must be a whole number"),
        ({"entropy": -1.0}, "entropy must be a positive number"),
        ({"batch_size": 1024}, "batch_size=1024 is larger than the 512 sessions of an update"),
        ({"threshold": 0.5, "curriculum_start": 0.5}, "curriculum_start=0.5: must be above 0 and below"),
        ({"settings": ["ppo.lr=3"]}, "ppo.lr: unknown key; did you mean ppo.learning_rate?"),
        ({"settings": ["nonsense"]}, "nonsense: a setting is written as key=value"),
    ],
)
def test_what_does_not_fit_is_one_line(values, line):
    (found,) = refused(experiment_of, TrainingConfig(**values))
    assert line in found


def test_what_was_assigned_is_checked_too():
    config = get_default_config()
    config.gamma = 2.0
    assert refused(experiment_of, config) == ["gamma=2.0: must be at most 1"]


def test_a_missing_file():
    assert refused(load_config, "nowhere.yaml") == ["nowhere.yaml: there is no such file"]
