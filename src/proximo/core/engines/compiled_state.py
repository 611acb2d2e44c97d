"""What a compiled optimiser step moves: parameters, moments, rate, stop and sums of metrics, all on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from proximo.core.optim import Optimizer


class StepState:
    """The optimiser's own tensors, not copies of them, and the scalars of one update. Shapes: `M` metrics."""

    def __init__(self, module: nn.Module, optimizer: Optimizer, names: Sequence[str]) -> None:
        """`names` of the metrics in the order of `sums`."""
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        device = trained[0][1].device
        self.names = names
        self.parameters: dict[str, Tensor] = {}
        self.first: dict[str, Tensor] = {}
        self.second: dict[str, Tensor] = {}
        self.steps: list[Tensor] = []
        for name, parameter in trained:
            entry = optimizer.adam.state[parameter]
            entry.setdefault("exp_avg", torch.zeros_like(parameter))
            entry.setdefault("exp_avg_sq", torch.zeros_like(parameter))
            entry.setdefault("step", torch.zeros((), device=device))
            self.parameters[name] = parameter.detach()
            self.first[name], self.second[name] = entry["exp_avg"], entry["exp_avg_sq"]
            self.steps.append(entry["step"])
        # Vectors of one: what a compiled function writes into a float64 scalar on a CPU is lost (PyTorch 2.13).
        self.count = self.steps[0].double().reshape(1).clone()
        self.rate = torch.tensor([optimizer.learning_rate], dtype=torch.float64, device=device)
        self.stopped = torch.zeros(1, dtype=torch.bool, device=device)
        self.weight = torch.zeros(1, dtype=torch.float64, device=device)
        self.sums = torch.zeros(len(names), dtype=torch.float64, device=device)

    def mark_static(self) -> None:
        """Tell CUDA graphs that the large tensors stay where they are, so that a graph may write into them."""
        for tensors in (self.parameters, self.first, self.second):
            for tensor in tensors.values():
                torch._dynamo.mark_static_address(tensor)

    def finish(self, optimizer: Optimizer) -> None:
        """Give the optimiser its step counts and its rate."""
        for step in self.steps:
            step.copy_(self.count[0])
        if optimizer.schedule == "adaptive":
            optimizer.set_rate(float(self.rate))

    def report(self, epochs: int, stopped: float) -> dict[str, float]:
        """Means over the minibatches, weighted by their rows."""
        result = {"epochs": float(epochs), "kl_stop": stopped}
        *sums, weight = torch.cat([self.sums, self.weight]).tolist()
        if weight:
            result |= {name: total / weight for name, total in zip(self.names, sums, strict=True)}
        return result
