"""The generated pages are up to date: the strings in the code are the only source."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "tools" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", generator().PAGES)
def test_the_committed_page_is_what_would_be_written(name):
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == generator().PAGES[name](), "run: python docs/tools/generate.py"


def test_every_field_of_the_tree_has_a_line():
    from proximo.config import schema

    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    for field in schema.walk():
        name = field.path.rpartition(".")[2]
        assert name == "type" or f"- **`{name}`**" in page, field.path
        assert not field.doc or field.doc in page, field.path
