"""In which numbers the convolutions of a policy compute, and how much work a policy is.

Weights, optimiser, dense layers, heads and losses stay float32; only convolutional encoders compute in bfloat16.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from proximo.errors import UserError

Precision = Literal["auto", "float32", "bfloat16"]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16")
"""Processor features that multiply bfloat16; without one it is emulated and slower than float32."""


def convolves(module: nn.Module) -> bool:
    """Whether any part of a module is a convolution."""
    return any(isinstance(part, CONVOLUTIONS) for part in module.modules())


def bfloat16_unit(device: torch.device) -> str | None:
    """The feature with which this processor multiplies bfloat16; None without one, and off the CPU."""
    if device.type != "cpu":
        return None
    # Older PyTorch cannot tell, and then nothing is assumed.
    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return next((unit for unit in BFLOAT16_UNITS if has.get(unit)), None)


def choose_precision(wanted: Precision, policy: nn.Module, device: torch.device) -> tuple[Precision, str]:
    """`float32` or `bfloat16` for the convolutions, and why; `bfloat16` asked of a policy without any: UserError."""
    if not convolves(policy):
        if wanted == "bfloat16":
            raise UserError(
                "precision: bfloat16 is for convolutional encoders, and this policy has none; use auto"
            )
        return "float32", "no convolutions"
    if wanted != "auto":
        return wanted, "as configured"
    unit = bfloat16_unit(device)
    if unit is None:
        return "float32", "no bfloat16 unit" if device.type == "cpu" else f"on {device.type}"
    return "bfloat16", f"convolutions, {unit}"


def multiplications(module: nn.Module, *inputs: Any) -> int:
    """Multiplications of one forward pass in convolutions and dense layers, counted on the way."""
    total = 0

    def count(part: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal total
        weight = part.weight
        assert isinstance(weight, Tensor)
        # A convolution uses every weight once per output position; a dense layer once per row.
        each = result.numel() // weight.shape[0]
        total += weight.numel() * each

    training = module.training
    module.eval()
    parts = [part for part in module.modules() if isinstance(part, (*CONVOLUTIONS, nn.Linear))]
    hooks = [part.register_forward_hook(count) for part in parts]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        module.train(training)
    return total
