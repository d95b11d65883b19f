"""Consoles of any width and encoding: lines fit, nothing fails, and text stays readable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import toy_config
from hypothesis import given
from hypothesis import strategies as st

from medzoo import console
from medzoo.cli import main

Toy = Callable[..., int]
Capture = pytest.CaptureFixture[str]
WIDE = {
    "name": "膝の磁気共鳴画像",
    "description": "試験のための雑音。" * 12 + " Größe 3 µm \u2013 “Çelik” \u00d7 2 … é",
    "modality": "磁気共鳴画像法",
    "organ": "膝関節",
    "content": "雑音雑音雑音雑音雑音雑音",
}
# run one after the other in one process whose streams have the encoding
COMMANDS = """
import sys
from medzoo.cli import main
codes = [main(words.split()) for words in (
    "list", "search knee", "search kneee", "info 902", "cite 902", "info 902 --json", "list --json",
    "generate 902 -n 2 --out out", "generate 902 -n 2 --out out", "verify out",
)]
codes.append(main(["generate", "902", "--out", "x", "--condition", "é日本"]))
sys.exit(codes != [0] * 10 + [2])
"""


@pytest.fixture
def wide(toy: Toy, tmp_path: Path) -> Path:
    """A model of the user's own whose texts are wide characters, accents and signs."""
    toy()
    folder = tmp_path / "configs"
    config = toy_config(files=None, authors=["Ł. Ümlaut", "作者"]) | WIDE
    config["id"] = "00902_TOY_MRI_WIDE"
    (folder / "00902_TOY_MRI_WIDE.yaml").write_text(
        yaml.safe_dump(config, allow_unicode=True), encoding="utf-8"
    )
    digests = (folder / "00901_TOY_MRI_NOISE.yaml").read_text(encoding="utf-8")
    config["versions"]["1.0.0"]["files"] = yaml.safe_load(digests)["versions"]["1.0.0"]["files"]
    (folder / "00902_TOY_MRI_WIDE.yaml").write_text(
        yaml.safe_dump(config, allow_unicode=True), encoding="utf-8"
    )
    return folder


def width_of(line: str) -> int:
    """Cells of a line, by the Unicode standard's own table."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in {"W", "F"})
        for c in line
    )


@pytest.mark.parametrize("columns", [80, 60])
def test_tables_and_facts_fit_the_console(
    wide: Path, columns: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (
        "list",
        "search",
        "search --sort FID",
        "info 902",
        "info 8",
        "info 3",
        "info 201",
    ):
        if words == "info 201":
            words = "info 13"  # noqa: PLW2901  (the longest id)
        main(words.split())
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 5
        least = 38 + 7 * (2 + 3)  # no id is cut: they can be typed again
        assert max(map(width_of, lines)) <= max(columns, least), words


def test_wide_characters_are_cut_and_padded_by_their_cells(capsys: Capture) -> None:
    rows = [("a", "雑音雑音雑音雑音", "x"), ("bb", "plain", "y")]
    lines = console.table(("id", "content", "z"), rows, 20).splitlines()
    assert max(map(width_of, lines)) <= 20
    assert {width_of(line[: line.rindex(end)]) for line, end in zip(lines, "zxy", strict=True)} == {
        width_of(lines[0]) - 1
    }


@given(st.text(max_size=60), st.integers(2, 30))
def test_any_text_is_wrapped_within_its_width_and_loses_nothing(text: str, width: int) -> None:
    lines = console.wrap(text, width, "> ", "  ")
    assert all(console.cells(line) <= max(width, 4) for line in lines)
    assert "".join("".join(line[2:] for line in lines).split()) == "".join(text.split())


@given(st.text(max_size=30), st.integers(3, 30))
def test_any_text_is_cut_to_its_width(text: str, width: int) -> None:
    short = console.cut(text, width)
    assert console.cells(short) <= width
    assert short == text if console.cells(text) <= width else short.endswith("…")


@pytest.mark.parametrize("encoding", ["gbk", "cp932", "cp1251", "ascii", "utf-8"])
def test_commands_work_on_a_console_of_any_encoding(
    wide: Path, tmp_path: Path, encoding: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        check=False,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "80"},
    )
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == 0, err
    assert "Traceback" not in err
    assert "search used 'knee' instead of 'kneee'" in err
    assert "00902_TOY_MRI_WIDE" in out
    if encoding == "ascii":
        assert 'Grosse 3 um - "Celik" x 2 ... e' in " ".join(out.split())
        assert "L. Umlaut" in out
        assert "'e\\u65e5\\u672c' is unknown" in err
    if encoding in {"gbk", "cp932", "utf-8"}:
        assert "雑音" in out
    shown = json.JSONDecoder().raw_decode(out[out.index("\n{") + 1 :])[0]  # `info 902 --json`
    assert shown["description"] == WIDE["description"]


def test_no_console_at_all_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    console.readable(sys.stdout, sys.stderr)
    assert main(["cite", "8"]) == 0


def test_a_narrow_table_leaves_out_spare_columns_before_it_cuts_texts() -> None:
    head, rows = (
        ("id", "kind", "size", "license"),
        [("00001_A_LONG_ID", "x" * 20, "y" * 20, "z" * 20)],
    )
    wide = console.table(head, rows, 90, spare=("license", "size"))
    assert wide.splitlines()[1] == "  ".join(rows[0])
    narrow = console.table(head, rows, 50, spare=("license", "size")).splitlines()
    assert narrow[0].split() == ["id", "kind", "size"]
    assert max(map(len, narrow)) <= 50
    narrowest = console.table(head, rows, 40, spare=("license", "size")).splitlines()
    assert narrowest == ["id               kind", f"00001_A_LONG_ID  {'x' * 20}"]
