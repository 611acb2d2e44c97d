"""Encoders written for another library's base class of the same form, without that library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
def base_class_aliases(name: str) -> Iterator[None]:
    """While the class `name` is imported, the base class of one of `HOMES` is ours (they need not be installed).

    For a file inside a folder `rl_pipeline`, the other modules of that package are importable too.
    """
    file = Path(name.rpartition(":")[0]).absolute()
    for package in (folder for folder in file.parents if folder.name == "rl_pipeline"):
        if str(package.parent) not in sys.path:
            sys.path.append(str(package.parent))
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
