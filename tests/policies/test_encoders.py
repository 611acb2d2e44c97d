"""Encoders, alone and side by side."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from building import VECTOR, draw, policy, spec
from gymnasium import spaces

from proximo.config.experiment import PolicyConfig
from proximo.core.engines.layers import Unsupported
from proximo.errors import UserError
from proximo.policies.encoders import BaseFeaturesExtractor, FlatEncoder, ImpalaCNN, NatureCNN, ResnetMLP
from proximo.policies.fusion import ObservationEncoder

ACTION = spaces.Discrete(3)
IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
MIXED = {"camera": IMAGE, "speed": VECTOR, "gear": spaces.Discrete(4)}
OWN = """
import torch
from proximo.policies.encoders import BaseFeaturesExtractor

class Own(BaseFeaturesExtractor):
    def __init__(self, observation_space, features_dim=7, wrong=0):
        super().__init__(observation_space, features_dim)
        self.linear = torch.nn.Linear(observation_space.shape[0], features_dim + wrong)
        torch.nn.init.constant_(self.linear.weight, 0.25)
    def forward(self, observations):
        return torch.relu(self.linear(observations))

class Whole(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space, 6)
        assert observation_space["camera"].shape == (3, 36, 40)
    def forward(self, observations):
        return torch.cat([observations["camera"].mean((-2, -1)), observations["speed"][:, :3]], -1)

class Stranger(torch.nn.Module):
    pass
