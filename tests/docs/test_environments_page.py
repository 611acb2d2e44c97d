"""The page about environments claims no more than the test suite does."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_environment_that_is_called_tested_occurs_in_a_test():
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    table = page.partition("## What is tested")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Za-z0-9/]+-v\d+)`", table))
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    # A name without its version means the newest.
    missing = {name for name in named if f'"{name}"' not in tests and f'"{name[:-3]}"' not in tests}
    assert not missing
    assert len(named) > 10


def test_every_backend_is_on_the_page():
    from proximo.envs.make import BACKENDS

    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in BACKENDS)


def test_every_dependency_is_on_its_page():
    import tomllib

    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        assert f"| {re.split('[<>=]', requirement)[0]} |" in page, requirement
    for extra in project["optional-dependencies"]:
        assert extra == "all" or f"| `{extra}` |" in page, extra
