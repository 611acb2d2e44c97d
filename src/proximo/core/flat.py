"""Parameters, gradients and Adam's moments side by side in four vectors.

A small network has a dozen parameters of a few kilobytes: on a CPU, clipping and stepping them one by one costs more
in calls than in arithmetic. As one vector each is a single operation, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from proximo.core.adam import Adam

LARGEST = 1 << 18
"""Parameters up to which this pays; beyond, gradients are better kept where the backward pass leaves them."""
ALIGN = 16
"""Numbers that every parameter's place is a multiple of: as aligned as memory of its own, so as exact."""


class FlatAdam:
    """The views of some parameters, their gradients and their moments, and the step on all of them at once.

    A parameter that a minibatch does not use has gradient 0 there (`torch.optim` would skip it).
    """

    def __init__(self, adam: Adam, parameters: Sequence[nn.Parameter]) -> None:
        """Moves parameters and moments into the vectors, keeping their values; see `fits`."""
        self.adam = adam
        self.parameters = list(parameters)
        places = [-(-parameter.numel() // ALIGN) * ALIGN for parameter in parameters]
        vectors = [torch.zeros(sum(places), dtype=parameters[0].dtype) for _ in range(4)]
        self.theta, self.gradient, self.first, self.second = vectors
        counts = [adam.state[parameter]["step"] for parameter in parameters if adam.state.get(parameter)]
        self.count: Tensor = counts[0] if counts else torch.zeros(())
        self._gradients: list[Tensor] = []
        self._addresses: list[tuple[int, int, int]] = []
        offset = 0
        with torch.no_grad():
            for parameter, place in zip(parameters, places, strict=True):
                views = [vector[offset : offset + parameter.numel()].view_as(parameter) for vector in vectors]
                self._move(parameter, *views)
                offset += place

    def _move(
        self, parameter: nn.Parameter, value: Tensor, gradient: Tensor, first: Tensor, second: Tensor
    ) -> None:
        value.copy_(parameter)
        parameter.data = value
        entry = self.adam.state[parameter]
        for name, view in (("exp_avg", first), ("exp_avg_sq", second)):
            if name in entry:
                view.copy_(entry[name])
            entry[name] = view
        entry["step"] = self.count
        self._gradients.append(gradient)
        self._addresses.append((value.data_ptr(), first.data_ptr(), second.data_ptr()))

    @staticmethod
    def fits(adam: Adam, parameters: Sequence[nn.Parameter]) -> bool:
        """Whether one vector can hold them: few, plain numbers of one kind on a CPU that made equally many steps."""
        if not parameters or sum(parameter.numel() for parameter in parameters) > LARGEST:
            return False
        kinds = {(parameter.device.type, parameter.dtype) for parameter in parameters}
        steps = {float(adam.state.get(parameter, {}).get("step", 0.0)) for parameter in parameters}
        plain = all(parameter.is_contiguous() and not parameter.is_complex() for parameter in parameters)
        return plain and len(kinds) == 1 and len(steps) == 1 and kinds.pop()[0] == "cpu"

    def holds(self, parameters: Sequence[nn.Parameter]) -> bool:
        """False where other parameters are trained by now, or something replaced their memory or moments."""
        return len(parameters) == len(self.parameters) and all(
            mine is theirs and self._addresses_of(mine) == at
            for mine, theirs, at in zip(self.parameters, parameters, self._addresses, strict=True)
        )

    def release(self) -> None:
        """Give every parameter a step count of its own again, as `torch.optim` counts each."""
        for parameter in self.parameters:
            entry = self.adam.state.get(parameter, {})
            if entry.get("step") is self.count:
                entry["step"] = self.count.clone()

    def _addresses_of(self, parameter: nn.Parameter) -> tuple[int, int, int] | None:
        entry = self.adam.state.get(parameter, {})
        if entry.get("step") is not self.count:
            return None
        return parameter.data_ptr(), entry["exp_avg"].data_ptr(), entry["exp_avg_sq"].data_ptr()

    def step(self, loss: Tensor, max_norm: float) -> Tensor:
        """One step down `loss`; returns the gradient's norm before clipping."""
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient
        self.gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            norm: Tensor = torch.linalg.vector_norm(self.gradient)
            self.gradient.mul_((max_norm / (norm + 1e-6)).clamp_max_(1.0))
            self.adam.apply([self.theta], [self.gradient], [self.first], [self.second], [self.count])
        return norm
