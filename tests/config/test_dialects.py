"""The lab's YAML: what each key becomes and what is refused."""

import copy
from pathlib import Path

import pytest
import yaml

from proximo.config import dialects, lab_keys
from proximo.config.load import dump_experiment, load_experiment, load_traced
from proximo.errors import UserError

EXAMPLE = Path(__file__).with_name("lab_example.yaml")
PPO, NET, LOOP = lab_keys.PPO, lab_keys.NET, lab_keys.LOOP
SMALL = {
    "experiment": {"name": "small"},
    "environment": {"id": "CartPole-v1"},
    "training": {"training": {"total_timesteps": 4096}},
}


def lab(**values):
    """A small lab file with values at dotted paths (dots written as two underscores)."""
    tree = copy.deepcopy(SMALL)
    for path, value in values.items():
        here, *_ = [tree]
        keys = path.split("__")
        for key in keys[:-1]:
            here = here.setdefault(key, {})
        here[keys[-1]] = value
    return tree


def parameters(**values):
    return lab(**{f"training__algorithm_parameters__{key}": value for key, value in values.items()})


def network(**values):
    return lab(**{f"training__architecture__{key}": value for key, value in values.items()})


def error(tree, items=()):
    with pytest.raises(UserError) as caught:
        load_experiment(tree, items)
    return str(caught.value)


def test_the_example_becomes_this() -> None:
    made = load_experiment(EXAMPLE)
    assert (made.name, made.env.id, made.env.num_envs, made.device) == (
        "BipedalWalker-Benchmark",
        "BipedalWalker-v3",
        1,
        "cuda",
    )
    ppo = made.ppo
    assert (ppo.total_steps, ppo.num_steps, ppo.minibatch_size, ppo.epochs) == (500_000, 8192, 512, 5)
    assert (ppo.learning_rate, ppo.gamma, ppo.gae_lambda, ppo.clip) == (3e-4, 0.99, 0.95, 0.2)
    assert (ppo.entropy_coef, ppo.value_coef, ppo.max_grad_norm) == (0.0, 0.5, 0.5)
    policy = made.policy
    assert policy.encoder.model_dump() == {"type": "resnet_mlp", "features_dim": 128}
    assert (policy.hidden_sizes, policy.value_hidden_sizes) == ((128, 128), (128, 128))
    assert (policy.activation, policy.share_encoder) == ("ReLU", False)
    assert (made.video.every, made.video.length) == (5000, 500)
    assert (made.eval.seed, made.eval.episodes, made.eval.num_evals) == (5, 5, 15)
    assert made.checkpoint.every == 50_000
    assert made.hooks["evaluation"].kwargs == {"episodes": 1}
    board, wandb = made.track
    assert board.type == "tensorboard"
    assert (wandb.project, wandb.group) == ("sb3", "BipedalWalker-v3")
    assert wandb.sync_tensorboard
    assert wandb.monitor_gym
    assert made.init_from is None


def test_what_is_left_out_is_as_in_stable_baselines3() -> None:
    made = load_experiment(lab())
    ppo, policy = made.ppo, made.policy
    assert (ppo.num_steps, ppo.minibatch_size, ppo.epochs, made.env.num_envs) == (2048, 64, 10, 1)
    assert (ppo.learning_rate, ppo.clip, ppo.adam_eps, ppo.max_grad_norm) == (3e-4, 0.2, 1e-5, 0.5)
    assert (ppo.value_clip, ppo.target_kl, ppo.prime_steps, ppo.normalize_reward) == (None, None, 0, False)
    assert (ppo.entropy_coef, ppo.value_coef, ppo.normalize_advantage) == (0.0, 0.5, "minibatch")
    assert (policy.normalize_obs, policy.ortho_init, policy.share_encoder) == (False, True, True)
    assert (policy.activation, policy.hidden_sizes, policy.value_hidden_sizes) == ("Tanh", (64, 64), (64, 64))
    assert policy.encoder.type == "flat"
    assert made.track == ()
    assert made.video.every is None


def test_the_same_parameters_as_by_hand() -> None:
    from proximo.build import build_policy, choose_device
    from proximo.envs.make import make_env

    made = load_experiment(EXAMPLE)
    env = make_env(made.env)
    policy = build_policy(made, env.spec, choose_device("cpu", print))
    env.close()
    n, f, actions = 24, 128, 4
    encoder = (n + 1) * f + 5 * (f + 1) * f
    layers = 2 * (f + 1) * f
    heads = (f + 1) * actions + actions + (f + 1)
    assert sum(p.numel() for p in policy.parameters()) == 2 * (encoder + layers) + heads


