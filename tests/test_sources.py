"""Sources: where packages come from; those of a network are in test_download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medzoo.errors import SourceError
from medzoo.packages import sources
from medzoo.registry import resolve
from medzoo.settings import shipped


def fetched(number: int | str, version: str | None = None) -> Path:
    return sources.local(resolve(number), resolve(number).version(version))


def test_a_relative_file_starts_from_its_config_wherever_one_stands(
    toy: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    monkeypatch.chdir("/")
    assert fetched(901) == (tmp_path / "configs/package").resolve()


def test_an_absolute_file_and_one_at_home(
    toy: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(source=f"file:{tmp_path}")
    assert fetched(901) == tmp_path.resolve()
    monkeypatch.setenv("HOME", str(tmp_path))
    toy(source="file:~/configs")
    assert fetched(901) == (tmp_path / "configs").resolve()


def test_bundled_packages_lie_with_medzoo() -> None:
    assert fetched(8) == shipped("starter_models") / resolve(8).id


@pytest.mark.parametrize(
    ("source", "hint"),
    [("file:nowhere", "Is the path right"), ("bundled:NOTHING", "Reinstall medzoo")],
)
def test_nothing_there_says_where_it_was_looked_for(
    toy: Callable[..., int], source: str, hint: str
) -> None:
    with pytest.raises(
        SourceError, match=rf"there is nothing at .*{source.partition(':')[2]}.\n{hint}"
    ):
        fetched(toy(source=source))


def test_an_unknown_scheme_lists_the_known(toy: Callable[..., int]) -> None:
    with pytest.raises(
        SourceError, match=r"'ftp:x' has no known scheme.\nKnown are bundled, file, zenodo, https"
    ):
        fetched(toy(source="ftp:x"))


@pytest.mark.parametrize("scheme", ["../../os", "__init__", "os", ""])
def test_a_scheme_is_never_a_module_of_any_name(toy: Callable[..., int], scheme: str) -> None:
    with pytest.raises(SourceError, match="no known scheme"):
        fetched(toy(source=f"{scheme}:x"))
