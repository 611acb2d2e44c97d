"""Activations by name, orthogonal layers, module names."""

import pytest
import torch
from torch import nn

from proximo.errors import UserError
from proximo.policies.layers import activation, activation_names, mlp, orthogonal, slot


@pytest.mark.parametrize("name", activation_names())
def test_every_activation_keeps_the_shape_and_is_a_function(name: str) -> None:
    module = activation(name)
    x = torch.randn(3, 4)
    assert module(x).shape == (3, 4)
    assert torch.equal(module(x), module(x))


def test_the_usual_activations_are_known() -> None:
    assert {"Tanh", "ReLU", "ELU", "GELU", "SiLU", "LeakyReLU", "Mish", "PReLU", "Softplus"} <= set(
        activation_names()
    )
    assert isinstance(activation("SELU"), nn.SELU)


@pytest.mark.parametrize(
    ("wrong", "right"), [("tanh", "Tanh"), ("nn.ReLU", "ReLU"), ("LeakyRelu", "LeakyReLU")]
)
def test_an_unknown_activation_is_named_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=rf"{wrong}.*did you mean {right}\?"):
        activation(wrong)


def test_layers_that_are_no_activation_are_refused() -> None:
    for name in ("Linear", "GLU", "MultiheadAttention", "Threshold", "__doc__"):
        with pytest.raises(UserError):
            activation(name)


def test_mlp_is_linear_and_activation_per_width() -> None:
    layers = mlp(3, (5, 2), "ReLU")
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]
    assert layers(torch.zeros(7, 3)).shape == (7, 2)
    x = torch.randn(2, 3)
    assert mlp(3, (), "ReLU")(x) is x


def test_orthogonal_weights_and_zero_biases() -> None:
    layers = nn.Sequential(nn.Linear(8, 8), nn.Conv2d(2, 4, 3), nn.GRU(4, 4))
    orthogonal(layers, 2.0)
    weight = layers[0].weight
    torch.testing.assert_close(weight @ weight.T, 4 * torch.eye(8), atol=1e-5, rtol=1e-5)
    kernel = layers[1].weight.flatten(1)
    torch.testing.assert_close(kernel @ kernel.T, 4 * torch.eye(4), atol=1e-5, rtol=1e-5)
    for name, parameter in layers.named_parameters():
        if "bias" in name:
            assert not parameter.any(), name


def test_slots_take_any_key() -> None:
    nn.ModuleDict({slot(name): nn.Identity() for name in ("a.b", "keys", "type", "", "größe")})
