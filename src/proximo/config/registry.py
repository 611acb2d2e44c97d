"""From a name in the configuration to a class: `module:Class` or `path/to/file.py:Class`."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from proximo.errors import UserError


def nearest(word: str, known: Mapping[str, Any] | list[str]) -> str:
    """`"; did you mean X?"`, or an empty string where nothing known resembles the word."""
    names = list(known)
    lowered = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]}?" if close else ""


def resolve(name: str, base: type | None = None) -> type:
    """The class that `module:Class` or `file.py:Class` names.

    Modules are looked for where Python looks, then in the working directory; files relative to the working
    directory. The same name gives the same class object each time. Raises `UserError` if the module, file or
    class is missing, its import fails, it is not a class, or it is no subclass of `base`.
    """
    module_name, _, class_name = name.rpartition(":")
    if not module_name or not class_name:
        raise UserError(f"{name}: a class is named as module:Class or path/to/file.py:Class")
    module = _from_file(module_name) if module_name.endswith(".py") else _from_name(module_name)
    found: Any = module
    for part in class_name.split("."):
        if not hasattr(found, part):
            classes = [key for key, value in vars(found).items() if inspect.isclass(value)]
            raise UserError(f"{name}: {module_name} has no class {class_name}{nearest(class_name, classes)}")
        found = getattr(found, part)
    if not inspect.isclass(found):
        raise UserError(f"{name}: {class_name} is not a class but {type(found).__name__}")
    if base is not None and not issubclass(found, base):
        raise UserError(f"{name}: {class_name} must be a subclass of {base.__module__}.{base.__qualname__}")
    return found


def _from_name(name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    here = os.getcwd()
    # A console script, unlike `python -m`, does not look in the working directory.
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise UserError(f"{name}: no module {missing!r} is installed or in {here}") from error
        raise UserError(f"{name}: it imports {missing!r}, which is not installed") from error
    except Exception as error:
        raise UserError(f"{name}: importing it raised {type(error).__name__}: {_one_line(error)}") from error


def _from_file(name: str) -> ModuleType:
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"{name}: there is no such file (looked for {path})")
    key = f"proximo_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{name}: Python cannot import this file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    # Helper modules beside the file are importable, as they are for a script.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[key]
        if not isinstance(error, Exception):
            raise
        raise UserError(f"{name}: importing it raised {type(error).__name__}: {_one_line(error)}") from error
    return module


def build(cls: type, kwargs: Mapping[str, Any], *context: Any, where: str) -> Any:
    """`cls(*context, **kwargs)`, after checking `kwargs` against the constructor's signature.

    `where` is the path of the configuration node, for the message. Raises `UserError` naming an unknown
    keyword and the nearest one, a missing keyword, or what the constructor raised.
    """
    _check_keywords(cls, kwargs, len(context), where)
    try:
        return cls(*context, **kwargs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{where}: {cls.__name__}(…) raised {type(error).__name__}: {_one_line(error)}"
        ) from error


def _check_keywords(cls: type, kwargs: Mapping[str, Any], positions: int, where: str) -> None:
    name = cls.__name__
    try:
        parameters = inspect.signature(cls).parameters
    except ValueError:
        # Some classes written in C do not tell; they check for themselves.
        return
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    positional = [k for k, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = positional[:positions]
    takes = [
        key
        for key, p in parameters.items()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and key not in given
    ]
    for key in kwargs:
        if key in given:
            raise UserError(f"{where}.kwargs.{key}: Proximo itself gives {key} to {name}; leave it out")
        if key not in takes and not open_ended:
            known = f"it takes {', '.join(takes)}" if takes else "it takes none"
            raise UserError(
                f"{where}.kwargs.{key}: {name} has no such argument ({known}){nearest(key, takes)}"
            )
    missing = [k for k in takes if parameters[k].default is inspect.Parameter.empty and k not in kwargs]
    if missing:
        raise UserError(f"{where}.kwargs.{missing[0]}: {name} needs this argument")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "(no message)"
