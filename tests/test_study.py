"""Reader studies: what is made, what gives nothing away, and answers that survive everything."""

from __future__ import annotations

import hashlib
import io
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from studies import SMOOTH, key_of, read_all, real_pictures, truths

import medzoo
from medzoo import study
from medzoo.cli import main
from medzoo.errors import DatasetError, InputError
from medzoo.study import Study, reading

Toy = Callable[..., int]


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return real_pictures(tmp_path / "real")


def small(toy: Toy, tmp_path: Path, real: Path, **how: Any) -> Study:
    return study.new(tmp_path / "study", real, toy(), **{"n": 6, "seed": 1, **how})


def pixels(made: Study, name: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(made.picture(name))) as image:
        assert image.format == "PNG"
        assert not image.info
        return np.asarray(image)


# ------------------------------------------------------------------------------------------ making
def test_a_study_holds_n_pictures_of_each_side(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real, training=3)
    assert (made.settings.n, made.settings.training) == (12, 3)
    sides = Counter(truths(made).values())
    assert sides == {True: 8, False: 7}  # 6 of each count, 2 and 1 are for training
    assert study.load(made.folder).id == made.id


def test_pictures_of_the_same_kind_are_shown_pixel_for_pixel(
    toy: Toy, tmp_path: Path, real: Path
) -> None:
    made = small(toy, tmp_path, real)
    samples = medzoo.generate(901, 6, seed=1).images
    for name, entry in key_of(made)["pictures"].items():
        if entry["synthetic"]:
            expected = samples[int(entry["source"].removeprefix("sample "))][0]
        else:
            expected = np.asarray(Image.open(real / entry["source"]))
        np.testing.assert_array_equal(pixels(made, name), expected)


