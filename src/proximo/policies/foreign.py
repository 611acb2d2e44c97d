"""Encoders written for another library's base class of the same form, without that library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from proximo.policies.encoders import BaseFeaturesExtractor, FlatEncoder, NatureCNN

HOMES = (
    "rl_pipeline.models.feature_extractors.base_extractor",
    "rl_pipeline.feature_extractors.base_extractor",
    "base_extractor",
    "stable_baselines3.common.torch_layers",
)
"""Modules from which such files import the base class."""


@contextmanager
def base_class_aliases() -> Iterator[None]:
    """Inside the block, importing the base class from one of `HOMES` gives ours (they need not be installed)."""
    before = {name: sys.modules.get(name) for name in HOMES}
    for name in HOMES:
        module = ModuleType(name)
        names = {
            "BaseFeaturesExtractor": BaseFeaturesExtractor,
            "FlattenExtractor": FlatEncoder,
            "NatureCNN": NatureCNN,
        }
        vars(module).update(names)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module_before in before.items():
            if module_before is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module_before
