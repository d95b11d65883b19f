"""A reader study as one file: exported, imported, merged, and refused where it does not belong."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from studies import read_all, real_pictures, truths

from medzoo import study
from medzoo.cli import main
from medzoo.errors import DatasetError, InputError, IntegrityError
from medzoo.study import Study

Toy = Callable[..., int]


@pytest.fixture
def made(toy: Toy, tmp_path: Path) -> Study:
    return study.new(
        tmp_path / "study", real_pictures(tmp_path / "real"), toy(), n=5, seed=1, training=2
    )


def copy_of(made: Study, tmp_path: Path, name: str) -> Study:
    """As another hospital gets it: without the key."""
    file = made.export(tmp_path / f"{name}.zip", blind=True)
    return study.import_file(file, tmp_path / name)


def answer_all(made: Study, reader: str, rating: int) -> None:
    reading = made.start(reader, experience=3)
    while item := reading.current:
        reading.answer(item.id, rating, seconds=2)


def test_a_study_travels_and_its_answers_come_back(made: Study, tmp_path: Path) -> None:
    there = copy_of(made, tmp_path, "there")
    assert there.id == made.id
    assert not there.has_key
    answer_all(there, "Dr B", 6)
    answer_all(made, "Dr A", 1)
    back = there.export(tmp_path / "back.zip", blind=True)
    assert made.merge(back) == {str(back): 12}
    assert made.merge([back, back]) == {str(back): 0}
    report = made.report()
    assert report.figure("accuracy of readers").n == 2
    assert report.figure("sensitivity").value == report.figure("specificity").value == 0.5


def test_a_file_with_the_key_makes_the_same_report(made: Study, tmp_path: Path) -> None:
    read_all(made, "Dr A", lambda truth, k: 5 if truth else 2)
    again = study.import_file(made.export(tmp_path / "all.zip"), tmp_path / "again")
    assert str(again.report()) == str(made.report())
    assert truths(again) == truths(made)


def test_a_blind_file_has_no_key(made: Study, tmp_path: Path) -> None:
    file = made.export(tmp_path / "blind.zip", blind=True)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["study.sqlite"]
    there = study.import_file(file, tmp_path / "there")
    with pytest.raises(InputError, match="so the file could not hold it"):
        there.export(tmp_path / "more.zip")
    with pytest.raises(InputError, match="exists already"):
        made.export(file)


def test_the_same_study_makes_the_same_file(made: Study, tmp_path: Path) -> None:
    files = [made.export(tmp_path / name) for name in ("a.zip", "b.zip")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_study_is_refused(made: Study, toy: Toy, tmp_path: Path) -> None:
    other = study.new(tmp_path / "other", tmp_path / "real", toy(), n=5, seed=2, training=2)
    answer_all(other, "Dr B", 3)
    with pytest.raises(InputError, match="is of another study"):
        made.merge([copy_of(made, tmp_path, "there").folder, other.folder])
    assert made.readers() == []


def test_two_people_with_one_name_are_refused(made: Study, tmp_path: Path) -> None:
    there, third = (copy_of(made, tmp_path, name) for name in ("there", "third"))
    answer_all(made, "Dr A", 1)
    answer_all(there, "DR A", 2)
    answer_all(third, "Dr C", 3)
    before = made._store.answers()
    with pytest.raises(InputError, match="a reader 'DR A' who is also in this study"):
        made.merge([third.folder, there.folder])
    assert made._store.answers() == before  # nothing of any file
    assert len(made.readers()) == 1


def test_files_of_one_name_are_counted_by_their_paths(
    made: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, reader in (("a", "Dr A"), ("b", "Dr B"), ("c", "Dr C")):
        answer_all(copy_of(made, tmp_path, name), reader, 3)
    for name in ("a", "b"):
        study.load(tmp_path / name).export(tmp_path / name / "answers.zip", blind=True)
    monkeypatch.chdir(tmp_path / "c")
    first, second = Path("../a/answers.zip"), Path("../b/answers.zip")
    assert main(["study", "merge", str(made.folder), str(first), str(second), "."]) == 0
    lines = capsys.readouterr().out.splitlines()[:3]
    assert lines == [f"{path}: 12 new answers" for path in (first, second, ".")]


def test_a_file_that_is_named_twice_is_counted_once(made: Study, tmp_path: Path) -> None:
    there = copy_of(made, tmp_path, "there")
    answer_all(there, "Dr B", 3)
    assert made.merge([there.folder, there.folder]) == {str(there.folder): 12}


def test_a_reader_who_continued_elsewhere_is_merged(made: Study, tmp_path: Path) -> None:
    reading = made.start("Dr A", experience=3)
    for _ in range(4):
        reading.answer(reading.current.id, 2, seconds=1)
    there = copy_of(made, tmp_path, "there")
    reading = there.start("Dr A", resume=True)
    while item := reading.current:
        reading.answer(item.id, 5, seconds=1)
    reading.close({there.settings.closing[0]: "noise"})
    assert made.merge([there.folder]) == {str(there.folder): 8}
    assert made.readers() == there.readers()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE pictures SET png = x'89504E470D0A1A0A00'", "differ from its id"),
        ("UPDATE items SET training = ''", "differ from its id"),
        (
            "CREATE TRIGGER t AFTER INSERT ON answers BEGIN DELETE FROM answers; END",
            "tables are not",
        ),
        ("UPDATE answers SET rating = 7", "is out of range"),
        ("UPDATE answers SET rating = 'six'", "is out of range"),
        ("UPDATE answers SET scales = '{\"beauty\": 3}'", "has other scales"),
        ("UPDATE answers SET reader = 'nobody'", "is of no reader"),
        ("UPDATE answers SET seconds = -5", "has an impossible time"),
        ("UPDATE readers SET experience = 900", "900 years of experience"),
        ("UPDATE readers SET name = 'Dr Z'", "has another name"),
        ("DELETE FROM settings WHERE name = 'id'", "is an unfinished study"),
        ("DROP TABLE answers", "tables are not"),
    ],
)
def test_a_changed_file_is_refused(
    made: Study, tmp_path: Path, statement: str, message: str
) -> None:
    answer_all(made, "Dr A", 1)
    changed = tmp_path / "changed"
    shutil.copytree(made.folder, changed)
    with sqlite3.connect(changed / "study.sqlite") as connection:
        connection.execute(statement)
    connection.close()
    file = tmp_path / "changed.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path in changed.iterdir():
            archive.write(path, path.name)
    with pytest.raises(IntegrityError, match=f"damaged or was changed: .*{message}"):
        study.import_file(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    before = made._store.answers()
    with pytest.raises(IntegrityError, match=message):
        made.merge(file)
    assert made._store.answers() == before


def test_a_key_of_another_study_is_refused(made: Study, tmp_path: Path) -> None:
    key = json.loads((made.folder / "key.json").read_text())
    (made.folder / "key.json").write_text(json.dumps({**key, "study": "0" * 32}))
    file = made.export(tmp_path / "all.zip")
    with pytest.raises(IntegrityError, match="its key is of another study"):
        study.import_file(file, tmp_path / "out")


def test_files_that_are_no_study_are_refused(made: Study, tmp_path: Path) -> None:
    text = tmp_path / "notes.zip"
    text.write_text("no zip")
    with pytest.raises(InputError, match="is not a file of a study"):
        study.import_file(text, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(InputError, match="does not hold a study"):
        made.merge(tmp_path / "other.zip")
    with pytest.raises(InputError, match="There is no study in"):
        made.merge(tmp_path)
    with pytest.raises(DatasetError, match="holds something already"):
        study.import_file(made.export(tmp_path / "all.zip"), made.folder)


def test_a_broken_file_is_refused(made: Study, tmp_path: Path) -> None:
    file = made.export(tmp_path / "all.zip")
    content = bytearray(file.read_bytes())
    content[200:260] = b"\0" * 60
    file.write_bytes(content)
    with pytest.raises(IntegrityError):
        study.import_file(file, tmp_path / "out")