def test_the_same_seed_makes_the_same_study(toy: Toy, tmp_path: Path, real: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        made = study.new(tmp_path / name, real, toy(), n=6, training=2, seed=seed)
        files = [(made.folder / file).read_bytes() for file in ("study.sqlite", "key.json")]
        digests.append([hashlib.sha256(content).hexdigest() for content in files])
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_real_pictures_have_the_classes_of_the_synthetic_ones(
    toy: Toy, tmp_path: Path, real: Path
) -> None:
    made = small(toy, tmp_path, real)
    counts = Counter(
        (entry["synthetic"], entry["groups"]["class"])
        for entry in key_of(made)["pictures"].values()
    )
    assert set(counts.values()) == {3}
    assert len(counts) == 4


def test_options_of_the_model_choose_real_pictures_too(
    toy: Toy, tmp_path: Path, real: Path
) -> None:
    options = {"condition": "malignant"}
    made = small(toy, tmp_path, real, options=options)
    assert {e["groups"]["class"] for e in key_of(made)["pictures"].values()} == {"malignant"}


def test_pictures_of_one_patient_are_avoided(toy: Toy, tmp_path: Path) -> None:
    folder = real_pictures(tmp_path / "real", classes=())
    for path in folder.iterdir():
        path.rename(folder / f"P{int(path.stem) % 6}_{path.name}")
    made = small(toy, tmp_path, folder, patient=r"P\d")
    sources = [e["source"] for e in key_of(made)["pictures"].values() if not e["synthetic"]]
    assert sorted(source[:2] for source in sources) == [f"P{k}" for k in range(6)]


def test_fewer_real_pictures_than_n_are_refused(toy: Toy, tmp_path: Path, real: Path) -> None:
    with pytest.raises(InputError, match=r"40 pictures, and 51 are needed: 50, and 1 for"):
        small(toy, tmp_path, real, n=50, training=2)
    with pytest.raises(InputError, match=r"has 20 pictures of class 'benign', and 25 are needed"):
        small(toy, tmp_path, real, n=25, options={"condition": "benign"})
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"size": (8, 9)}, "40 of 40 pictures of .* have another shape .* 8x9 for 8x8"),
        ({"size": (8, 8, 3)}, "images of 1 channels, real has images of 3"),
        ({"classes": ("oval", "round")}, "has 0 pictures of class 'benign', and 3 are needed"),
    ],
)
def test_sides_that_cannot_be_shown_alike_are_refused(
    toy: Toy, tmp_path: Path, how: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        small(toy, tmp_path, real_pictures(tmp_path / "other", **how))
    assert not (tmp_path / "study").exists()


def test_files_that_hold_fewer_bits_than_their_type_are_refused(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    for k in range(20):
        twelve = np.random.default_rng(k).integers(0, 4096, (8, 8)).astype(np.uint16)
        Image.fromarray(twelve).save(folder / f"{k}.png")
    with pytest.raises(InputError, match=r"at 100% of their range, and .* at 6%"):
        small(toy, tmp_path, folder)


def test_volumes_and_full_folders_are_refused(toy: Toy, tmp_path: Path, real: Path) -> None:
    shape = {
        "images": {"kind": "volume", "dtype": "uint8", "shape": [1, 1, 8, 8], "range": [0, 255]}
    }
    code = SMOOTH.replace('{"images": images}', '{"images": images[:, None]}')
    with pytest.raises(InputError, match=r"only images .volume"):
        study.new(tmp_path / "study", real, toy(code, outputs=shape, conditions=None), n=2)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").touch()
    with pytest.raises(DatasetError, match="holds something already"):
        small(toy, tmp_path, real)


def test_scales_and_pairs_are_two_studies(toy: Toy, tmp_path: Path, real: Path) -> None:
    with pytest.raises(InputError, match="a scale asks about one picture"):
        small(toy, tmp_path, real, pairs=True, likert="realism")
    with pytest.raises(InputError, match="names something twice"):
        small(toy, tmp_path, real, likert="realism, realism")


# -------------------------------------------------------------------------------- handled alike
def test_synthetic_pictures_get_the_jpeg_and_the_size_of_real_files(
    toy: Toy, tmp_path: Path
) -> None:
    folder = real_pictures(tmp_path / "jpeg", size=(16, 16), suffix="jpg", quality=40)
    made = small(toy, tmp_path, folder)
    samples = medzoo.generate(901, 6, seed=1).images
    changed = 0
    for name, entry in key_of(made)["pictures"].items():
        if entry["synthetic"]:
            own = samples[int(entry["source"].removeprefix("sample "))][0]
            stored = Image.fromarray(own).resize((16, 16), Image.Resampling.NEAREST)
            buffer = io.BytesIO()
            stored.save(buffer, format="jpeg", quality=40)  # the same tables as the real files
            with Image.open(buffer) as read:
                expected = np.asarray(read.resize((8, 8), Image.Resampling.BOX))
            changed += int((pixels(made, name) != own).any())
        else:
            with Image.open(folder / entry["source"]) as read:
                expected = np.asarray(read.resize((8, 8), Image.Resampling.BOX))
        np.testing.assert_array_equal(pixels(made, name), expected)
    assert changed == 6
    notes = " ".join(key_of(made)["notes"])
    assert "40 of 40 real pictures come from JPEG files" in notes
    assert "Real pictures of 16x16 pixels were brought to 8x8" in notes


def test_smaller_real_files_make_synthetic_pictures_as_coarse(toy: Toy, tmp_path: Path) -> None:
    folder = real_pictures(tmp_path / "coarse", size=(4, 4))
    made = small(toy, tmp_path, folder)
    samples = medzoo.generate(901, 6, seed=1).images
    for name, entry in key_of(made)["pictures"].items():
        if entry["synthetic"]:
            own = samples[int(entry["source"].removeprefix("sample "))][0]
            coarse = Image.fromarray(own).resize((4, 4), Image.Resampling.BOX)
        else:
            coarse = Image.open(folder / entry["source"])
        expected = np.asarray(coarse.resize((8, 8), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(pixels(made, name), expected)


def test_a_narrow_window_shows_no_gaps_on_one_side_alone(toy: Toy, tmp_path: Path) -> None:
    """8 bits through a window leave out grey levels; 16 bits would not, and could be told by it."""
    images = {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 255]}
    number = toy(outputs={"images": {**images, "window": [100, 50]}}, conditions=None, code=NOISE)
    folder = tmp_path / "deep"
    folder.mkdir()
    for k in range(30):
        deep = np.random.default_rng(k).integers(0, 2**16, (8, 8)).astype(np.uint16)
        Image.fromarray(deep).save(folder / f"{k}.png")
    made = study.new(tmp_path / "study", folder, number, n=25, seed=1)
    levels: dict[bool, set[int]] = {True: set(), False: set()}
    for name, synthetic in truths(made).items():
        levels[synthetic] |= set(pixels(made, name).ravel().tolist())
    assert len(levels[True]) <= 51
    assert levels[False] == levels[True]
    assert "65536 levels: both were rounded to the fewer" in " ".join(key_of(made)["notes"])


NOISE = """
import numpy as np

class Model:
    def sample(self, batch):
        return {"images": np.stack([batch.rng(i).bytes(64).reshape(1, 8, 8) for i in range(batch.n)])}

def load(weights_dir, device):
    return Model()
"""


# --------------------------------------------------------------------------------------- blinded
def everything_else(made: Study, png: Callable[[bytes], bytes] = lambda content: content) -> Any:
    """All that a reader's machine knows of each picture but its pixels, and the truth."""
    known = truths(made)
    with sqlite3.connect(made.folder / "study.sqlite") as connection:
        pictures = connection.execute("SELECT rowid, id, png FROM pictures").fetchall()
        items = connection.execute("SELECT rowid, id, pictures FROM items").fetchall()
    places = {}
    for reader in ("Dr A", "Dr B"):
        store = made._store
        order = reading.order_of(store.items(), made.id, reader.casefold())
        places[reader] = {item: number for number, item in enumerate(order)}
    item_of = {text[2:18]: (row, item) for row, item, text in items}
    rows, answers = [], []
    for row, name, stored in pictures:
        content = png(stored)
        item_row, item = item_of[name]
        start = content.index(b"IDAT")
        digits = [int(digit, 16) for digit in name + item]
        chunks = content.count(b"IDAT"), len(content), start, *content[:start]
        rows.append([row, item_row, *digits, *chunks, *(places[r][item] for r in places)])
        answers.append(known[name])
    return np.array(rows), np.array(answers)


def area(rows: NDArray[Any], answers: NDArray[Any]) -> float:
    forest = RandomForestClassifier(200, random_state=0)
    scores = cross_val_predict(forest, rows, answers, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(answers, scores))


def test_nothing_but_pixels_gives_a_picture_away(toy: Toy, tmp_path: Path) -> None:
    folder = real_pictures(tmp_path / "many", n=150, classes=())
    made = study.new(
        tmp_path / "study", folder, toy(SMOOTH, conditions=None, outputs=PLAIN), n=150, seed=3
    )
    rows, answers = everything_else(made)
    assert abs(area(rows, answers) - 0.5) < 0.1
    assert len({len(made.picture(name)) for name in truths(made)}) == 1

    def compressed(content: bytes) -> bytes:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(content)).save(buffer, format="png")
        return buffer.getvalue()

    leaky, answers = everything_else(made, compressed)  # the same classifier finds a real leak
    assert area(leaky, answers) > 0.95


PLAIN = {"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 255]}}


def test_the_file_that_readers_get_does_not_hold_the_truth(
    toy: Toy, tmp_path: Path, real: Path
) -> None:
    made = small(toy, tmp_path, real)
    with sqlite3.connect(made.folder / "study.sqlite") as connection:
        dump = "\n".join(connection.iterdump())
    for word in ("sample ", "benign", "malignant", "TOY", '"seed"', "real/"):
        assert word not in dump, word


def test_pairs_hold_one_of_each_and_sides_are_even(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real, n=10, pairs=True, training=2)
    known, reader = truths(made), made.start("Dr A")
    sides = Counter()
    for pictures, _ in reader._items.values():
        assert sorted(known[name] for name in pictures) == [False, True]
        classes = {key_of(made)["pictures"][name]["groups"]["class"] for name in pictures}
        assert len(classes) == 1
        sides[known[pictures[1]]] += 1
    assert sides == {True: 6, False: 6}


# --------------------------------------------------------------------------------------- reading
def test_training_comes_first_and_says_the_truth(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real, training=4)
    known, reader = truths(made), made.start("Dr A", experience=7)
    feedback = []
    while item := reader.current:
        found = reader.answer(item.id, 6)
        assert (found is not None) == item.training == (item.number <= 4)
        if found is not None:
            assert found.truth == ("synthetic" if known[item.pictures[0]] else "real")
            assert found.correct == known[item.pictures[0]]
            feedback.append(found.truth)
    assert sorted(feedback) == ["real", "real", "synthetic", "synthetic"]
    assert made.readers()[0].finished


def test_each_reader_has_an_order_that_stays(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real)
    orders = [made.start(name)._order for name in ("Dr A", "Dr B")]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert made.start("DR  a", resume=True)._order == orders[0]


def test_a_name_is_taken_once(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real)
    reader = made.start("Dr A", experience=12)
    reader.answer(reader.current.id, 2)
    for name in ("Dr A", "dr a", " DR   A "):
        with pytest.raises(InputError, match=r"There is a reader '(D|d)"):
            made.start(name, experience=1)
    with pytest.raises(InputError, match="no reader 'Dr B' to resume"):
        made.start("Dr B", resume=True)
    again = made.start("dr a", resume=True)
    assert (again.reader, again.answered) == ("Dr A", 1)
    assert made.readers()[0].experience == 12
    with ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(made.start, "Dr C") for _ in range(8)]
    assert sum(future.exception() is None for future in begun) == 1


@pytest.mark.parametrize("name", ["", "  ", "a\nb\0", "x" * 81, 5])
def test_a_name_that_cannot_be_shown_is_refused(
    toy: Toy, tmp_path: Path, real: Path, name: Any
) -> None:
    with pytest.raises(InputError, match="reader"):
        small(toy, tmp_path, real).start(name)


def test_an_answer_is_given_once(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real)
    one = made.start("Dr A")
    other = made.start("Dr A", resume=True)  # a second window
    item = one.current
    assert other.current == item
    one.answer(item.id, 1, comment="first")
    with pytest.raises(InputError, match="answered in another window"):
        other.answer(item.id, 6)
    assert other.current.id == one.current.id != item.id
    assert [(a.rating, a.comment) for a in made._store.answers()] == [(1, "first")]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"rating": 0}, "rating=0"),
        ({"rating": 7}, "rating=7"),
        ({"rating": 2.5}, "rating=2.5"),
        ({"scales": {}}, "realism"),
        ({"scales": {"realism": 6}}, "realism=6"),
        ({"scales": {"realism": 3, "beauty": 1}}, "does not fit"),
        ({"comment": "x" * 10_001}, "10,001 characters"),
        ({"seconds": -1}, "seconds=-1"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"item": "0" * 16}, "is not the item to answer now"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(
    toy: Toy, tmp_path: Path, real: Path, answer: dict[str, Any], message: str
) -> None:
    made = small(toy, tmp_path, real, likert=["realism"])
    reader = made.start("Dr A")
    right = {"item": reader.current.id, "rating": 3, "scales": {"realism": 3}}
    with pytest.raises(InputError, match=message):
        reader.answer(**{**right, **answer})
    assert reader.answered == 0


