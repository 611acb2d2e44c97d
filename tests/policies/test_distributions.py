"""Against torch.distributions where it has the distribution, else against sampling."""

import math

import pytest
import torch
from torch import distributions as reference

from proximo.policies.distributions import (
    MASKED,
    Bernoulli,
    Categorical,
    Gaussian,
    MultiCategorical,
    SquashedGaussian,
    StateNoiseGaussian,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_categorical_agrees_with_torch() -> None:
    first, second = torch.randn(7, 3, 4), torch.randn(7, 3, 4)
    ours, other = Categorical(first), Categorical(second)
    theirs, their_other = reference.Categorical(logits=first), reference.Categorical(logits=second)
    action = theirs.sample()
    close(ours.log_prob(action), theirs.log_prob(action))
    close(ours.entropy(), theirs.entropy())
    close(ours.kl(other), reference.kl_divergence(theirs, their_other))
    assert torch.equal(ours.mode(), first.argmax(-1))


def test_categorical_samples_by_inverse_distribution_function() -> None:
    probabilities = torch.tensor([0.2, 0.5, 0.3])
    u = torch.tensor([0.0001, 0.1999, 0.2001, 0.6999, 0.7001, 0.9999])
    dist = Categorical(probabilities.log().expand(6, 3))
    assert dist.sample(u[:, None]).tolist() == [0, 0, 1, 1, 2, 2]


def test_categorical_never_samples_what_is_masked() -> None:
    logits = torch.randn(1000, 6)
    mask = torch.rand(1000, 6) < 0.4
    mask[:, 2] = True
    dist = Categorical(logits.masked_fill(~mask, MASKED))
    for u in (1e-7, 0.3, 0.77, 1 - 2**-24, 1.0):
        action = dist.sample(torch.full((1000, 1), u))
        assert bool(mask.gather(1, action[:, None]).all()), u


def test_masked_categorical_is_the_categorical_over_what_is_allowed() -> None:
    logits = torch.randn(5, requires_grad=True)
    allowed = torch.tensor([0, 3, 4])
    mask = torch.zeros(5, dtype=torch.bool)
    mask[allowed] = True
    ours = Categorical(logits.masked_fill(~mask, MASKED))
    theirs = reference.Categorical(logits=logits.detach()[allowed])
    close(ours.entropy(), theirs.entropy())
    close(ours.log_prob(torch.tensor(3)), theirs.log_prob(torch.tensor(1)))
    other = Categorical(torch.randn(5).masked_fill(~mask, MASKED))
    assert torch.isfinite(ours.kl(other))
    ours.entropy().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert logits.grad[~mask].tolist() == [0.0, 0.0]


def test_one_allowed_choice_has_no_entropy() -> None:
    logits = torch.randn(4).masked_fill(torch.tensor([True, True, False, True]), MASKED)
    dist = Categorical(logits)
    assert dist.entropy().item() == 0.0
    assert dist.log_prob(torch.tensor(2)).item() == 0.0
    assert dist.sample(torch.tensor([0.999])).item() == 2


def test_multi_categorical_agrees_with_torch() -> None:
    first, second = torch.randn(6, 3, 4), torch.randn(6, 3, 4)
    ours, other = MultiCategorical(first), MultiCategorical(second)
    theirs = reference.Independent(reference.Categorical(logits=first), 1)
    their_other = reference.Independent(reference.Categorical(logits=second), 1)
    action = theirs.sample()
    close(ours.log_prob(action), theirs.log_prob(action))
    close(ours.entropy(), theirs.entropy())
    close(ours.kl(other), reference.kl_divergence(theirs, their_other))


def test_bernoulli_agrees_with_torch() -> None:
    first, second = torch.randn(6, 5), torch.randn(6, 5)
    ours, other = Bernoulli(first), Bernoulli(second)
    theirs = reference.Independent(reference.Bernoulli(logits=first), 1)
    their_other = reference.Independent(reference.Bernoulli(logits=second), 1)
    action = theirs.sample()
    close(ours.log_prob(action.long()), theirs.log_prob(action))
    close(ours.entropy(), theirs.entropy())
    close(ours.kl(other), reference.kl_divergence(theirs, their_other))


def test_gaussian_agrees_with_torch() -> None:
    mean, log_std = torch.randn(6, 3), torch.randn(3) * 0.5
    other_mean, other_log_std = torch.randn(6, 3), torch.randn(6, 3) * 0.5
    ours, other = Gaussian(mean, log_std), Gaussian(other_mean, other_log_std)
    theirs = reference.Independent(reference.Normal(mean, log_std.exp().expand(6, 3)), 1)
    their_other = reference.Independent(reference.Normal(other_mean, other_log_std.exp()), 1)
    action = theirs.sample()
    close(ours.log_prob(action), theirs.log_prob(action))
    close(ours.entropy(), theirs.entropy())
    close(ours.kl(other), reference.kl_divergence(theirs, their_other))
    assert ours.entropy().shape == (6,)
    assert ours.std.shape == (6, 3)
    noise = torch.randn(6, 3)
    close(ours.sample(noise), mean + log_std.exp() * noise)


@pytest.mark.parametrize("dist", ["categorical", "multi", "bernoulli", "gaussian", "squashed"])
def test_samples_have_the_entropy_that_is_claimed(dist: str) -> None:
    rows = 200_000
    made = {
        "categorical": Categorical(torch.tensor([0.1, 1.0, -2.0]).expand(rows, 3)),
        "multi": MultiCategorical(torch.randn(2, 3).expand(rows, 2, 3)),
        "bernoulli": Bernoulli(torch.tensor([0.3, -1.5]).expand(rows, 2)),
        "gaussian": Gaussian(torch.tensor([0.3, -1.0]).expand(rows, 2), torch.tensor([0.2, -0.7])),
        "squashed": SquashedGaussian(torch.tensor([0.3, -1.0]).expand(rows, 2), torch.tensor([0.2, -0.7])),
    }[dist]
    dim = {"categorical": 1}.get(dist, 2)
    noise = torch.randn(rows, dim) if dist in ("gaussian", "squashed") else torch.rand(rows, dim)
    surprise = -made.log_prob(made.sample(noise))
    error = 5 * surprise.std().item() / math.sqrt(rows)
    assert abs(surprise.mean().item() - made.entropy()[0].item()) < error + 1e-6


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("mean", [0.0, 0.8, 3.0])
def test_squashed_entropy_estimate_is_within_a_hundredth(mean: float, scale: float) -> None:
    # An independent fine sum over u of the Gaussian's density times the tanh's log-slope.
    u = torch.linspace(mean - 12 * scale, mean + 12 * scale, 200_001, dtype=torch.float64)
    density = reference.Normal(mean, scale).log_prob(u).exp()
    slope = -2.0 * torch.log(torch.cosh(u))
    exact = reference.Normal(mean, scale).entropy() + torch.trapezoid(density * slope, u)
    ours = SquashedGaussian(torch.tensor([mean]), torch.tensor([math.log(scale)])).entropy()
    assert abs(ours.item() - exact.item()) < 0.01


def test_looking_at_an_entropy_in_inference_mode_does_not_spoil_training() -> None:
    mean = torch.zeros(2, 1, dtype=torch.float64)
    with torch.inference_mode():
        SquashedGaussian(mean, mean[0]).entropy()
    mean.requires_grad_()
    SquashedGaussian(mean, torch.zeros(1, dtype=torch.float64)).entropy().sum().backward()
    assert mean.grad is not None


def test_squashed_agrees_with_torch() -> None:
    mean, log_std = torch.randn(50, 3) * 0.5, torch.randn(3) * 0.3
    ours = SquashedGaussian(mean, log_std)
    base = reference.Normal(mean.double(), log_std.exp().double().expand(50, 3))
    theirs = reference.TransformedDistribution(base, [reference.TanhTransform()])
    action = ours.sample(torch.randn(50, 3))
    close(ours.log_prob(action).double(), theirs.log_prob(action.double()).sum(-1), 1e-4)
    close(ours.mode(), torch.tanh(mean))
    other = SquashedGaussian(mean + 1, log_std)
    close(ours.kl(other), Gaussian(mean, log_std).kl(Gaussian(mean + 1, log_std)))


def test_squashed_actions_at_the_bound_are_pulled_inside() -> None:
    mean = torch.zeros(2, 1, requires_grad=True)
    dist = SquashedGaussian(mean, torch.zeros(1))
    logp = dist.log_prob(torch.tensor([[1.0], [-1.0]]))
    u = math.atanh(1 - 1e-6)
    expected = -0.5 * u * u - 0.5 * math.log(2 * math.pi) - math.log(1 - (1 - 1e-6) ** 2)
    assert logp[0].item() == pytest.approx(expected, rel=1e-2)
    assert logp[1].item() == pytest.approx(logp[0].item(), rel=1e-6)
    logp.sum().backward()
    assert bool(torch.isfinite(mean.grad).all())  # type: ignore[arg-type]


def test_state_noise_has_the_variance_that_is_claimed() -> None:
    rows = 100_000
    features, std = torch.randn(4), torch.rand(4, 2) + 0.1
    dist = StateNoiseGaussian(torch.zeros(rows, 2), features.expand(rows, 4), std)
    samples = dist.sample(torch.randn(rows, 8))
    close(samples.var(0), (features**2) @ std**2 + 1e-6, 0.02)
    close(dist.std[0], samples.std(0), 0.02)
    expected = reference.Normal(torch.zeros(2), ((features**2) @ std**2 + 1e-6).sqrt())
    close(dist.log_prob(samples)[:9], expected.log_prob(samples[:9]).sum(-1), 1e-4)
    close(dist.entropy()[0], expected.entropy().sum())


def test_state_noise_of_the_same_draw_is_a_function_of_the_features() -> None:
    features = torch.randn(1, 4).repeat(3, 1)
    dist = StateNoiseGaussian(torch.zeros(3, 2), features, torch.ones(4, 2))
    first = dist.sample(torch.randn(1, 8).repeat(3, 1))
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[1], first[2])
