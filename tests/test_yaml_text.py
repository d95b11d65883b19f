"""YAML is read as PyYAML reads it, only sooner."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from medzoo.config.yaml_text import load_yaml

# PyYAML reads a line break where it wrote U+0085 itself.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x85"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS | st.integers() | st.booleans(), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("path", sorted((ROOT / "model_configs").glob("*.yaml")), ids=str)
def test_every_shipped_config_is_read_as_pyyaml_reads_it(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    assert load_yaml(text) == yaml.safe_load(text)


@given(VALUES)
def test_what_pyyaml_writes_is_read_back(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load_yaml(text) == yaml.safe_load(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: &x [1, 2]\nb: *x\n",
        "a: {x: 1}\n<<: {y: 2, x: 3}\n",
        "base: &b {x: 1}\nc: {<<: *b, y: 2}\n",
        "=: 1\n",
        "yes: on\n1: 0o7\n2.5: 012\n2020-01-02: ~\nnull: .5\n",
        "a: !!set {x, y}\nb: !!binary aGVsbG8=\nc: !!str 5\n",
        "? '\x85  '\n: null\n",
        "text: |\n  two\n  lines\nfolded: >-\n  one\n  line\nR&D: '5'\n",
    ],
)
def test_rare_parts_of_yaml_are_read_as_pyyaml_reads_them(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    ["[1, 2]: x\n", "{a: 1}: x\n", "a: !!python/name:os.system\n", "a: [\n", "a: 1\n---\nb: 2\n"],
)
def test_what_pyyaml_refuses_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as theirs:
        yaml.safe_load(text)
    with pytest.raises(yaml.YAMLError) as ours:
        load_yaml(text)
    assert type(ours.value) is type(theirs.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a: 1\na: 2\n", "a"),
        ("b:\n  c: 1\n  d: 2\n  'c': 1\n", "c"),
        ("[{x: 1, x: 2}]\n", "x"),
        ("a: &x [1]\nb: *x\na: 2\n", "a"),
        ("a: !!str 5\na: 2\n", "a"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(text: str, key: str) -> None:
    with pytest.raises(yaml.YAMLError, match=f"the key '{key}' is there twice"):
        load_yaml(text)