def test_pauses_do_not_count(
    toy: Toy, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(reading.time, "monotonic", lambda: now[0])
    reader = small(toy, tmp_path, real).start("Dr A")
    item = reader.current
    now[0] += 4
    reader.pause()
    now[0] += 3600
    reader.pause()
    reader.resume()
    now[0] += 1.5
    reader.answer(item.id, 5)
    now[0] += 60  # the next one is not shown yet
    item = reader.current
    now[0] += 2
    reader.answer(item.id, 5)
    rows = dict(reader._store.rows("SELECT rowid, seconds FROM answers"))
    assert rows == {1: 5.5, 2: 2.0}


def test_closing_questions_come_at_the_end(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real, closing=["Why?"])
    reader = made.start("Dr A")
    with pytest.raises(InputError, match="12 items have no answer yet"):
        reader.close({"Why?": "noise"})
    while item := reader.current:
        reader.answer(item.id, 3)
    with pytest.raises(InputError, match="does not ask 'How"):
        reader.close({"How?": "noise"})
    reader.close({"Why?": "noise"})
    assert made.readers()[0].closing == {"Why?": "noise"}


# ---------------------------------------------------------------------------------------- kills
READER = """
import sys
from medzoo import study
reader = study.load(sys.argv[1]).start("Dr A", resume=True)
while item := reader.current:
    reader.answer(item.id, 1 + int(item.id, 16) % 6, comment=item.id * 50)
    print(item.id, flush=True)
"""


def test_answers_survive_a_kill(toy: Toy, tmp_path: Path) -> None:
    folder = real_pictures(tmp_path / "many", n=150)
    made = study.new(tmp_path / "study", folder, toy(), n=140, seed=3)
    made.start("Dr A")
    told: list[str] = []
    kills = 0
    while True:
        command = [sys.executable, "-c", READER, str(made.folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                told.append(line.strip())
                if len(told) % 40 == 0:
                    time.sleep(0.002 * (kills % 5))
                    child.send_signal(signal.SIGKILL)
                    kills += 1
                    break
            told += [line.strip() for line in child.stdout if line.endswith("\n")]
        if child.returncode == 0:
            break
        answers = {a.item: a for a in made._store.answers()}
        assert set(told) <= set(answers)  # all that was confirmed is there, and perhaps one more
    assert kills >= 5
    answers = {a.item: a for a in made._store.answers()}
    assert len(answers) == 280
    assert all(a.rating == 1 + int(item, 16) % 6 for item, a in answers.items())
    assert all(a.comment == item * 50 for item, a in answers.items())
    assert made._store.rows("PRAGMA integrity_check") == [("ok",)]


def test_each_answer_waits_for_the_disk(toy: Toy, tmp_path: Path, real: Path) -> None:
    made = small(toy, tmp_path, real)
    with made._store.connected() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_file_that_is_not_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no study in"):
        study.load(tmp_path)
    (tmp_path / "study.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DatasetError, match="cannot be read or written"):
        study.load(tmp_path)


# ----------------------------------------------------------------------------------- the command
def test_the_command_runs_a_study(
    toy: Toy, tmp_path: Path, real: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, number = tmp_path / "turing", str(toy())
    asked = ["--real", str(real), "--model", number, "-n", "6", "--likert", "realism, detail"]
    more = ["--option", "condition=benign", "--training", "2", "--seed", "4", "--question", "Why?"]
    assert main(["study", "new", str(folder), *asked, *more]) == 0
    made = study.load(folder)
    assert made.settings.scales == ("realism", "detail")
    assert made.settings.closing == ("Why?",)
    assert {e["groups"]["class"] for e in key_of(made)["pictures"].values()} == {"benign"}
    out = capsys.readouterr().out
    assert "* Patients of real pictures are not known" in out
    assert max(map(len, out.splitlines())) < 80 + len(str(folder))
    read_all(made, "Dr A", lambda truth, k: 6 if truth else 1, scales={"realism": 2, "detail": 4})
    assert main(["study", "info", str(folder)]) == 0
    assert "Dr A: 14 of 14" in capsys.readouterr().out
    assert main(["study", "report", str(folder), "--out", str(tmp_path / "report")]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").is_file()
    blind, copy = str(tmp_path / "blind.zip"), str(tmp_path / "copy")
    assert main(["study", "export", str(folder), "--out", blind, "--blind"]) == 0
    assert main(["study", "import", blind, "--out", copy]) == 0
    read_all_blind(study.load(copy))
    assert main(["study", "merge", str(folder), copy]) == 0
    assert "14 new answers" in capsys.readouterr().out
    assert main(["study", "report", copy]) == 2
    assert "There is no key.json" in capsys.readouterr().err
    assert main(["study"]) == 0
    assert main(["study", "new", str(folder), *asked]) == 9


def read_all_blind(made: Study) -> None:
    reader = made.start("Dr B")
    while item := reader.current:
        reader.answer(item.id, 4, scales={"realism": 1, "detail": 1})
