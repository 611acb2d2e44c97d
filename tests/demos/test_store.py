"""A process that dies while it replaces a data set costs neither the old one nor the new."""

import subprocess
import sys

import pytest

from proximo.demos import store

NAME = "toys/walk-v0"
REPLACE = """
import os, pathlib
from proximo.demos import store
rename = pathlib.Path.rename

def dying(path, target):
    if path.name.startswith(store.PARTIAL) and {dies}:
        os._exit(9)
    return rename(path, target)

pathlib.Path.rename = dying
partial = store.begin_partial({name!r})
(partial / "data").mkdir()
(partial / "data" / store.METADATA).write_text({content!r})
store.publish(partial, {name!r})
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


def replace(content: str, dies: bool) -> int:
    code = REPLACE.format(name=NAME, content=content, dies=dies)
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


def test_killed_between_two_renames_the_old_one_comes_back():
    assert replace('{"take": 1}', dies=False) == 0
    assert replace('{"take": 2}', dies=True) == 9
    assert not (store.folder(NAME) / "data").exists()
    assert store.present(NAME)
    assert store.metadata(NAME) == {"take": 1}
    assert replace('{"take": 3}', dies=False) == 0
    assert store.metadata(NAME) == {"take": 3}
    assert not [path for path in store.root().iterdir() if path.name.startswith(".")]


def test_what_was_replaced_in_full_does_not_come_back():
    assert replace('{"take": 2}', dies=False) == 0
    left = store.root() / f"{store.REPLACED}999999999-toys%2Fwalk-v0"
    left.mkdir()
    assert store.present(NAME)
    assert store.metadata(NAME) == {"take": 2}
    assert not left.exists()
