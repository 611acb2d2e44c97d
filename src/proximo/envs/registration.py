"""Proximo's own environments in Gymnasium's registry, without importing Gymnasium before somebody else does."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

THERAPY = "proximo/Therapy-v0"
_ENTRY = {THERAPY: "proximo.envs.therapy.env:TherapyEnv"}


def register() -> None:
    """Add the environments to Gymnasium's registry; those already there stay."""
    from gymnasium.envs.registration import register, registry

    for env_id, entry in _ENTRY.items():
        if env_id not in registry:
            register(env_id, entry_point=entry)


def register_with_gymnasium() -> None:
    """`register` now if Gymnasium is loaded, else as soon as it is.

    Gymnasium reads no entry points, and `import proximo` must not cost what importing Gymnasium does.
    """
    if "gymnasium" in sys.modules:
        register()
    elif not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


class _Waiting(importlib.abc.MetaPathFinder):
    """Stands in front of the import system until Gymnasium is asked for, then steps aside."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Gymnasium's own spec, its loader followed by `register`; None for everything else."""
        if name != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(importlib.abc.Loader):
    """Loads as the loader it was given, then registers."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """As the true loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the true loader, which then takes its place back, and `register`."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        register()
