"""One step on vectors is the step of `torch.optim` on the parameters one by one."""

import copy

import pytest
import torch
from torch import nn

from proximo.core.flat import LARGEST
from proximo.core.optim import Optimizer


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def optimizer(module, **rest):
    settings = {"weight_decay": 0.01, "max_grad_norm": 0.5, **rest}
    return Optimizer(
        module, 1e-2, "constant", 0.01, settings["max_grad_norm"], 1e-5, settings["weight_decay"]
    )


def loss_of(module, seed):
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed))
    return (module(x) ** 2).sum()


def reference(module, steps, max_norm):
    adam = torch.optim.AdamW(module.parameters(), lr=1e-2, eps=1e-5, weight_decay=0.01)
    norms = []
    for seed in steps:
        adam.zero_grad()
        loss_of(module, seed).backward()
        norms.append(nn.utils.clip_grad_norm_(module.parameters(), max_norm))
        adam.step()
    return adam, norms


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_steps_and_moments_are_those_of_torch(max_norm):
    ours, theirs = network(), network()
    optim = optimizer(ours, max_grad_norm=max_norm)
    optim.begin()
    norms = [optim.step(loss_of(ours, seed)) for seed in range(4)]
    adam, expected = reference(theirs, range(4), max_norm)
    torch.testing.assert_close(torch.stack(norms), torch.stack(expected))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
        for name in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(optim.adam.state[a][name], adam.state[b][name], atol=1e-7, rtol=1e-6)


def test_a_saved_state_goes_on_bitwise():
    """Also into weights and moments that have memory of their own."""
    first = network()
    one = optimizer(first)
    one.begin()
    one.step(loss_of(first, 0))
    second, saved = network(), copy.deepcopy(one.state_dict())
    second.load_state_dict(first.state_dict())
    two = optimizer(second)
    two.load_state_dict(saved)
    for module, optim in ((first, one), (second, two)):
        optim.begin()
        optim.step(loss_of(module, 1))
        optim.step(loss_of(module, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    moved = [float(entry["step"]) for entry in two.adam.state.values()]
    assert moved == [3.0] * 4


def test_loading_while_at_work_is_seen():
    module, other = network(), network()
    optim, fresh = optimizer(module), optimizer(other)
    optim.begin()
    optim.step(loss_of(module, 0))
    module.load_state_dict(other.state_dict())
    optim.load_state_dict(fresh.state_dict())
    for net, opt in ((module, optim), (other, fresh)):
        opt.begin()
        opt.step(loss_of(net, 1))
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


def test_a_parameter_frozen_later_stays():
    """Its momentum must not move it on."""
    module = network()
    optim = optimizer(module)
    optim.begin()
    optim.step(loss_of(module, 0))
    module[0].weight.requires_grad_(False)
    before, other = module[0].weight.clone(), module[2].weight.clone()
    optim.begin()
    optim.step(loss_of(module, 1))
    assert torch.equal(module[0].weight, before)
    assert not torch.equal(module[2].weight, other)


def test_large_or_strided_parameters_stay_where_they_are():
    large = nn.Linear(LARGEST // 64, 65)
    strided = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    for module in (large, strided):
        addresses = [parameter.data_ptr() for parameter in module.parameters()]
        optim = optimizer(module)
        optim.begin()
        optim.step(sum((parameter**2).sum() for parameter in module.parameters()))
        assert [parameter.data_ptr() for parameter in module.parameters()] == addresses
        assert not module.weight.is_contiguous() or module is large


def test_the_adaptive_rate_stays_while_it_is_not_steered():
    one = Optimizer(network(), 1e-3, "adaptive", 0.01, 0.5, 1e-5, 0.0)
    one.adapt(1e-9)
    assert one.learning_rate == pytest.approx(1.5e-3)
    one.steered = False
    for kl in (1e-9, 1.0):
        one.adapt(kl)
    assert one.learning_rate == pytest.approx(1.5e-3)
