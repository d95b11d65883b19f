"""The compiled index: that it says what the configs say, whatever becomes of either."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import NUMPY_MODEL, ROOT, toy_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medzoo
from medzoo import registry
from medzoo.cli import main
from medzoo.errors import ConfigError, IntegrityError, ModelNotFoundError, NotAvailableError
from medzoo.registry import entries
from medzoo.registry.entries import read_entries
from medzoo.registry.index import _compiled


def write(folder: Path, number: int, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{number:05d}_TOY_MRI_NOISE.yaml"
    path.write_text(yaml.safe_dump(toy_config() | {"id": path.stem} | changes), encoding="utf-8")
    return path


def forget() -> None:
    """As a new process begins."""
    registry.lookup._registry.cache_clear()
    _compiled.cache_clear()


def numbers(words: str, **fields: Any) -> list[int]:
    return [c.number for c in medzoo.search(words, **fields) if c.number > 900]


def compiled(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache" / "index").glob("*")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five models of the user's own, and no index yet."""
    folder = tmp_path / "configs"
    for number in range(901, 906):
        write(folder, number, name=f"Toy of kind{number}")
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(folder))
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    forget()
    return folder


def test_with_the_index_no_yaml_is_read(folder: Path) -> None:
    code = "import medzoo, sys; print(len(medzoo.search('kind903')), 'yaml' in sys.modules)"
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [process.stdout.strip() for process in said] == ["1 True", "1 False"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The configs that are read from their files."""
    found: list[str] = []
    read = registry.lookup.read_config
    monkeypatch.setattr(
        registry.lookup, "read_config", lambda path: (found.append(path.stem), read(path))[1]
    )
    return found


def test_a_second_process_reads_no_config_to_find_and_print(
    folder: Path, reads: list[str], tmp_path: Path
) -> None:
    first, table = numbers("kind903"), str(medzoo.search("toy", sort="id"))
    assert first == [903]
    assert compiled(tmp_path).stat().st_size
    forget()
    reads.clear()
    found = medzoo.search("kind903")
    assert len(found) == 1
    assert str(medzoo.search("toy", sort="id")) == table
    assert found.summaries()[0]["id"] == "00903_TOY_MRI_NOISE"
    assert reads == []
    assert found[0].name == "Toy of kind903"
    assert reads == ["00903_TOY_MRI_NOISE"]


def test_only_what_was_changed_is_read_again(folder: Path, reads: list[str]) -> None:
    assert numbers("toy") == [901, 902, 903, 904, 905]
    forget()
    reads.clear()
    write(folder, 902, name="Told anew, a zebra")
    write(folder, 906, name="Toy that came later")
    (folder / "00904_TOY_MRI_NOISE.yaml").unlink()
    found = [row["id"][:5] for row in medzoo.search().summaries() if row["id"] > "00900"]
    assert found == ["00901", "00902", "00903", "00905", "00906"]
    assert sorted(reads) == ["00902_TOY_MRI_NOISE", "00906_TOY_MRI_NOISE"]
    assert (numbers("zebra"), numbers("kind902"), numbers("kind904")) == ([902], [], [])


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no time of the last change of status")
def test_a_change_that_keeps_time_and_size_is_seen(folder: Path) -> None:
    assert numbers("kind901") == [901]
    path = write(folder, 901, name="Toy of kind991")  # of the same size
    assert numbers("kind991") == [901]
    about = path.stat()
    write(folder, 901, name="Toy of kind981")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (numbers("kind991"), numbers("kind981")) == ([], [901])
    assert medzoo.info(901).name == "Toy of kind981"


def test_a_config_that_is_edited_in_place_is_read_again_in_the_same_process(folder: Path) -> None:
    assert (numbers("kind901"), medzoo.info(901).name) == ([901], "Toy of kind901")
    (folder / "package").mkdir()
    (folder / "package" / "model.py").write_text(textwrap.dedent(NUMPY_MODEL), encoding="utf-8")
    path = folder / "00901_TOY_MRI_NOISE.yaml"
    edited = path.read_text(encoding="utf-8").replace("Toy of kind901", "Toy of vessels")
    with path.open("r+", encoding="utf-8") as file:  # as an editor that does not rename
        file.write(edited.replace("malignant: 1", "malignant: 7"))
        file.truncate()
    assert medzoo.info(901).name == medzoo.search("vessels")[0].name == "Toy of vessels"
    assert medzoo.info(901).default.conditions["condition"].values["malignant"] == 7
    assert medzoo.generate(901, 2, seed=1, trust=True).labels.tolist() == [0, 7]


def test_a_config_that_breaks_the_schema_is_named_and_the_index_stays(folder: Path) -> None:
    assert numbers("kind901") == [901]
    good = (folder / "00903_TOY_MRI_NOISE.yaml").read_text(encoding="utf-8")
    (folder / "00903_TOY_MRI_NOISE.yaml").write_text("- no mapping", encoding="utf-8")
    forget()
    with pytest.raises(
        ConfigError, match=r"00903_TOY_MRI_NOISE.yaml, top level: a mapping was expected"
    ):
        medzoo.search("toy")
    (folder / "00903_TOY_MRI_NOISE.yaml").write_text(good, encoding="utf-8")
    forget()
    assert numbers("kind903") == [903]


def test_a_search_with_an_index_imports_nothing_for_further_processes(folder: Path) -> None:
    assert numbers("kind903") == [903]  # the index is there now
    code = "import sys, medzoo; medzoo.search('toy'); print('subprocess' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout == "False\n"


@pytest.fixture
def several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configs are read by three processes, however few they are."""
    monkeypatch.setattr(entries, "EACH", 1)
    monkeypatch.setattr(entries, "cores", lambda: 3)


def test_several_processes_read_each_config_once_and_say_the_same(
    folder: Path, reads: list[str], several_processes: None
) -> None:
    files = registry.registry().files
    keys = [(*file, 1, 2) for file in files.items()]
    read = read_entries(keys)
    assert len(reads) == -(-len(files) // 3)  # the others were read by the others
    assert read == entries._read_here(keys)


def test_a_mistake_is_named_whichever_process_reads_it(
    folder: Path, several_processes: None
) -> None:
    (folder / "00905_TOY_MRI_NOISE.yaml").write_text("- no mapping", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"00905_TOY_MRI_NOISE.yaml, top level: a mapping was"):
        medzoo.search("toy")


def test_what_another_process_cannot_read_this_one_reads(
    folder: Path, several_processes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(folder / "no-python"))
    assert numbers("toy") == [901, 902, 903, 904, 905]


def damage(how: str, content: bytes) -> bytes:
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "cut to its head": content[:100],
        "no database": b"not a database" * 1000,
        "zeros": bytes(len(content)),
        "another program's": content.replace(b"format ", b"former ", 1),
    }[how]


@pytest.mark.parametrize(
    "how", ["empty", "cut", "cut to its head", "no database", "zeros", "another program's"]
)
def test_a_damaged_index_is_made_anew(folder: Path, tmp_path: Path, how: str) -> None:
    table = str(medzoo.search("toy", sort="name"))
    path = compiled(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(how, content))
    forget()
    with suppress(IntegrityError):  # found out too late to answer
        assert str(medzoo.search("toy", sort="name")) == table
    forget()
    assert str(medzoo.search("toy", sort="name")) == table
    assert numbers("kind905") == [905]
    assert len(path.read_bytes()) == len(content)


def attempt() -> str:
    try:
        return str(medzoo.search("toy mri"))
    except (IntegrityError, ModelNotFoundError) as error:
        return str(error)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_whatever_bytes_are_flipped_no_other_error_is_raised(
    folder: Path, tmp_path: Path, seed: int
) -> None:
    """SQLite has no checksums, so a wrong text may be shown; it may not break anything."""
    forget()
    right = attempt()
    path = compiled(tmp_path)
    content, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(200):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    forget()
    if "was damaged" in attempt():
        assert not path.exists()
        assert attempt() == right
    path.unlink(missing_ok=True)


def test_without_a_place_to_keep_it_every_process_makes_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", "/dev/null/nowhere")
    assert numbers("kind905") == [905]
    forget()
    assert numbers("kind905") == [905]


def test_a_disk_that_is_full_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, "
        "(20_000, 20_000)); import medzoo; print(len(medzoo.search('kind905')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
    assert list((tmp_path / "cache" / "index").iterdir()) == []


def test_many_processes_at_once_agree_and_leave_one_file(folder: Path, tmp_path: Path) -> None:
    code = "import json, medzoo; print(json.dumps([c.id for c in medzoo.search('toy', sort='id')]))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate()[0] for process in running}
    assert len(said) == 1
    assert len(json.loads(said.pop())) == 5
    assert compiled(tmp_path).suffix == ".sqlite"


def test_what_a_kill_left_is_listed_to_be_removed(folder: Path, tmp_path: Path) -> None:
    assert numbers("kind905") == [905]
    left = tmp_path / "cache" / "index" / ".x.sqlite.1.part"
    left.write_bytes(b"half")
    assert main(["cache", "prune"]) == 0
    assert not left.exists()
    assert compiled(tmp_path).exists()


def test_every_set_of_folders_has_an_index_of_its_own(
    folder: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "others", 911, name="Toy of kind911")
    assert numbers("toy") == [901, 902, 903, 904, 905]
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(tmp_path / "others"))
    assert numbers("toy") == [911]
    forget()
    reads.clear()
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", str(folder))
    assert len(medzoo.search("kind901 toy")) == 1
    assert reads == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("head-and-neck", [901]),
        ("head-and-ne", [901]),
        ("head-and-foot", []),
        ("and-neck", [901]),
        ("neck-and", []),
        ("h-a", []),
    ],
)
def test_a_phrase_is_found_where_its_words_stand_in_a_row(
    folder: Path, words: str, found: list[int]
) -> None:
    write(folder, 901, name="CT of head and neck, of a head, and of a neck")
    write(
        folder, 902, name="Head", content="and", organ="neck"
    )  # no phrase reaches from one field into the next
    forget()
    assert numbers(words) == found


def test_python_without_sqlite_is_told_and_generates_all_the_same(
    toy: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget()
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with pytest.raises(NotAvailableError, match="built without it"):
        medzoo.search("mri")
    assert main(["list"]) == NotAvailableError.exit_code
    assert "Models still run by id or number" in capsys.readouterr().err
    assert len(medzoo.generate(toy(), 2)) == 2


def test_the_index_is_a_database_that_others_can_read(folder: Path, tmp_path: Path) -> None:
    assert numbers("toy")
    database = sqlite3.connect(compiled(tmp_path))
    assert database.execute("SELECT count(*) FROM models WHERE number > 900").fetchone() == (5,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
