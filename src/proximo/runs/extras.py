"""Packages that are not always there: imported when used, named with their extra when missing."""

from __future__ import annotations

import importlib
from typing import Any

from proximo.errors import UserError


def optional(module: str, extra: str) -> Any:
    """The module; UserError saying which extra of Proximo to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"{package} is not installed: pip install 'proximo[{extra}]'") from error
