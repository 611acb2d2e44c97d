"""How a rollout becomes minibatches: single rows for feed-forward policies, whole sequences for memory.

Both strategies count in *units* (a row, or one environment's sequence), shuffle the units of the fresh rollouts
once per epoch, and fill every minibatch with its share of demonstration units.
Shapes: `U` units, `L` steps of a sequence; unit fields are `[U, ...]` (rows) or `[L, U, ...]` (sequences).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
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
    name: str = ""
    """Of the source."""


class Cut:
    """How the rows of an epoch fall into minibatches."""

    def __init__(self, sizes: Sequence[int], scales: Sequence[float]) -> None:
        self.rows, self.largest = sum(sizes), max(sizes)
        self.size = torch.tensor(sizes)
        """`[batches]` int64."""
        self.scale = torch.tensor(scales, dtype=torch.float64)
        """`[batches]`; see `Batch.scale`."""


@dataclass
class Minibatches:
    """The minibatches of several epochs, all cut alike, without their tensors."""

    order: Tensor
    """int64: the rows of all minibatches of all epochs, one after the other."""
    cut: Cut
    drawn: list[int]
    """Permutations drawn by the time that each minibatch of all epochs is there."""


class Batching(Protocol):
    """Strategy that cuts evaluated rollouts into minibatches."""

    shares: dict[str, float]

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
    if data.surrogate_weight is not None:
        fields["surrogate_weight"] = data.surrogate_weight
    return fields


class _Shuffled:
    """What both strategies share: permutations, shares of the sources, and assembling a batch."""

    def __init__(self, minibatch_units: int, shares: Mapping[str, float], key: int) -> None:
        self.size = minibatch_units
        self.shares = dict(shares)
        """Of each minibatch, by the name of a source that is not fresh; the fresh rows take the rest."""
        self.key = key
        self.drawn = 0

    def epoch(self, parts: Sequence[Units]) -> Iterator[Batch]:
        """One pass over the leading units: the fresh ones, or without any those of the source that lasts longest.

        The other sources give their share of every minibatch, beginning again when they are used up.
        """
        for chosen, scale in self._chosen(parts):
            yield self._batch(chosen, scale)

    def _chosen(self, parts: Sequence[Units]) -> Iterator[tuple[list[Units], float]]:
        """The units of each minibatch by source, and the share of the leading source's nominal units among them."""
        filled = [part for part in parts if part.count]
        if not filled:
            # Every row only reset an environment.
            return
        lead, take, others = self._roles(filled)
        shuffled = self._permuted(lead)
        queues = [(_Queue(self, part), count) for part, count in others]
        for piece in _pieces(shuffled, take):
            scale = piece.count / take
            chosen = [piece, *(queue.take(round(count * scale)) for queue, count in queues)]
            yield [c for c in chosen if c.count], scale

    def _roles(self, parts: Sequence[Units]) -> tuple[Units, int, list[tuple[Units, int]]]:
        """Who leads, its units per minibatch, and the others with theirs."""
        fresh = [part for part in parts if part.fresh]
        others = [part for part in parts if not part.fresh and self.shares.get(part.name, 0.0) > 0.0]
        total = 1.0 if fresh else sum(self.shares[part.name] for part in others)
        # Rounding may take no side out of the mixture, however few units a minibatch has.
        counts = [max(1, round(self.size * self.shares[part.name] / total)) for part in others]
        if fresh:
            lead, take = fresh[0], max(1, self.size - sum(counts))
        else:
            longest = max(range(len(others)), key=lambda i: others[i].count / counts[i])
            lead, take = others.pop(longest), counts.pop(longest)
        return lead, min(take, lead.count), list(zip(others, counts, strict=True))

    def _permuted(self, part: Units) -> Units:
        device = next(iter(part.fields.values())).device
        order = permutation(self.key, self.drawn, part.count, device)
        self.drawn += 1
        fields = {name: entry.index_select(_axis(name, part), order) for name, entry in part.fields.items()}
        return replace(part, fields=fields)

    def _batch(self, pieces: list[Units], scale: float) -> Batch:
        axis = pieces[0].axis
        mixed = len(pieces) > 1 or not pieces[0].fresh
        names = set().union(*(piece.fields for piece in pieces)) if mixed else set(pieces[0].fields)
        joined: Fields = {}
        for name in names:
            entries = [entry_of(piece, name) for piece in pieces]
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
        return Units(fields, fields["action"].shape[0], data.rollout.fresh, 0, data.rollout.source)

    def orders(self, rows: int, epochs: int) -> Tensor:
        """The permutations of `epochs` passes over one source of `rows` rows, one after the other, int64."""
        first, self.drawn = self.drawn, self.drawn + epochs
        cpu = torch.device("cpu")
        return torch.cat([permutation(self.key, first + i, rows, cpu) for i in range(epochs)])

    def plan(self, parts: Sequence[Units], epochs: int) -> Minibatches:
        """The minibatches of `epochs` epochs by the rows' places in `parts`, one after the other."""
        if len(parts) == 1:
            return self._plan_alone(parts[0].count, epochs)
        places, first = [], 0
        for part in parts:
            rows = torch.arange(first, first + part.count)
            places.append(replace(part, fields={"place": rows}))
            first += part.count
        order, sizes, scales, drawn = [], [], [], []
        for _ in range(epochs):
            for chosen, scale in self._chosen(places):
                order += [units.fields["place"] for units in chosen]
                sizes.append(sum(units.count for units in chosen))
                scales.append(scale)
                drawn.append(self.drawn)
        each = len(sizes) // epochs
        return Minibatches(torch.cat(order), Cut(sizes[:each], scales[:each]), drawn)

    def _plan_alone(self, rows: int, epochs: int) -> Minibatches:
        # The same without a loop over minibatches, which would show in short updates.
        cut = _even_cut(rows, min(self.size, rows))
        drawn = [self.drawn + epoch + 1 for epoch in range(epochs) for _ in range(len(cut.size))]
        return Minibatches(self.orders(rows, epochs), cut, drawn)