def test_every_line_of_the_translation_names_both_keys() -> None:
    translation = load_traced(EXAMPLE).translation
    assert translation is not None
    shown = "\n".join(translation.lines)
    assert f"{PPO}.n_steps → ppo.num_steps=8192" in shown
    assert f"{NET}.share_features_extractor → policy.share_encoder=false" in shown
    assert "left out, so as in stable-baselines3: env.num_envs=1" in shown
    tree = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    for path, value in overrides_leaves(tree):
        if value != "None":
            assert any(line.startswith(f"  {path} → ") for line in translation.lines), path
    assert translation.verbosity == 1


def overrides_leaves(tree, prefix=""):
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and path not in lab_keys.KEYS:
            yield from overrides_leaves(value, f"{path}.")
        else:
            yield path, value


@pytest.mark.parametrize(
    ("tree", "path", "value"),
    [
        (parameters(learning_rate="lin_2.5e-4"), "ppo.learning_rate", 2.5e-4),
        (parameters(learning_rate="linear_1e-3"), "ppo.lr_schedule", "linear"),
        (parameters(clip_range="lin_0.1"), "ppo.clip_schedule", "linear"),
        (parameters(clip_range_vf=0.2), "ppo.value_clip", 0.2),
        (parameters(target_kl=0.03), "ppo.target_kl", 0.03),
        (parameters(normalize_advantage=False), "ppo.normalize_advantage", "none"),
        (parameters(use_sde=True), "policy.head.sample_freq", 2048),
        (parameters(use_sde=True), "policy.head.log_std_init", 0.0),
        (parameters(use_sde=True, sde_sample_freq=4), "policy.head.sample_freq", 4),
        (parameters(policy="CnnPolicy"), "policy.encoder.type", "nature_cnn"),
        (parameters(policy="CnnPolicy"), "policy.hidden_sizes", ()),
        (parameters(policy="MultiInputPolicy"), "policy.encoder.type", "auto"),
        (parameters(seed=3), "seed", 3),
        (parameters(tensorboard_log="./logs"), "track.0.type", "tensorboard"),
        (parameters(policy_kwargs={"activation_fn": "nn.ELU"}), "policy.activation", "ELU"),
        (parameters(policy_kwargs={"log_std_init": -1}), "policy.head.log_std_init", -1.0),
        (network(net_arch=[32]), "policy.value_hidden_sizes", (32,)),
        (network(net_arch=[{"pi": [8], "vf": []}]), "policy.value_hidden_sizes", ()),
        (network(features_extractor_class="NatureCNN"), "policy.hidden_sizes", ()),
        (network(optimizer_kwargs={"eps": 1e-7}), "ppo.adam_eps", 1e-7),
        (network(ortho_init=False), "policy.ortho_init", False),
        (lab(n_environments=4), "env.num_envs", 4),
        (lab(training__training__num_envs=4), "env.num_envs", 4),
        (lab(environment__env_config={"gravity": 3}), "env.kwargs.gravity", 3),
        (lab(environment__render_mode="human"), "env.kwargs.render_mode", "human"),
        (lab(training__evaluation={"num_episodes": 7}), "hooks.evaluation.kwargs.episodes", 7),
        (lab(training__training__log_points=4), "checkpoint.every", 1024),
        (lab(training__training__device="cuda:0"), "device", "cuda"),
        (lab(training__pretrained_model="runs/a/b"), "init_from", "runs/a/b"),
        (lab(unity="None"), "env.id", "CartPole-v1"),
    ],
)
def test_a_key_becomes(tree, path: str, value: object) -> None:
    from proximo.config.overrides import get

    assert get(load_experiment(tree), path) == value


