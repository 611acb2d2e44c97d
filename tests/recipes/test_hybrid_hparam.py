"""hparam.yml: the keys with their numbers, how a file here extends them, and what wins over what."""

import pytest

from proximo.cli.hybrid import options_of
from proximo.cli.main import build_parser
from proximo.config import overrides
from proximo.config.experiment import Experiment
from proximo.errors import UserError
from proximo.recipes.hybrid_hparam import resolve

BASE = ["--dataset", "mujoco", "--env", "walker2d", "--names", "expert-v0"]
KEYS = ["--hparam_bc", "Walker2d-v4-bc-large", "--hparam_hybrid", "Walker2d-v4-hybrid"]
SAME = {"vf": 0.871923, "ent": 0.000585045}
# envs, total, batch, steps, gamma, rate, clip, epochs, lambda, norm; mix, rho, c, subtract
TABLE = {
    "Walker2d-v4": (8, 25e6, 64, 512, 0.99, 5.05041e-5, 0.1, 20, 0.95, 1, (0.5, 1, 0.9, 0), SAME),
    "Walker2d-v4-bc-large": (8, 25e6, 256, 512, 0.99, 1e-4, 0.1, 20, 0.95, 1, None, SAME),
    "Walker2d-v4-hybrid": (8, 25e6, 64, 512, 0.99, 5.05041e-6, 0.1, 20, 0.95, 1, (0.5, 1, 0.95, 0), SAME),
    "InvertedDoublePendulum-v2": (1, 1e6, 512, 128, 0.98, 1.55454e-4, 0.4, 10, 0.8, 0.5, None,
                                  {"ent": 1.05057e-6, "vf": 0.695929}),
    "default": (16, 25e7, 512, 512, 0.99, 5e-5, 0.1, 10, 0.95, 1, (0.5, 1, 0.99, 0.01), SAME),
    "default_bc": (8, 25e6, 256, 512, 0.99, 1e-4, 0.1, 20, 0.95, 1, None, SAME),
}  # fmt: skip
PATHS = ("env.num_envs", "ppo.total_steps", "ppo.minibatch_size", "ppo.num_steps", "ppo.gamma", "ppo.learning_rate",
         "ppo.clip", "ppo.epochs", "ppo.gae_lambda", "ppo.max_grad_norm")  # fmt: skip


def parsed(*words):
    return options_of(build_parser().parse_args(["hybrid", *words]))


def test_underscores_and_dashes_are_the_same():
    words = [*BASE, *KEYS, "--num_bc_epochs", "3", "--skip_bc", "--mix_ratio", "0.25", "--save_file", "x"]
    assert parsed(*words) == parsed(*[w.replace("_", "-") if w.startswith("--") else w for w in words])
    assert parsed(*words)["num_bc_epochs"] == 3


def test_every_argument_of_the_reference_is_there():
    full = """--seed 42 --num_bc_epochs 50 --bc_batch_size 128 --bc_coeff 0.005 --warm_start_steps 100 --mix_ratio 0.5
    --rho_bar 1.0 --c_bar 0.95 --log_std_subtract 0.0 --device auto --log_interval 10 --save_every_epochs 5"""
    resolved = resolve(parsed("--names", "expert-v0", "expert-v1", *BASE[:4], *KEYS, *full.split()))
    assert resolved.config.names == ["expert-v0", "expert-v1"]
    assert resolved.config.data_sets == ["mujoco/walker2d/expert-v0", "mujoco/walker2d/expert-v1"]
    # The defaults are the reference's, too.
    plain = resolve(parsed(*BASE, *KEYS))
    for name in full.split()[::2]:
        assert getattr(plain.config, name[2:]) == getattr(resolved.config, name[2:])


@pytest.mark.parametrize("key", TABLE)
def test_the_keys_have_the_numbers_of_the_table(key):
    *numbers, mixture, coefficients = TABLE[key]
    data = resolve(parsed(*BASE, "--hparam_bc", "default_bc", "--hparam_hybrid", key)).hybrid.data
    assert [overrides.get(data, path) for path in PATHS] == pytest.approx(numbers)
    assert overrides.get(data, "ppo.value_coef") == coefficients["vf"]
    assert overrides.get(data, "ppo.entropy_coef") == coefficients["ent"]
    assert overrides.get(data, "ppo.normalize_advantage") == "minibatch"
    assert data["policy"]["hidden_sizes"] == data["policy"]["value_hidden_sizes"] == [64, 64]
    assert data["policy"]["activation"] == "ReLU"
    assert data["policy"]["head"] == {"type": "gaussian", "log_std_init": 0.0}
    config = resolve(parsed(*BASE, "--hparam_bc", "default_bc", "--hparam_hybrid", key)).config
    if mixture is not None:
        assert (config.mix_ratio, config.rho_bar, config.c_bar, config.log_std_subtract) == mixture


@pytest.mark.parametrize("name", ["Walker2d", "Humanoid", "Ant", "Hopper", "HalfCheetah"])
def test_every_body_has_both_keys(name):
    resolved = resolve(
        parsed(*BASE, "--hparam_bc", f"{name}-v4-bc-large", "--hparam_hybrid", f"{name}-v4-hybrid")
    )
    assert resolved.bc.data["ppo"] == {"learning_rate": 1e-4, "max_grad_norm": 1.0, "adam_eps": 1e-8}
    assert Experiment.model_validate({**resolved.hybrid.data, "env": {"id": f"{name}-v5", "num_envs": 8}})


