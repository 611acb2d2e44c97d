"""How a rollout becomes minibatches: single rows for feed-forward policies, whole sequences for memory.

Both strategies count in *units* (a row, or one environment's sequence), shuffle the units of the fresh rollouts
once per epoch, and fill every minibatch with its share of demonstration units.
Shapes: `U` units, `L` steps of a sequence; unit fields are `[U, ...]` (rows) or `[L, U, ...]` (sequences).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from proximo.core.evaluate import Evaluated, sequences
from proximo.core.rng import permutation
from proximo.core.types import Batch

Fields = dict[str, Tensor]


@dataclass
class Units:
    """The shuffled unit of one source: tensors by flat name (`obs/<key>`, `value/<stream>`, …)."""

    fields: Fields
    count: int
    fresh: bool
    axis: int
    """The axis that counts units: 0 for rows, 1 for sequences."""


class Batching(Protocol):
    """Strategy that cuts evaluated rollouts into minibatches."""

    def units(self, data: Evaluated) -> Units: ...
    def epoch(self, parts: Sequence[Units]) -> Iterator[Batch]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any) -> None: ...


def _fields(data: Evaluated) -> Fields:
    rollout = data.rollout
    fields: Fields = {f"obs/{key}": entry for key, entry in data.obs.items()}
    fields |= {f"value/{name}": entry for name, entry in data.value.items()}
    fields |= {f"target/{name}": entry for name, entry in data.target.items()}
    fields["action"] = rollout.action
    fields["logp_behavior"] = rollout.logp_behavior
    fields["logp_old"] = data.logp_old
    fields["advantage"] = data.advantage
    if data.correction.surrogate_weight is not None:
        fields["surrogate_weight"] = data.correction.surrogate_weight
    return fields


class _Shuffled:
    """What both strategies share: permutations, shares of the sources, and assembling a batch."""

    def __init__(self, minibatch_units: int, mix_ratio: float, key: int) -> None:
        self.size = minibatch_units
        self.mix_ratio = mix_ratio
        self.key = key
        self.drawn = 0

    def epoch(self, parts: Sequence[Units]) -> Iterator[Batch]:
        """One pass over the fresh units (or, without any, over the first demonstration source)."""
        fresh = [part for part in parts if part.fresh]
        demos = [part for part in parts if not part.fresh]
        share = 0
        if demos and fresh and self.mix_ratio > 0.0:
            # Rounding may take neither side out of the mixture, however few units a minibatch has.
            share = max(1, round(self.size * self.mix_ratio))
        leaders = fresh if fresh and self.mix_ratio < 1.0 else demos
        followers = demos if leaders is fresh and share > 0 else []
        lead = self._permuted(leaders[0])
        take = min(max(1, self.size - share) if leaders is fresh else self.size, lead.count)
        queues = [_Queue(self, part) for part in followers]
        for piece in _pieces(lead, take):
            rows = piece.count
            chosen = [piece]
            for index, queue in enumerate(queues):
                part_share = share // len(queues) + (index < share % len(queues))
                chosen.append(queue.take(round(part_share * rows / take)))
            yield self._batch([c for c in chosen if c.count], rows / take)

    def _permuted(self, part: Units) -> Units:
        device = next(iter(part.fields.values())).device
        order = permutation(self.key, self.drawn, part.count, device)
        self.drawn += 1
        fields = {name: entry.index_select(_axis(name, part), order) for name, entry in part.fields.items()}
        return Units(fields, part.count, part.fresh, part.axis)

    def _batch(self, pieces: list[Units], scale: float) -> Batch:
        axis = pieces[0].axis
        mixed = len(pieces) > 1 or not pieces[0].fresh
        names = set().union(*(piece.fields for piece in pieces)) if mixed else set(pieces[0].fields)
        joined: Fields = {}
        for name in names:
            entries = [_entry(piece, name) for piece in pieces]
            joined[name] = entries[0] if len(entries) == 1 else torch.cat(entries, dim=_axis(name, pieces[0]))
        fresh = None
        if mixed:
            shape = [piece.fields["advantage"].shape for piece in pieces]
            flags = [
                torch.full(s, piece.fresh, device=joined["action"].device)
                for s, piece in zip(shape, pieces, strict=True)
            ]
            fresh = torch.cat(flags, dim=axis)
        return Batch(
            obs=_group(joined, "obs/"),
            action=joined["action"],
            logp_behavior=joined["logp_behavior"],
            logp_old=joined["logp_old"],
            advantage=joined["advantage"],
            value_old=_group(joined, "value/"),
            target=_group(joined, "target/"),
            fresh=fresh,
            weight=joined.get("weight"),
            surrogate_weight=joined.get("surrogate_weight"),
            state=_group(joined, "state/"),
            start=joined.get("start", torch.zeros((), dtype=torch.bool)),
            scale=scale,
        )

    def state_dict(self) -> dict[str, Any]:
        """How many permutations were drawn."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.drawn = int(state["drawn"])


