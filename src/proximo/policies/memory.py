"""Recurrent memory between encoder and layers.

Shapes: `L` steps of a sequence, `B` sequences (or `N` environments), `F` inputs, `H` width, `K` extra rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from proximo.core.types import State


@dataclass
class Unrolled:
    """What a memory makes of a sequence."""

    output: Tensor
    """`[L, B, H]`."""
    ends: list[int]
    """Time indices after which the carried state was kept, ascending; the last is `L - 1`."""
    states: list[State]
    """`[B, H]` per entry, after each of `ends`."""

    def after(self, t: Tensor, n: Tensor) -> State:
        """The memory as it is after steps `(t, n)` `[K]`; every `t` must be one of `ends`."""
        kept = torch.searchsorted(torch.tensor(self.ends, device=t.device), t)
        return {key: torch.stack([s[key] for s in self.states])[kept, n] for key in self.states[0]}


class Memory(nn.Module):
    """A GRU (Cho et al. 2014) or LSTM (Hochreiter & Schmidhuber 1997) that empties at episode starts."""

    net: nn.GRU | nn.LSTM

    def __init__(self, kind: Literal["gru", "lstm"], owner: str, inputs: int, size: int) -> None:
        """`owner` prefixes the keys of the state, such as `actor.h`."""
        super().__init__()
        self.size = size
        self.net = nn.GRU(inputs, size) if kind == "gru" else nn.LSTM(inputs, size)
        self.keys = tuple(f"{owner}.{part}" for part in ("h" if kind == "gru" else "hc"))

    def initial(self, count: int, device: torch.device) -> State:
        """Zeros, `[count, H]` per entry."""
        return {key: torch.zeros(count, self.size, device=device) for key in self.keys}

    def step(self, x: Tensor, state: State, start: Tensor) -> tuple[Tensor, State]:
        """One step of `x` `[N, F]`, emptied first where `start` `[N]`; returns `[N, H]` and the new state."""
        hidden = self._emptied(state, start)
        weights = self.net.all_weights[0]
        if isinstance(self.net, nn.GRU):
            new: tuple[Tensor, ...] = (torch.gru_cell(x, hidden[0], *weights),)
        else:
            new = torch.lstm_cell(x, hidden, *weights)
        return new[0], dict(zip(self.keys, new, strict=True))

    def unroll(self, x: Tensor, state: State, start: Tensor, keep: Tensor | None = None) -> Unrolled:
        """A sequence `[L, B, F]` from `state` `[B, H]`; `start` `[L, B]` empties the memory before a step.

        The states after the steps `keep` (`[K]` time indices) are kept as well. Runs in pieces between the
        steps at which any sequence starts an episode; gradients flow through all of them.
        """
        length = x.shape[0]
        begins = start.any(1)
        begins[0] = True
        if keep is not None:
            begins[(keep + 1).clamp(max=length) % length] = True
        first = begins.nonzero().flatten().tolist()
        outputs, states = [], []
        for begin, end in zip(first, [*first[1:], length], strict=True):
            if end - begin == 1:
                output, state = self.step(x[begin], state, start[begin])
                output = output.unsqueeze(0)
            else:
                output, state = self._piece(x[begin:end], self._emptied(state, start[begin]))
            outputs.append(output)
            states.append(state)
        ends = [begin - 1 for begin in first[1:]] + [length - 1]
        return Unrolled(torch.cat(outputs), ends, states)

    def _piece(self, x: Tensor, hidden: tuple[Tensor, ...]) -> tuple[Tensor, State]:
        stacked = tuple(entry.unsqueeze(0) for entry in hidden)
        if isinstance(self.net, nn.GRU):
            output, last = self.net(x, stacked[0])
            return output, {self.keys[0]: last.squeeze(0)}
        output, (h, c) = self.net(x, stacked)
        return output, {self.keys[0]: h.squeeze(0), self.keys[1]: c.squeeze(0)}

    def _emptied(self, state: State, start: Tensor) -> tuple[Tensor, ...]:
        empty = start.unsqueeze(-1)
        return tuple(state[key].masked_fill(empty, 0.0) for key in self.keys)