def test_the_video_trigger_counts_steps_of_all_copies() -> None:
    video = {"video_wrapper": True, "video_trigger": 100, "video_length": 9}
    made = load_experiment(lab(environment={"id": "CartPole-v1", **video}, n_environments=8))
    assert (made.video.every, made.video.length) == (800, 9)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (network(net_arch={"pi'": [128], "vf": [128]}), ["net_arch.pi': unknown key; did you mean pi?"]),
        (network(net_arch={"pi": [128]}), ["net_arch.vf: is required", "vf: []"]),
        (network(net_arch=64), ["net_arch=64", "must be a list"]),
        (network(activation_function="ReLU"), ["activation_function", "did you mean activation_fn?"]),
        (network(features_extractor_class="ResnetMlp"), ["no class ResnetMlp", "did you mean ResnetMLP?"]),
        (network(features_extractor_kwargs={"features_dim": 9}), ["features_extractor_class"]),
        (
            network(features_extractor_class="ResnetMLP", features_extractor_kwargs={"feature_dim": 9}),
            ["features_extractor_kwargs.feature_dim", "did you mean features_dim?"],
        ),
        (network(squash_output=True), ["squash_output=true", "not supported"]),
        (network(optimizer_class="RMSprop"), ["optimizer_class=RMSprop", "must be Adam"]),
        (parameters(n_step=5), [f"{PPO}.n_step: unknown key; did you mean n_steps?"]),
        (parameters(n_steps="many"), [f"{PPO}.n_steps", "whole number"]),
        (parameters(batch_size=0), [f"{PPO}.batch_size", "at least 1"]),
        (parameters(learning_rate="fast"), [f"{PPO}.learning_rate=fast", "lin_"]),
        (
            parameters(policy="MlpLstmPolicy"),
            ["policy=MlpLstmPolicy", "MlpPolicy", "policy.memory.type=lstm"],
        ),
        (parameters(rollout_buffer_class="x"), ["rollout_buffer_class", "not supported"]),
        (parameters(seed=1, policy_kwargs={"net_arc": []}), ["policy_kwargs.net_arc", "net_arch"]),
        (lab(trainning={}), ["trainning: unknown key; did you mean training?"]),
        (lab(training__total_timesteps=9), [f"did you mean {LOOP}.total_timesteps?"]),
        (lab(training__algorithm="sac"), ["training.algorithm=sac", "PPO only"]),
        (lab(training__algorithm="ppo3"), ["training.algorithm=ppo3", "no such algorithm"]),
        (lab(training__pretrained_model="a/model.zip"), ["pretrained_model=a/model.zip", "pickle"]),
        (lab(training__training__verbose=7), ["verbose=7", "0, 1 or 2"]),
        (lab(training__training__device="cuda:2"), ["cuda:2", "CUDA_VISIBLE_DEVICES=2"]),
        (lab(training__training__seed=1, training__algorithm_parameters={"seed": 2}), ["keep one"]),
        (lab(training=5), ["training=5", "must be a mapping"]),
        (lab(environment__video_wrapper=True), ["video_trigger"]),
        (lab(environment__monitor="yes"), ["monitor='yes'", "true or false"]),
        (lab(environment__env_config="x.yaml"), ["env_config=x.yaml", "mapping"]),
        (lab(unity={"build_path": "x"}), ["unity: ", "not supported yet"]),
        (lab(ros={"node_name": "train"}), ["ros: ", "not supported yet"]),
        (
            lab(environment={}, training={}),
            ["environment.id: is required", f"{LOOP}.total_timesteps: is req"],
        ),
        (lab(experiment__name="a/b"), ["experiment.name", "letters"]),
        (lab(n_environments=0), ["n_environments=0", "at least 1"]),
    ],
)
def test_a_mistake_is_named(tree, words: list[str]) -> None:
    message = error(tree)
    for word in words:
        assert word in message
    assert all(line.startswith("lab file") for line in message.splitlines())


def test_all_mistakes_are_told_at_once() -> None:
    message = error(network(net_arch={"pi'": [1], "vf": [1]}, activation="ReLU"))
    assert "pi'" in message
    assert "activation_fn" in message


def test_a_stray_quote_in_a_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    quote = EXAMPLE.read_text(encoding="utf-8").replace("{'pi': [128, 128]", "{pi': [128, 128]")
    file.write_text(quote, encoding="utf-8")
    assert f"{file}: {NET}.net_arch.pi': unknown key; did you mean pi?" in error(file)


def test_an_unzipped_name_of_a_pickled_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04")
    file = tmp_path / "lab.yaml"
    file.write_text(yaml.safe_dump(lab(training__pretrained_model="model")), encoding="utf-8")
    assert "pickle" in error(file)


def test_settings_of_the_command_line_in_both_languages() -> None:
    items = ["training.algorithm_parameters.n_steps=128", "ppo.epochs=2", "seed=4"]
    made = load_experiment(EXAMPLE, ["ppo.minibatch_size=64", *items])
    assert (made.ppo.num_steps, made.ppo.epochs, made.seed) == (128, 2, 4)
    assert "n_stepz" in error(lab(), ["training.algorithm_parameters.n_stepz=128"])


def test_our_own_files_are_left_alone() -> None:
    assert not dialects.is_lab({"env": {"id": "CartPole-v1"}, "environment": {}, "training": {}})
    assert not dialects.is_lab({"environment": "CartPole-v1"})
    assert load_traced({"env": {"id": "CartPole-v1"}}).translation is None


def test_the_translation_validates_when_written_out(tmp_path: Path) -> None:
    made = load_experiment(EXAMPLE)
    file = tmp_path / "experiment.yaml"
    file.write_text(dump_experiment(made), encoding="utf-8")
    assert load_experiment(file) == made


def test_the_table_in_the_docs_is_complete() -> None:
    page = (Path(__file__).parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")
    for path, meaning in lab_keys.KEYS.items():
        assert f"| `{path}` | {meaning} |" in page
    for path in (*lab_keys.REFUSED, *lab_keys.PLACES):
        assert f"`{path}`" in page
