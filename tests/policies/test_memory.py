"""Memory: pieces between episode starts against one step at a time."""

import pytest
import torch

from proximo.policies.memory import Memory

L, B, F, H = 9, 3, 4, 6
DEVICE = torch.device("cpu")


def by_hand(memory: Memory, x: torch.Tensor, state: dict, start: torch.Tensor) -> tuple[torch.Tensor, list]:
    """Every sequence alone, through torch's own cells, emptied by hand."""
    kind = torch.nn.GRUCell if isinstance(memory.net, torch.nn.GRU) else torch.nn.LSTMCell
    cell = kind(F, H)
    names = {f"{name}_l0": name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    cell.load_state_dict({names[key]: value for key, value in memory.net.state_dict().items()})
    outputs, history = torch.zeros(L, B, H), []
    hidden = [state[key].clone() for key in memory.keys]
    for t in range(L):
        for b in range(B):
            if start[t, b]:
                for entry in hidden:
                    entry[b] = 0.0
        if len(hidden) == 1:
            hidden = [cell(x[t], hidden[0]).detach()]
        else:
            hidden = [entry.detach() for entry in cell(x[t], tuple(hidden))]
        outputs[t] = hidden[0]
        history.append([entry.clone() for entry in hidden])
    return outputs, history


def make(kind: str) -> tuple[Memory, torch.Tensor, dict, torch.Tensor]:
    torch.manual_seed(3)
    memory = Memory(kind, "actor", F, H)  # type: ignore[arg-type]
    x = torch.randn(L, B, F)
    state = {key: torch.randn(B, H) for key in memory.keys}
    start = torch.zeros(L, B, dtype=torch.bool)
    start[0, 1] = start[3, 0] = start[4, 2] = start[5, 2] = start[8, 1] = True
    return memory, x, state, start


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_pieces_equal_single_steps(kind: str) -> None:
    memory, x, state, start = make(kind)
    expected, history = by_hand(memory, x, state, start)
    unrolled = memory.unroll(x, state, start)
    torch.testing.assert_close(unrolled.output, expected, atol=1e-6, rtol=1e-5)
    for key, entry in zip(memory.keys, history[-1], strict=True):
        torch.testing.assert_close(unrolled.states[-1][key], entry, atol=1e-6, rtol=1e-5)
    carried = state
    for t in range(L):
        output, carried = memory.step(x[t], carried, start[t])
        torch.testing.assert_close(output, expected[t], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_memory_after_any_step_can_be_asked_for(kind: str) -> None:
    memory, x, state, start = make(kind)
    _, history = by_hand(memory, x, state, start)
    t, n = torch.tensor([6, 0, 8, 2, 6]), torch.tensor([1, 2, 0, 0, 0])
    after = memory.unroll(x, state, start, t).after(t, n)
    for part, key in enumerate(memory.keys):
        for row in range(len(t)):
            expected = history[int(t[row])][part][n[row]]
            torch.testing.assert_close(after[key][row], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_no_gradient_crosses_an_episode_start(kind: str) -> None:
    memory, x, state, start = make(kind)
    x.requires_grad_()
    memory.unroll(x, state, start).output[3:5, 0].sum().backward()
    assert x.grad is not None
    assert bool((x.grad[:3, 0] == 0).all())
    assert bool((x.grad[3:5, 0] != 0).any(-1).all())


def test_keys_name_the_owner() -> None:
    assert Memory("gru", "critic", F, H).keys == ("critic.h",)
    assert set(Memory("lstm", "shared", F, H).initial(2, DEVICE)) == {"shared.h", "shared.c"}


def test_no_rows_are_no_problem() -> None:
    for kind in ("gru", "lstm"):
        memory, x, state, start = make(kind)
        none = torch.zeros(0, dtype=torch.long)
        after = memory.unroll(x, state, start, none).after(none, none)
        output, _ = memory.step(torch.zeros(0, F), after, torch.zeros(0, dtype=torch.bool))
        assert output.shape == (0, H)