class RowBatches(_Shuffled):
    """Minibatches of single valid rows, for feed-forward policies."""

    def units(self, data: Evaluated) -> Units:
        """Rows of all valid steps; invalid ones are left out."""
        valid = data.rollout.valid.flatten()
        fields = {name: entry.flatten(0, 1) for name, entry in _fields(data).items()}
        if not bool(valid.all()):
            keep = valid.nonzero().squeeze(1)
            fields = {name: entry.index_select(0, keep) for name, entry in fields.items()}
        return Units(fields, fields["action"].shape[0], data.rollout.fresh, 0)

    def orders(self, rows: int, epochs: int) -> Tensor:
        """The permutations of `epochs` passes over one source of `rows` rows, `[epochs, rows]` int64."""
        first, self.drawn = self.drawn, self.drawn + epochs
        cpu = torch.device("cpu")
        return torch.stack([permutation(self.key, first + i, rows, cpu) for i in range(epochs)])


class SequenceBatches(_Shuffled):
    """Minibatches of whole sequences `[L, B]`, each from the memory recorded at its start."""

    def __init__(self, minibatch_rows: int, sequence_length: int, mix_ratio: float, key: int) -> None:
        super().__init__(max(1, minibatch_rows // sequence_length), mix_ratio, key)
        self.length = sequence_length

    def units(self, data: Evaluated) -> Units:
        """Sequences of every environment; invalid steps stay in place with weight 0."""
        rollout = data.rollout
        fields = _fields(data)
        fields["start"] = rollout.start
        fields["weight"] = rollout.valid.to(rollout.reward.dtype)
        cut = {name: sequences(entry, self.length) for name, entry in fields.items()}
        for key, entry in rollout.state.items():
            cut[f"state/{key}"] = entry.flatten(0, 1)
        return Units(cut, cut["start"].shape[1], rollout.fresh, 1)


class _Queue:
    """Endless shuffled units of a demonstration source."""

    def __init__(self, owner: _Shuffled, part: Units) -> None:
        self.owner = owner
        self.part = part
        self.shuffled = owner._permuted(part)
        self.at = 0

    def take(self, count: int) -> Units:
        """The next `count` units; wraps into a new permutation where the source is used up."""
        if count > self.part.count:
            count = self.part.count
        if self.at + count > self.part.count:
            self.shuffled, self.at = self.owner._permuted(self.part), 0
        self.at += count
        return _slice(self.shuffled, self.at - count, self.at)


def _axis(name: str, part: Units) -> int:
    return 0 if name.startswith("state/") else part.axis


def _slice(part: Units, first: int, last: int) -> Units:
    if first == 0 and last == part.count:
        return part
    fields = {
        name: entry.narrow(_axis(name, part), first, last - first) for name, entry in part.fields.items()
    }
    return Units(fields, last - first, part.fresh, part.axis)


def _pieces(part: Units, size: int) -> Iterator[Units]:
    """All of `part` in pieces of `size` units, the last one shorter; each field is cut in one call."""
    columns = [torch.split(entry, size, _axis(name, part)) for name, entry in part.fields.items()]
    for number, cut in enumerate(zip(*columns, strict=True)):
        count = min(size, part.count - number * size)
        yield Units(dict(zip(part.fields, cut, strict=True)), count, part.fresh, part.axis)


def _entry(piece: Units, name: str) -> Tensor:
    if name not in piece.fields and name in ("weight", "surrogate_weight"):
        return torch.ones_like(piece.fields["advantage"])
    return piece.fields[name]


def _group(fields: Fields, prefix: str) -> Fields:
    return {name.removeprefix(prefix): entry for name, entry in fields.items() if name.startswith(prefix)}
