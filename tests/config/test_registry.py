"""Classes by name: what resolves, and one line for what does not."""

import collections
import sys
from pathlib import Path

import pytest

from proximo.config.registry import build, resolve
from proximo.errors import UserError


def test_a_class_of_an_installed_module() -> None:
    assert resolve("collections:OrderedDict") is collections.OrderedDict
    assert resolve("collections:OrderedDict", base=dict) is collections.OrderedDict


def test_a_class_of_a_file_is_the_same_object_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("VALUE = 7\n", encoding="utf-8")
    (tmp_path / "mine.py").write_text(
        "import helper\n\nclass Mine:\n    value = helper.VALUE\n    class Inner: pass\n", encoding="utf-8"
    )
    found = resolve("mine.py:Mine")
    assert found.value == 7  # type: ignore[attr-defined]
    assert resolve(f"{tmp_path}/mine.py:Mine") is found
    assert resolve("mine.py:Mine.Inner").__name__ == "Inner"
    # Instances can be sent to worker processes only if the class is found again under its module.
    assert getattr(sys.modules[found.__module__], "Mine") is found  # noqa: B009


def test_a_module_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proximo_test_module.py").write_text("class Here: pass\n", encoding="utf-8")
    assert resolve("proximo_test_module:Here").__name__ == "Here"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nocolon", "nocolon: a class is named as module:Class or path/to/file.py:Class"),
        ("x:", "x:: a class is named as"),
        ("no_such_module_x:Y", "no_such_module_x: no module 'no_such_module_x' is installed or in "),
        ("collections.no:Y", "collections.no: no module 'collections.no' is installed or in "),
        (
            "collections:OrderdDict",
            "collections:OrderdDict: collections has no class OrderdDict; did you mean OrderedDict?",
        ),
        ("collections:namedtuple", "collections:namedtuple: namedtuple is not a class but function"),
        ("gone.py:X", "gone.py: there is no such file (looked for "),
        ("broken.py:X", "broken.py: importing it raised ZeroDivisionError: division by zero"),
        (
            "wants.py:X",
            "wants.py: importing it raised ModuleNotFoundError: No module named 'not_there_at_all'",
        ),
        ("syntax.py:X", "syntax.py: importing it raised SyntaxError: "),
        ("wants:X", "wants: it imports 'not_there_at_all', which is not installed"),
    ],
)
def test_what_does_not_resolve_is_one_line(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "wants.py").write_text("import not_there_at_all\n", encoding="utf-8")
    (tmp_path / "syntax.py").write_text("class X(\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        resolve(name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_base_class_is_checked() -> None:
    with pytest.raises(
        UserError, match=r"^collections:Counter: Counter must be a subclass of builtins\.list$"
    ):
        resolve("collections:Counter", base=list)


class Encoder:
    def __init__(self, space: object, features_dim: int, *, depth: int = 2) -> None:
        if depth < 0:
            raise ValueError("depth must not\nbe negative")
        self.given = (space, features_dim, depth)


def test_build_gives_context_and_keywords() -> None:
    made = build(Encoder, {"features_dim": 3}, "space", where="policy.encoder")
    assert made.given == ("space", 3, 2)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"featurs_dim": 3},
            "policy.encoder.kwargs.featurs_dim: Encoder has no such argument (it takes features_dim, depth); "
            "did you mean features_dim?",
        ),
        ({}, "policy.encoder.kwargs.features_dim: Encoder needs this argument"),
        ({"space": 1}, "policy.encoder.kwargs.space: Proximo itself gives space to Encoder; leave it out"),
        (
            {"features_dim": 1, "depth": -1},
            "policy.encoder: Encoder(…) raised ValueError: depth must not be negative",
        ),
    ],
)
def test_wrong_keywords_are_named(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Encoder, kwargs, "space", where="policy.encoder")
    assert str(caught.value) == message


def test_a_constructor_that_takes_anything_gets_anything() -> None:
    assert build(dict, {"a": 1}, where="x") == {"a": 1}