class SequenceBatches(_Shuffled):
    """Minibatches of whole sequences `[L, B]`, each from the memory recorded at its start."""

    def __init__(
        self, minibatch_rows: int, sequence_length: int, shares: Mapping[str, float], key: int
    ) -> None:
        super().__init__(max(1, minibatch_rows // sequence_length), shares, key)
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
        return Units(cut, cut["start"].shape[1], rollout.fresh, 1, rollout.source)


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


@lru_cache(maxsize=4)
def _even_cut(rows: int, take: int) -> Cut:
    # The same in every update, and dear beside a short one.
    sizes = [min(take, rows - first) for first in range(0, rows, take)]
    return Cut(sizes, [size / take for size in sizes])


def _axis(name: str, part: Units) -> int:
    return 0 if name.startswith("state/") else part.axis


def _slice(part: Units, first: int, last: int) -> Units:
    if first == 0 and last == part.count:
        return part
    fields = {
        name: entry.narrow(_axis(name, part), first, last - first) for name, entry in part.fields.items()
    }
    return replace(part, fields=fields, count=last - first)


def _pieces(part: Units, size: int) -> Iterator[Units]:
    """All of `part` in pieces of `size` units, the last one shorter; each field is cut in one call."""
    columns = [torch.split(entry, size, _axis(name, part)) for name, entry in part.fields.items()]
    for number, cut in enumerate(zip(*columns, strict=True)):
        count = min(size, part.count - number * size)
        yield replace(part, fields=dict(zip(part.fields, cut, strict=True)), count=count)


def entry_of(piece: Units, name: str) -> Tensor:
    """A field; a weight that a source does not give is 1."""
    if name not in piece.fields and name in ("weight", "surrogate_weight"):
        return torch.ones_like(piece.fields["advantage"])
    return piece.fields[name]


def _group(fields: Fields, prefix: str) -> Fields:
    return {name.removeprefix(prefix): entry for name, entry in fields.items() if name.startswith(prefix)}
