"""Convolutions on bytes, channels last and in bfloat16, against plain float32 ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from building import SMALL, build, noise, policy, spec
from gymnasium import spaces
from torch import nn

from proximo.errors import UserError
from proximo.policies import precision
from proximo.policies.precision import bfloat16_unit, choose_precision, convolves, multiplications

CPU = torch.device("cpu")
ATARI = {"obs": spaces.Box(0, 255, (4, 84, 84), np.uint8)}
SHARED = {"hidden_sizes": (), "share_encoder": True}
NATURE_CNN = 400 * 32 * 4 * 64 + 81 * 64 * 32 * 16 + 49 * 64 * 64 * 9 + 3136 * 512


def images(*lead: int, shape=(4, 84, 84)):
    return torch.randint(
        0, 256, (*lead, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def gradients(agent, obs):
    agent.zero_grad()
    output = agent.compute({"obs": obs}, {}, torch.zeros(len(obs), dtype=torch.bool))
    (output.values["task"].pow(2).mean() + output.dist.entropy().mean()).backward()
    return {name: parameter.grad.clone() for name, parameter in agent.named_parameters()}, output


def plain(layers: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The same layers by PyTorch's own convolution, channels first."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            x = nn.functional.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding).contiguous()
        elif hasattr(layer, "inside"):
            x = x + plain(layer.inside, x)
        else:
            x = layer(x)
    return x


@pytest.mark.parametrize("encoder", [{"type": "nature_cnn"}, SMALL])
def test_bytes_and_channels_last_equal_scaled_floats_channels_first(encoder):
    agent = policy(spec(spaces.Discrete(3), ATARI), encoder=encoder, **SHARED)
    made = agent.trunks["shared"].encoder.extractors["on_obs"]
    x = images(5)
    agent.zero_grad()
    fast = agent.trunks["shared"].encoder({"obs": x})
    fast.pow(2).sum().backward()
    got = [parameter.grad.clone() for parameter in made.parameters()]
    agent.zero_grad()
    slow = made.linear(plain(made.convolutions, x.float() / 255))
    slow.pow(2).sum().backward()
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    for mine, parameter in zip(got, made.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-4 * float(mine.abs().max()))


def test_a_float_image_is_read_as_it_is():
    agent, _ = build(obs={"obs": spaces.Box(0.0, 1.0, (4, 84, 84))}, encoder={"type": "nature_cnn"})
    made = agent.trunks["actor"].encoder
    x = images(2).float() / 255
    extractor = made.extractors["on_obs"]
    expected = extractor.linear(plain(extractor.convolutions, x))
    torch.testing.assert_close(made({"obs": x}), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("encoder", [{"type": "nature_cnn"}, SMALL])
def test_bfloat16_gradients_are_close_and_everything_else_stays_float32(encoder):
    agent, _ = build(obs=ATARI, encoder=encoder, **SHARED)
    x = images(16)
    exact, reference = gradients(agent, x)
    agent.compute_in(torch.bfloat16)
    rough, output = gradients(agent, x)
    assert output.values["task"].dtype is torch.float32
    assert output.dist.entropy().dtype is torch.float32
    assert not torch.equal(output.values["task"], reference.values["task"]), "nothing computed in bfloat16"
    torch.testing.assert_close(output.values["task"], reference.values["task"], rtol=0.05, atol=0.05)
    for name, gradient in exact.items():
        assert rough[name].dtype is torch.float32
        assert (rough[name] - gradient).norm() <= 0.06 * gradient.norm() + 1e-6, name


def test_acting_and_learning_in_bfloat16_agree():
    """However many rows go through the network together; else fresh rows would look off-policy."""
    agent = policy(spec(spaces.Discrete(6), ATARI), encoder={"type": "nature_cnn"}, **SHARED)
    with torch.no_grad():
        # A head that has an opinion; at the start every policy is nearly uniform.
        agent.head.linear.weight.mul_(30.0)
    agent.compute_in(torch.bfloat16)
    x, start = images(64), torch.zeros(64, dtype=torch.bool)
    draws = noise(agent, 64)
    with torch.no_grad():
        pieces = [agent.act({"obs": x[i : i + 8]}, {}, start[:8], draws[i : i + 8]) for i in range(0, 64, 8)]
        action, logp = (torch.cat([getattr(piece, name) for piece in pieces]) for name in ("action", "logp"))
        log_ratio = agent.compute({"obs": x}, {}, start).dist.log_prob(action) - logp
    kl = float((log_ratio.exp() - 1.0 - log_ratio).mean())
    assert kl < 1e-6


def test_the_automatic_choice(monkeypatch):
    cnn, _ = build(obs=ATARI, encoder={"type": "nature_cnn"})
    dense, _ = build()
    assert convolves(cnn)
    assert not convolves(dense)
    for unit in ("avx512_bf16", None):
        monkeypatch.setattr(precision, "bfloat16_unit", lambda device, unit=unit: unit)
        assert choose_precision("auto", dense, CPU) == ("float32", "no convolutions")
        chosen, reason = choose_precision("auto", cnn, CPU)
        assert chosen == ("float32" if unit is None else "bfloat16")
        assert (unit or "no bfloat16 unit") in reason
        for asked in ("float32", "bfloat16"):
            assert choose_precision(asked, cnn, CPU) == (asked, "as configured")
    with pytest.raises(UserError, match=r"precision: bfloat16 .*auto"):
        choose_precision("bfloat16", dense, CPU)


def test_the_unit_is_the_processors(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert bfloat16_unit(CPU) == "amx_bf16"
    assert bfloat16_unit(torch.device("cuda")) is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    assert bfloat16_unit(CPU) is None


def test_multiplications_are_counted():
    assert (
        multiplications(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), torch.ones(7, 3))
        == 7 * 25
    )
    cnn, _ = build(obs=ATARI, encoder={"type": "nature_cnn"}, **SHARED)
    assert cnn.multiplications() == NATURE_CNN + 512 * 4 + 512
    assert cnn.training
    separate, _ = build(obs=ATARI, encoder={"type": "nature_cnn"}, hidden_sizes=())
    assert separate.multiplications() == 2 * NATURE_CNN + 512 * 4 + 512
    masked, _ = build(masked=True, memory={"type": "gru", "size": 4})
    assert masked.multiplications() > 0
