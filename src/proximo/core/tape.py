"""The memory a rollout is recorded in: allocated once, overwritten by the next rollout.

Shapes: `T` steps, `N` environments, `K` ended episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from proximo.core.types import Act, Final, Obs, State, Step


class Tape:
    """Named buffers `[T, N, ...]`, made when a name is first written, and the sparse records beside them."""

    def __init__(self, num_steps: int, device: torch.device) -> None:
        self.num_steps = num_steps
        self.device = device
        self.buffers: dict[str, Tensor] = {}
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        """The same memory as seen by NumPy, which copies a few numbers in a third of the time."""
        self.states: list[State] = []
        self.finals: list[tuple[Tensor, Tensor, Obs]] = []
        """Steps `[K]`, environments `[K]` and last observations of ended episodes, piece by piece."""
        self.infos: dict[str, list[Tensor]] = {}

    def begin(self) -> None:
        """Forget the sparse records of the last rollout."""
        self.states, self.finals, self.infos = [], [], {}

    def write(self, t: int, obs: Obs, start: Tensor, act: Act, step: Step) -> None:
        """Record step `t`: what was seen, done and answered."""
        rows = {f"obs/{key}": entry for key, entry in obs.items()}
        rows |= {f"aux/{key}": entry for key, entry in act.aux.items()}
        rows["action"], rows["logp"], rows["start"] = act.action, act.logp, start
        rows["reward"], rows["valid"] = step.reward, step.valid
        rows["terminated"], rows["truncated"] = step.terminated, step.truncated
        for name, entry in rows.items():
            buffer = self.buffers.get(name)
            if buffer is None:
                shape = (self.num_steps, *entry.shape)
                buffer = torch.zeros(shape, dtype=entry.dtype, device=self.device)
                self.buffers[name] = buffer
                if buffer.device.type == "cpu" and buffer.dtype is not torch.bfloat16:
                    self.arrays[name] = buffer.numpy()
            array = self.arrays.get(name)
            if array is None or not entry.is_cpu:
                buffer[t].copy_(entry)
            else:
                array[t] = entry.numpy()
        self.sparse(t, step.final, step.info)

    def sparse(self, t: int, final: Final, info: Mapping[str, Tensor]) -> None:
        """Record the ended episodes and the named numbers of step `t`."""
        if final.index.shape[0]:
            index = final.index.to(self.device)
            obs = {key: entry.to(self.device) for key, entry in final.obs.items()}
            self.finals.append((torch.full_like(index, t), index, obs))
        for name, entry in info.items():
            self.infos.setdefault(name, []).append(entry)

    def numbers(self) -> dict[str, Tensor]:
        """The named numbers of all steps, `[T, N]` on the CPU."""
        return {name: _stacked(entries).cpu() for name, entries in self.infos.items()}

    def ended(self, like: Obs) -> tuple[Tensor, Tensor, Obs]:
        """Steps, environments and last observations of all episodes that ended, `[K]` each."""
        if not self.finals:
            nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
            return nothing, nothing, {key: entry[:0] for key, entry in like.items()}
        steps = torch.cat([steps for steps, _, _ in self.finals])
        index = torch.cat([index for _, index, _ in self.finals])
        return steps, index, {key: torch.cat([obs[key] for _, _, obs in self.finals]) for key in like}

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The buffers whose names begin with `prefix`, without it."""
        return {
            name.removeprefix(prefix): entry
            for name, entry in self.buffers.items()
            if name.startswith(prefix)
        }

    def sequence_starts(self) -> State:
        """The memories at the sequence starts, `[S, N, ...]` per entry."""
        if not self.states:
            return {}
        return {key: torch.stack([state[key] for state in self.states]) for key in self.states[0]}


def _stacked(entries: list[Tensor]) -> Tensor:
    # Environments give the same tensor whenever there is nothing to tell.
    first = entries[0]
    if all(entry is first for entry in entries):
        return first.expand(len(entries), *first.shape)
    return torch.stack(entries)
