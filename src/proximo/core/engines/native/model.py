"""A layer graph in the kernels' memory: one padded vector of parameters that the torch parameters are views of.

Shapes: a weight is stored `[in, padded out]`; the torch parameter `[out, in]` is a transposed view of it, so
PyTorch, checkpoints and the kernels read and write the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import POINTER, byref, c_int32, cast, pointer
from typing import Any

import torch
from torch import Tensor

from proximo.core.engines.layers import ACTIVATIONS, OBS, Dense, LayerGraph
from proximo.core.engines.native.library import PAD, CallOp, CallProgram, library

ACTOR, CRITIC = 1, 2


def padded(width: int) -> int:
    """Width with its padding."""
    return -(-width // PAD) * PAD


class Model:
    """The program of a layer graph and its parameter vector; `dtype` float64 serves tests."""

    def __init__(self, graph: LayerGraph, dtype: torch.dtype = torch.float32) -> None:
        self.graph = graph
        self.dtype = dtype
        self.wide = int(dtype == torch.float64)
        self.slots: list[tuple[Tensor, int, tuple[int, int] | None]] = []
        """Parameter, offset of its first number, and for weights (inputs, row length)."""
        ops, size, natural = self._operations()
        log_std = size
        if graph.log_std is not None:
            self.slots.append((graph.log_std, log_std, None))
            size += padded(graph.actions)
        self.size = size
        widths = self._widths()
        self._keep = (ops, widths)
        self.program = CallProgram(
            op_count=len(ops),
            buffer_count=len(widths),
            ops=cast(ops, POINTER(CallOp)),
            widths=cast(widths, POINTER(c_int32)),
            obs_width=graph.obs_width,
            actor_buffer=graph.actor,
            value_buffer=graph.critic,
            head=int(graph.head == "gaussian"),
            actions=graph.actions,
            streams=len(graph.streams),
            log_std=log_std,
            theta_size=size,
            natural_size=natural,
        )
        self.address = cast(pointer(self.program), POINTER(CallProgram))
        self.theta = aligned(size, dtype)
        self.first = aligned(size, dtype)
        self.second = aligned(size, dtype)
        self.forward_memory = aligned(
            library().proximo_forward_memory(byref(self.program), self.wide), torch.uint8
        )
        self._learn_memory: dict[int, Tensor] = {}

    def learn_memory(self, rows: int) -> Tensor:
        """Scratch memory for minibatches of `rows`."""
        if rows not in self._learn_memory:
            count = library().proximo_learn_memory(byref(self.program), rows, self.wide)
            self._learn_memory = {rows: aligned(count, torch.uint8)}
        return self._learn_memory[rows]

    def views(self, vector: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each torch parameter with its view (in the parameter's shape) of a vector laid out as theta."""
        for parameter, offset, weight in self.slots:
            if weight is None:
                yield parameter, vector[offset : offset + parameter.numel()]
            else:
                inputs, row = weight
                # The last row needs no padding behind this parameter's own columns.
                flat = vector[offset:]
                yield parameter, flat.as_strided((parameter.shape[0], inputs), (1, row))

    def bind(self) -> None:
        """Make the torch parameters views of theta, keeping their values."""
        with torch.no_grad():
            for parameter, view in self.views(self.theta):
                view.copy_(parameter)
                parameter.data = view
        self._bound = [(parameter, parameter.data_ptr()) for parameter, _, _ in self.slots]

    def ensure_bound(self) -> None:
        """Bind again where loading or moving replaced a parameter's memory."""
        if not self.is_bound():
            self.bind()

    def is_bound(self) -> bool:
        """False where something gave a parameter another memory since."""
        return all(parameter.data_ptr() == address for parameter, address in self._bound)

    def _widths(self) -> Any:
        widths = [padded(self.graph.obs_width)]
        widths += [padded(layer.outputs) for layer in self.graph.layers]
        return (c_int32 * len(widths))(*widths)

    def _operations(self) -> tuple[Any, int, int]:
        layers = self.graph.layers
        wanted = _gradients(layers)
        ops = (CallOp * len(layers))()
        size = natural = 0
        for number, layer in enumerate(layers):
            row, (source, add) = padded(layer.outputs), wanted[number]
            bias = size + layer.inputs * row
            column = 0
            for linear in layer.linears:
                self.slots.append((linear.weight, size + column, (layer.inputs, row)))
                self.slots.append((linear.bias, bias + column, None))
                column += linear.out_features
            ops[number] = CallOp(
                src=layer.source,
                dst=layer.target,
                add=-1 if layer.add is None else layer.add,
                in_=layer.inputs,
                out=layer.outputs,
                activation=ACTIVATIONS.index(layer.activation),
                role=ACTOR * layer.for_actor | CRITIC * layer.for_critic,
                src_grad=source,
                add_grad=add,
                weight=size,
                bias=bias,
                natural=natural if source else -1,
                slope=layer.slope,
            )
            size = bias + row
            natural += layer.outputs * padded(layer.inputs) if source else 0
        return ops, size, natural


def _gradients(layers: Any) -> list[tuple[int, int]]:
    """Per layer, how it writes the gradients of its source and residual: 0 not, 1 first, 2 adding to them."""
    written: set[int] = {OBS}
    result: dict[int, tuple[int, int]] = {}

    def mark(tensor: int | None) -> int:
        if tensor is None or tensor == OBS:
            return 0
        first = tensor not in written
        written.add(tensor)
        return 1 if first else 2

    for number in range(len(layers) - 1, -1, -1):
        layer: Dense = layers[number]
        # The kernel writes the residual's gradient before the source's.
        add = mark(layer.add)
        result[number] = (mark(layer.source), add)
    return [result[number] for number in range(len(layers))]


def aligned(count: int, dtype: torch.dtype) -> Tensor:
    """Zeros whose first element lies on a 64-byte boundary."""
    width = torch.empty((), dtype=dtype).element_size()
    raw = torch.zeros(count + 64 // width, dtype=dtype)
    skip = (-raw.data_ptr() % 64) // width
    return raw[skip : skip + count]