"""


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def encoder(obs_spaces: dict, **config: object) -> ObservationEncoder:
    torch.manual_seed(0)
    return ObservationEncoder(obs_spaces, {}, PolicyConfig.model_validate(config))


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


@pytest.mark.parametrize(("n", "width"), [(1, 1), (11, 128), (24, 64)])
def test_resnet_mlp_has_the_specified_number_of_parameters(n: int, width: int) -> None:
    made = ResnetMLP(spaces.Box(-1, 1, (n,)), width)
    assert count(made) == (n + 1) * width + 5 * (width + 1) * width


def test_resnet_mlp_by_hand() -> None:
    torch.manual_seed(0)
    made = ResnetMLP(spaces.Box(-1, 1, (3,)), 4)
    weights = list(made.parameters())
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    leaky = torch.nn.LeakyReLU()
    x = torch.randn(5, 3)

    def linear(i: int, value: torch.Tensor) -> torch.Tensor:
        return value @ pairs[i][0].T + pairs[i][1]

    h = leaky(linear(0, x))
    h = leaky(h + linear(2, leaky(linear(1, h))))
    h = leaky(h + linear(4, leaky(linear(3, h))))
    torch.testing.assert_close(made(x), leaky(linear(5, h)))


def test_nature_cnn_is_the_published_size() -> None:
    made = NatureCNN(spaces.Box(0, 1, (4, 84, 84)))
    assert count(made) == 8_224 + 32_832 + 36_928 + 1_606_144
    assert made(torch.zeros(2, 4, 84, 84)).shape == (2, 512)


@pytest.mark.parametrize("shape", [(3, 64, 64), (4, 84, 84), (1, 5, 7)])
def test_impala_cnn_takes_any_image(shape: tuple[int, int, int]) -> None:
    made = ImpalaCNN(spaces.Box(0, 1, shape))
    assert made(torch.zeros(2, *shape)).shape == (2, 256)
    convolutions = [layer for layer in made.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 15


def test_small_images_are_refused_by_nature_cnn() -> None:
    with pytest.raises(UserError, match=r"36×36.*20×40.*impala_cnn"):
        encoder({"obs": spaces.Box(0, 255, (20, 40, 3), np.uint8)}, encoder={"type": "nature_cnn"})


def test_a_vector_goes_straight_through() -> None:
    x = torch.randn(2, 3, 5)
    assert encoder({"obs": VECTOR})({"obs": x}) is x


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_any_leading_shape(lead: tuple[int, ...]) -> None:
    made = encoder(MIXED)
    obs = draw(spec(ACTION, MIXED), *lead)
    out = made(obs)
    assert out.shape == (*lead, 512 + 5 + 4)
    last = made({key: entry[(-1,) * len(lead)] for key, entry in obs.items()})
    torch.testing.assert_close(last, out[(-1,) * len(lead)])


def test_no_rows() -> None:
    obs = {key: entry[:0] for key, entry in draw(spec(ACTION, MIXED), 1).items()}
    assert encoder(MIXED)(obs).shape == (0, 521)


def test_slices_of_images_give_what_one_pass_gives() -> None:
    made = encoder({"obs": IMAGE}, encoder={"type": "impala_cnn", "channels": [4], "features_dim": 3})
    x = torch.randint(0, 256, (1100, 36, 40, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(made({"obs": x})[1023:1026], made({"obs": x[1023:1026]}))


def test_each_key_gets_its_encoder() -> None:
    resnet = {"type": "resnet_mlp", "features_dim": 8}
    made = encoder(MIXED, encoder=resnet)
    assert made.features_dim == 512 + 8 + 8
    made = encoder(MIXED, encoder={"type": "impala_cnn", "features_dim": 9})
    assert made.features_dim == 9 + 5 + 4
    made = encoder(MIXED, encoders={"speed": resnet, "camera": {"type": "flat"}})
    assert made.features_dim == 36 * 40 * 3 + 8 + 4


def test_features_are_those_of_the_keys_side_by_side() -> None:
    made = encoder(MIXED, encoders={"camera": {"type": "impala_cnn", "features_dim": 2}})
    obs = draw(spec(ACTION, MIXED), 3)
    out = made(obs)
    torch.testing.assert_close(out[:, 6:], obs["speed"])
    assert out[:, 2:6].argmax(-1).tolist() == obs["gear"].tolist()


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"policy\.encoders\.sped: .*did you mean speed\?"):
        encoder(MIXED, encoders={"sped": {"type": "flat"}})


def test_networks_for_images_need_an_image() -> None:
    with pytest.raises(UserError, match="image"):
        encoder({"obs": VECTOR}, encoder={"type": "nature_cnn"})
    with pytest.raises(UserError, match="image"):
        encoder({"obs": spaces.Discrete(4)}, encoder={"type": "impala_cnn"})
    with pytest.raises(UserError, match="image"):
        encoder({"a": VECTOR, "b": VECTOR}, encoder={"type": "nature_cnn"})


def test_an_encoder_of_your_own(own: str) -> None:
    made = encoder({"obs": VECTOR}, encoder={"type": f"{own}:Own", "kwargs": {"features_dim": 9}})
    made.initialize()
    assert made.features_dim == 9
    assert isinstance(made.groups[0][0], BaseFeaturesExtractor)
    x = torch.ones(2, 5)
    bias = made.groups[0][0].linear.bias
    torch.testing.assert_close(made({"obs": x}), torch.relu(1.25 + bias).expand(2, 9))


def test_an_encoder_of_your_own_reads_a_whole_dict(own: str) -> None:
    made = encoder(MIXED, encoder={"type": f"{own}:Whole"}, encoders={"gear": {"type": "flat"}})
    assert made.features_dim == 4 + 6
    obs = draw(spec(ACTION, MIXED), 3)
    means = obs["camera"].float().mean((1, 2)) / 255
    torch.testing.assert_close(made(obs)[:, 4:7], means)
    torch.testing.assert_close(made(obs)[:, 7:], obs["speed"][:, :3])


def test_an_encoder_of_your_own_for_one_key(own: str) -> None:
    made = encoder(MIXED, encoders={"gear": {"type": f"{own}:Own"}})
    assert made.features_dim == 512 + 7 + 5


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("Own", {"wrong": 1}, r"features_dim=7 but returns \(2, 8\)"),
        ("Own", {"features": 3}, r"policy\.encoder\.kwargs\.features: .*did you mean features_dim"),
        ("Own", {"features_dim": 0}, "features_dim must be positive"),
        ("Stranger", {}, "subclass of proximo.policies.encoders.BaseFeaturesExtractor"),
        ("Oven", {}, "Oven"),
    ],
)
def test_a_wrong_encoder_of_your_own_is_one_line(own: str, name: str, kwargs: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        encoder({"obs": VECTOR}, encoder={"type": f"{own}:{name}", "kwargs": kwargs})
    assert "\n" not in str(caught.value)


def test_an_encoder_of_your_own_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(OWN.replace("self.linear(observations)", "self.linear(observations.T)"))
    with pytest.raises(UserError, match=r"bad\.py:Own fails on observations of shape \(2, 5\)"):
        encoder({"obs": VECTOR}, encoder={"type": f"{tmp_path / 'bad.py'}:Own"})


def test_probing_an_encoder_draws_no_random_numbers(tmp_path: Path) -> None:
    path = tmp_path / "dice.py"
    path.write_text(OWN.replace("torch.relu(", "torch.rand(1) * torch.relu("))
    env = spec(ACTION)
    rolled = policy(env, encoder={"type": f"{path}:Own"})
    first = torch.rand(1)
    fair = tmp_path / "fair.py"
    fair.write_text(OWN)
    policy(env, encoder={"type": f"{fair}:Own"})
    assert torch.equal(torch.rand(1), first)
    assert rolled.trunks["actor"].encoder.features_dim == 7


def test_the_base_class_needs_no_environment_library_beyond_spaces() -> None:
    # A user's file imports this module; it must not start a simulator.
    code = "import sys, proximo.policies.encoders; print('mujoco' in sys.modules, 'pygame' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]


def test_a_subclass_of_a_built_in_encoder_is_not_taken_for_it() -> None:
    """The kernels compute what built-in encoders compute; a user's subclass may do anything."""

    class Doubled(FlatEncoder):
        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return 2.0 * super().forward(observations)

    made = policy(spec(ACTION))
    assert made.graph().obs_width == 5
    for trunk in made.trunks.values():
        part, keys, as_dict = trunk.encoder.groups[0]
        trunk.encoder.groups[0] = (Doubled(part.observation_space), keys, as_dict)
    with pytest.raises(Unsupported, match="Doubled"):
        made.graph()
