"""GAE and V-trace against a brute-force sum over the definition."""

import pytest
import torch

from proximo.core.returns import estimate, of_the_action

T, N = 23, 5


def data(seed):
    g = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    reward, value, next_value = rand(T, N) - 0.5, rand(T, N) * 3, rand(T, N) * 3
    terminated = rand(T, N) < 0.1
    truncated = (rand(T, N) < 0.15) & ~terminated
    rho, c = rand(T, N) * 2, rand(T, N) * 2
    return reward, value, next_value, terminated, terminated | truncated, rho, c


def brute(reward, value, next_value, terminated, done, rho, c, gamma, lam):
    """A_t = Σ_k (Π_{i<k} γ λ c_{t+i}) ρ_{t+k} δ_{t+k}, up to the end of the episode."""
    out = torch.zeros(T, N, dtype=torch.float64)
    for n in range(N):
        for t in range(T):
            product, total = 1.0, 0.0
            for k in range(t, T):
                bootstrap = 0.0 if terminated[k, n] else gamma * float(next_value[k, n])
                delta = float(reward[k, n]) + bootstrap - float(value[k, n])
                total += product * float(rho[k, n]) * delta
                if done[k, n]:
                    break
                product *= gamma * lam * float(c[k, n])
            out[t, n] = total
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 1.0), (1.0, 0.0), (0.0, 0.5)])
def test_matches_brute_force(seed, gamma, lam):
    args = data(seed)
    advantage, target = estimate(*args, gamma=gamma, lam=lam)
    expected = brute(*args, gamma, lam)
    assert (advantage - expected).abs().max() < 1e-12
    assert torch.equal(target, args[1] + advantage)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_ratios_are_gae_bitwise(dtype):
    args = [a.to(dtype) if a.is_floating_point() else a for a in data(7)]
    ones = torch.ones(T, N, dtype=dtype)
    plain = estimate(*args[:5], None, None, gamma=0.99, lam=0.95)
    vtrace = estimate(*args[:5], ones, ones, gamma=0.99, lam=0.95)
    assert torch.equal(plain[0], vtrace[0])
    assert torch.equal(plain[1], vtrace[1])


def test_truncation_bootstraps_and_termination_does_not():
    reward, value, next_value = torch.ones(1, 2), torch.zeros(1, 2), torch.full((1, 2), 10.0)
    terminated = torch.tensor([[True, False]])
    done = torch.tensor([[True, True]])
    advantage, _ = estimate(reward, value, next_value, terminated, done, None, None, gamma=0.5, lam=0.9)
    assert advantage.tolist() == [[1.0, 6.0]]


def test_a_cut_episode_ends_before_the_row_that_never_happened():
    """Invalid and done: what came before bootstraps from that row's observation and sees nothing of what follows."""
    reward = torch.tensor([[1.0], [0.0], [2.0]])
    value = torch.tensor([[0.3], [9.0], [0.5]])
    next_value = torch.tensor([[9.0], [0.0], [0.7]])
    no = torch.zeros(3, 1, dtype=torch.bool)
    valid = torch.tensor([[True], [False], [True]])
    advantage, _ = estimate(
        reward, value, next_value, no, ~valid, None, None, gamma=0.9, lam=0.8, valid=valid
    )
    assert advantage[0].item() == pytest.approx(1.0 + 0.9 * 9.0 - 0.3)
    assert advantage[2].item() == pytest.approx(2.0 + 0.9 * 0.7 - 0.5)


def test_invalid_rows_pass_the_recursion_through():
    """A reset row between two valid ones must not be seen at all by a stream that ignores episode ends."""
    reward = torch.tensor([[1.0], [0.0], [2.0]])
    value = torch.tensor([[0.3], [9.0], [0.5]])
    next_value = torch.tensor([[0.5], [9.0], [0.7]])
    never = torch.zeros(3, 1, dtype=torch.bool)
    valid = torch.tensor([[True], [False], [True]])
    advantage, _ = estimate(
        reward, value, next_value, never, never, None, None, gamma=0.9, lam=0.8, valid=valid
    )
    kept = [0, 2]
    expected, _ = estimate(
        reward[kept], value[kept], next_value[kept], never[:2], never[:2], None, None, gamma=0.9, lam=0.8
    )
    assert torch.allclose(advantage[kept], expected)


def test_the_action_leaves_its_own_ratio_out():
    """With c = ρ V-trace's advantage is ρ times that of the action."""
    *args, rho, _ = data(5)
    traced, _ = estimate(*args, rho, rho, gamma=0.97, lam=0.9)
    own = of_the_action(traced, *args, gamma=0.97, lam=0.9)
    torch.testing.assert_close(rho * own, traced, atol=1e-12, rtol=0)


def test_the_action_and_unit_ratios_are_gae_bitwise():
    args = [a.float() if a.is_floating_point() else a for a in data(7)[:5]]
    valid = torch.rand(T, N, generator=torch.Generator().manual_seed(1)) > 0.2
    for mask in (None, valid):
        plain, _ = estimate(*args, None, None, gamma=0.99, lam=0.95, valid=mask)
        own = of_the_action(plain, *args, gamma=0.99, lam=0.95, valid=mask)
        assert torch.equal(own, plain)
