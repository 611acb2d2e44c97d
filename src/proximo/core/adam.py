"""AdamW's settings and moments (Loshchilov & Hutter 2019), stepped by PyTorch's own functional form.

The numbers are those of `torch.optim.AdamW`; its class is not used because making one imports PyTorch's compiler, a
third of the time from the command to the first update.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)


class Adam:
    """Moments of every parameter that has had a gradient; weight decay 0 makes it plain Adam.

    `state`: parameter → `step` (a float32 scalar), `exp_avg`, `exp_avg_sq`, as `torch.optim` names them.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], learning_rate: float, eps: float, weight_decay: float
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.betas = BETAS
        self.eps = eps
        self.weight_decay = weight_decay
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """One step of every parameter that has a gradient."""
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        for parameter in moved:
            if not self.state[parameter]:
                # The fused step reads its count where the parameter lives.
                count = torch.zeros((), dtype=torch.float32, device=parameter.device)
                first, second = torch.zeros_like(parameter), torch.zeros_like(parameter)
                self.state[parameter] |= {"step": count, "exp_avg": first, "exp_avg_sq": second}
        self.apply(
            moved,
            [parameter.grad for parameter in moved if parameter.grad is not None],
            *(
                [self.state[parameter][name] for parameter in moved]
                for name in ("exp_avg", "exp_avg_sq", "step")
            ),
        )

    def apply(
        self,
        values: Sequence[Tensor],
        gradients: Sequence[Tensor],
        first: Sequence[Tensor],
        second: Sequence[Tensor],
        counts: Sequence[Tensor],
    ) -> None:
        """One step of `values` in place, whatever they are views of."""
        adamw(
            list(values),
            list(gradients),
            list(first),
            list(second),
            [],
            list(counts),
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Moments by the parameters' place in the list."""
        return {str(i): dict(self.state[p]) for i, p in enumerate(self.parameters) if self.state.get(p)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore what `state_dict` gave, into memory of its own. Raises: ValueError where shapes differ."""
        self.state.clear()
        for place, entry in state.items():
            parameter = self.parameters[int(place)]
            for name in ("exp_avg", "exp_avg_sq"):
                if entry[name].shape != parameter.shape:
                    have, want = tuple(entry[name].shape), tuple(parameter.shape)
                    raise ValueError(f"moments of parameter {place} have shape {have}, it has {want}")
            self.state[parameter] = {
                name: tensor.detach().to(
                    device=parameter.device,
                    dtype=torch.float32 if name == "step" else parameter.dtype,
                    copy=True,
                )
                for name, tensor in entry.items()
            }
