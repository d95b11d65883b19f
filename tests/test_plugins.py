"""One table of what is chosen by a name, and what it loads."""

from __future__ import annotations

import inspect

import pytest

from medzoo.config import CONTRACTS, LOCAL, REMOTE
from medzoo.plugins import PLUGINS, plugin


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in PLUGINS for name in PLUGINS[kind]]
)
def test_every_part_is_there(kind: str, name: str) -> None:
    part = plugin(kind, name)
    assert callable(part) or inspect.ismodule(part)


def test_what_a_config_may_name_can_be_loaded() -> None:
    assert set(PLUGINS["contract"]) == set(PLUGINS["caller"]) == set(CONTRACTS)
    assert set(PLUGINS["source"]) == {*LOCAL, *REMOTE}
