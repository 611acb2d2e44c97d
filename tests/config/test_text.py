"""YAML as users write it: numbers of YAML 1.2, no silent surprises, one line per mistake."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proximo.config.text import parse, scalar
from proximo.errors import UserError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-4", 1e-4),
        ("2e6", 2e6),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("1_000_000", 1_000_000),
        ("0x10", 16),
        ("010", 10),
        ("-7", -7),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("1.2.3", "1.2.3"),
        ("'1e-4'", "1e-4"),
        ("None", "None"),
        ("my_module:MyEnv", "my_module:MyEnv"),
        ("ALE/Pong-v5", "ALE/Pong-v5"),
        ("[64, 64]", [64, 64]),
    ],
)
def test_a_value_is_read_as_it_is_meant(written: str, meant: object) -> None:
    found = parse(written, "x")
    assert found == meant
    assert type(found) is type(meant)


def test_infinity_is_a_number() -> None:
    assert parse("-.inf", "x") == -math.inf


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(trees)
@example("\x85")
@example("a\n b\n")
@example({"\u2028": [" ", "\t", ": ", "# x", "- ", "\ufeff"]})
def test_what_is_written_is_read_back(value: object) -> None:
    written = scalar(value)
    assert parse(written, "x") == value
    assert "\n" not in written


@given(
    st.sampled_from(
        ["1e5", "yes", "0x1", "1_0", "null", "~", "2024-01-01", "1:30", ".inf", "True", "<<", "="]
    )
)
def test_text_that_looks_like_something_else_stays_text(value: str) -> None:
    assert parse(scalar([value]), "x") == [value]
    assert parse(scalar({value: value}), "x") == {value: value}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3: not valid YAML: the key 'a' stands twice in the same mapping"),
        ("a:\n  b: [1, 2", "f.yaml:2: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("1: x", "f.yaml:1: not valid YAML: the key '1' must be text"),
        ("true: x", "f.yaml:1: not valid YAML: the key 'true' must be text"),
        (
            "a: !!python/object/apply:os.system [x]",
            "f.yaml:1: not valid YAML: could not determine a constructor",
        ),
        ("a: 1\n---\nb: 2", "f.yaml:2: not valid YAML: but found another document"),
        ("a: \x00", "f.yaml: not valid YAML: unacceptable character"),
        ("a: &x {b: *x}", "f.yaml: nested too deeply"),
        ("[" * 3000, "f.yaml: nested too deeply"),
        ("a: *nowhere", "f.yaml:1: not valid YAML: found undefined alias 'nowhere'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(content: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(content, "f.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_aliases_cannot_make_a_small_file_endless() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(UserError, match="more than 100000 values"):
        parse("\n".join(lines), "f.yaml")


def test_merge_keys_work() -> None:
    assert parse("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3", "f")["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -3, 10**20, "gru", "Yes", "n", "None", "_x1", "", "1e5", "a b", "=", "~", 1e-5],
)
def test_every_value_is_read_as_it_was_written(value):
    assert parse(f"key: {scalar(value)}", "a file") == {"key": value}
