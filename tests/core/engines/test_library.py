"""Kernels that are older than their sources are told; a build that does not say so is taken as it is."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proximo.cli.main import main
from proximo.core.engines.native import library as module
from proximo.core.engines.native.sources import KERNELS, digest

ROOT = Path(__file__).parents[3]
needs_kernels = pytest.mark.skipif(module.library() is None, reason=f"the kernels are {module.missing()}")


def test_the_hash_is_of_names_and_contents(tmp_path: Path) -> None:
    seen = [digest(tmp_path)]
    assert seen == [""]
    for name, content in (("a.cpp", "1"), ("a.cpp", "2"), ("b.h", "2"), ("b.h", "")):
        (tmp_path / name).write_text(content)
        seen.append(digest(tmp_path))
    (tmp_path / "b.h").rename(tmp_path / "c.h")
    seen.append(digest(tmp_path))
    assert len(set(seen)) == len(seen)
    (tmp_path / "notes.txt").write_text("no source")
    assert digest(tmp_path) == seen[-1]


@pytest.mark.parametrize(
    ("built", "beside", "told"),
    [
        ("one", "two", True),
        ("one", "one", False),
        ("", "two", False),
        ("one", "", False),
        (None, "two", False),
    ],
)
def test_other_sources_are_told(
    built: str | None, beside: str, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Where one of them is unknown (another build, an installation without sources), nothing is said."""
    loaded = SimpleNamespace(proximo_level=lambda: 1)
    if built is not None:
        loaded.proximo_sources = SourcesOf(built)
    monkeypatch.setattr(module, "library", lambda: loaded)
    monkeypatch.setattr(module, "digest", lambda: beside)
    cure = ", from other sources: rebuild with pip install -e . in the checkout"
    assert module.status() == "built, using AVX2" + (cure if told else "")
    assert main(["doctor"]) == 0
    assert f"  native kernels {module.status()}\n" in capsys.readouterr().out


class SourcesOf:
    """What ctypes makes of `proximo_sources`."""

    def __init__(self, text: str) -> None:
        self.text, self.restype = text, None

    def __call__(self) -> bytes:
        return self.text.encode()


@needs_kernels
def test_a_library_of_another_version_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABI", module.ABI + 1)
    monkeypatch.setattr(module, "library", module.library.__wrapped__)
    assert module.status() == "of another version: rebuild with pip install -e . in the checkout"


@needs_kernels
def test_what_is_tested_is_what_lies_here() -> None:
    assert not module.other_sources(), module.status()


def test_the_build_hands_the_hash_over(monkeypatch: pytest.MonkeyPatch) -> None:
    setuptools = pytest.importorskip("setuptools", reason="the build needs setuptools")
    from setuptools.command.build_ext import build_ext

    given: dict[str, Any] = {}
    seen = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **words: given.update(words))
    monkeypatch.setattr(build_ext, "build_extension", lambda self, ext: seen.append((self.force, ext)))
    runpy.run_path("setup.py")
    extension = setuptools.Extension("kernels", [])
    given["cmdclass"]["build_ext"](setuptools.Distribution()).build_extension(extension)
    assert seen == [(True, extension)]
    assert extension.define_macros == [("PROXIMO_SOURCES", f'"{digest(KERNELS)}"')]