def test_option_over_entry_over_default(tmp_path):
    (tmp_path / "hparam.yml").write_text(
        "mine: {learning_rate: 0.002, mix_ratio: 0.75, c_bar: 0.8, n_envs: 2, n_steps: 64, batch_size: 32}\n"
        "mine_bc: {learning_rate: 0.01, num_bc_epochs: 7, mix_ratio: 0.1}\n"
    )
    words = [*BASE, "--hparam_bc", "mine_bc", "--hparam_hybrid", "mine", "--c_bar", "0.7"]
    resolved = resolve(parsed(*words), tmp_path)
    config = resolved.config
    assert (config.c_bar, config.mix_ratio, config.rho_bar, config.num_bc_epochs) == (0.7, 0.75, 1.0, 7)
    said = "\n".join(resolved.lines())
    assert "c_bar=0.7" in said.splitlines()[0]
    assert "mix_ratio=0.75" in next(line for line in said.splitlines() if line.startswith("mine in "))
    assert "of no use here: mix_ratio" in said
    # What an entry leaves out is as in stable-baselines3.
    assert resolved.hybrid.data["ppo"]["epochs"] == 10
    assert resolved.hybrid.data["policy"]["activation"] == "Tanh"


def test_a_file_here_extends_and_replaces(tmp_path):
    (tmp_path / "hparam.yml").write_text(
        "Walker2d-v4-hybrid:\n  n_timesteps: !!float 1e6\n  learning_rate: lin_3e-5\n  normalize: true\n"
        '  policy: MlpPolicy\n  policy_kwargs: "dict(log_std_init=-2, activation_fn=nn.GELU, '
        'net_arch=dict(pi=[256, 128], vf=[32]))"\n'
    )
    resolved = resolve(parsed(*BASE, *KEYS), tmp_path)
    data = resolved.hybrid.data
    assert data["ppo"]["total_steps"] == 1_000_000
    assert (data["ppo"]["learning_rate"], data["ppo"]["lr_schedule"]) == (3e-5, "linear")
    assert data["policy"]["head"]["log_std_init"] == -2
    assert (data["policy"]["hidden_sizes"], data["policy"]["value_hidden_sizes"]) == ([256, 128], [32])
    assert data["policy"]["activation"] == "GELU"
    assert data["ppo"]["normalize_reward"] is True
    assert resolved.bc.source != resolved.hybrid.source
    assert "Walker2d-v4-hybrid: the entry in hparam.yml here counts" in "\n".join(resolved.lines())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("mine: {learning_rat: 1}", "mine: learning_rat: unknown key; did you mean learning_rate?"),
        ("mine: {n_steps: 1.5}", "mine: n_steps=1.5: must be a whole number of at least 1"),
        ("mine: {mix_ratio: 2}", "mine: --mix_ratio 2.0: must be at most 1"),
        ("mine: 3", "mine: must be a mapping"),
        ("[1]", "must be a mapping of keys"),
        ('mine: {policy_kwargs: "dict(a=__import__(1))"}', "policy_kwargs: must be a mapping"),
        (
            "mine: {policy_kwargs: {net_arc: [3]}}",
            "policy_kwargs.net_arc: unknown key; did you mean net_arch?",
        ),
    ],
)
def test_mistakes_in_the_file_are_one_line(tmp_path, content, said):
    (tmp_path / "hparam.yml").write_text(content + "\n")
    with pytest.raises(UserError) as error:
        resolve(parsed(*BASE, "--hparam_bc", "default_bc", "--hparam_hybrid", "mine"), tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "hparam.yml") in str(error.value)


def test_a_missing_key_lists_the_keys():
    with pytest.raises(UserError) as error:
        resolve(parsed(*BASE, "--hparam_bc", "Walker2d-v4-bc-larg", *KEYS[2:]))
    said = str(error.value)
    assert said.startswith("BC hparam key 'Walker2d-v4-bc-larg' not found in hparam.yml; did you mean")
    for key in ("Walker2d-v4-bc-large", "Humanoid-v4-hybrid", "Ant-v4-bc-large", "default_bc"):
        assert key in said
    assert "\n" not in said
    with pytest.raises(UserError, match=r"^Hybrid hparam key 'x' not found in hparam.yml"):
        resolve(parsed(*BASE, *KEYS[:2], "--hparam_hybrid", "x"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--skip_bc", "--force-bc-retrain"], "--skip_bc and --force_bc_retrain exclude each other"),
        (["--mix_ratio", "1.5"], "--mix_ratio 1.5: must be at most 1"),
        (["--num_bc_epochs", "0"], "--num_bc_epochs 0.*: must be at least 1"),
        (["--seed", "x"], "--seed x: must be a whole number"),
        (["--device", "tpu"], "--device tpu: must be one of auto, cpu, cuda, mps"),
        (["--names", "../x"], "--names '../x': must be one part"),
        (["--names", "a", "a"], "--names: give each variant once"),
    ],
)
def test_bad_arguments_are_one_line(words, said):
    with pytest.raises(UserError, match=f"^{said}"):
        resolve(parsed(*BASE, *KEYS, *words))


def test_what_is_required_is_said():
    with pytest.raises(UserError, match="required: --dataset, --env, --names, --hparam_bc"):
        build_parser().parse_args(["hybrid"])


def test_settings_may_stand_anywhere():
    options = parsed(*BASE, "ppo.clip=0.3", *KEYS, "--seed", "1")
    assert options["settings"] == ["ppo.clip=0.3"]
    assert options["names"] == ["expert-v0"]
