"""The package as a whole: what it exports, and that its papers say what is true."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import proximo

ROOT = Path(__file__).parent.parent


def test_everything_listed_can_be_had() -> None:
    for name in proximo.__all__:
        assert getattr(proximo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        proximo.nothing  # noqa: B018


def test_the_readme_has_two_set_up_lines() -> None:
    lines = [
        line
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if line.startswith("python3 -m venv ")
    ]
    assert len(lines) == 2
    for line in lines:
        assert " -c constraints.txt -e " in line
    assert lines[0].endswith(" && .venv/bin/proximo train CartPole-v1")
    assert lines[1].endswith(" && .venv/bin/pytest")


def test_the_links_of_the_papers_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text("utf-8")):
            assert (ROOT / target).exists(), f"{name}: {target}"


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    short = block.replace("50_000", "4_096")
    assert short != block
    done = subprocess.run(
        [sys.executable, "-c", short], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_first_steps_of_the_readme_run(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8").partition("## First steps")[2]
    (block,) = re.findall(r"```bash\n(.*?)```", text.partition("The same from Python")[0], re.DOTALL)
    for line in block.strip().splitlines():
        words = line.replace("5e4", "4096").split()
        assert words[0] == "proximo"
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_every_extra_is_in_the_readme() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    readme = (ROOT / "README.md").read_text("utf-8")
    for name in extras:
        assert f"`{name}`" in readme


def test_the_constraints_pin_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert "torch==2.13.0" in pins
    for line in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_the_changelog_has_its_numerics_heading() -> None:
    assert "### Numerics" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
