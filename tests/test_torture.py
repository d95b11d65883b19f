"""Kills at every stage, random input to every reader, and mixed use of one cache: a few of each here, many in `make torture`.

How much is run, and what is written down, is in ``torture.py``.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import nibabel
import numpy as np
import pytest
import scan_files
import torture
import yaml
from conftest import NUMPY_MODEL
from hypothesis import strategies as st
from sets import KINDS, python, same
from studies import real_pictures
from test_config import FULL, PATHS, VALUES, parent
from test_upload import server  # noqa: F401  (a fixture)
from zenodo_server import drip, zipped

import medzoo
from medzoo import cli, medical, study
from medzoo._worker import protocol
from medzoo.config import read_config
from medzoo.errors import MedzooError
from medzoo.files import unpack
from medzoo.packages import transfer

AMOUNT = torture.Amount.asked()
# Files that differ or may stay: locks, the log with its times, and in the cache what `cache prune` removes.
LOCKS = r"\.lock$|\.use$|run\.log$|^cache/(.*/)?\.[^/]+"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0),  # each case has its own limit, and `make torture` takes long
    pytest.mark.skipif(os.name == "nt", reason="no fork and no SIGKILL there"),
]
Get = Callable[[str], Any]  # a fixture by its name


# ------------------------------------------------------------------------------------------------ kills
@dataclass(frozen=True)
class Stage:
    """Something that takes time and writes: what is there before, and the command that is killed."""

    prepare: Callable[
        [Get, Path], object
    ]  # the fixtures, and the folder that the command will find
    command: str
    ignore: str = LOCKS  # files that may differ, by their names


def medzoo_command(*words: str) -> str:
    """A line of the shell, with ``place`` for the folder of the case."""
    return (
        f"from medzoo.cli import main\nassert main([w.format(place=place) for w in {words!r}]) == 0"
    )


AS_A_NEW_PROCESS = """
from medzoo.registry import index, lookup
for made in (*vars(index).values(), *vars(lookup).values()):
    getattr(made, "cache_clear", int)()
"""
BIG = {"toy/model.py": NUMPY_MODEL.encode(), "toy/weights.npz": random.Random(0).randbytes(400_000)}
INSTALL = medzoo_command("install", "901", "--env", "current")


def published(get: Get, place: Path) -> None:
    """A model that comes slowly from a Zenodo, a piece at a time."""
    get("zenodo").register(BIG)
    get("zenodo").fault(*[drip(20_000, 0.005)] * 10_000)


def downloaded(get: Get, place: Path) -> None:
    """Its archive, and nothing made of it."""
    get("zenodo").register(BIG)
    cli.main(["install", "901", "--env", "current"])
    shutil.rmtree(place / "cache" / "packages")


def needs_packages(get: Get, place: Path) -> None:
    """A model with an environment of its own to be built."""
    for name in ("one", "two", "three"):
        get("index").add(name, "1.0", code="x = 1\n" * 2000)
    get("zenodo").register(requires=["numpy", "one==1.0", "two==1.0", "three==1.0"])


def columns(format_: str) -> Callable[[Get, Path], object]:
    """A model whose samples go into sets of this format."""
    return lambda get, place: get("any_toy")(KINDS[format_], labels=True)


def generate(format_: str, n: int = 9) -> str:
    """Write a set of so many samples."""
    options = ["--seed", "5", "--batch-size", "3", "--format", format_, "--quiet"]
    return medzoo_command("generate", "901", "-n", str(n), "--out", "{place}/set", *options)


def grown(get: Get, place: Path) -> None:
    """A finished set of four samples."""
    columns("png")(get, place)
    exec(generate("png", 4), {"place": place})


def exported(get: Get, place: Path) -> None:
    """The file of `medzoo cache export`, and an empty cache."""
    get("zenodo").register(BIG)
    cli.main(["cache", "export", str(place / "models.zip"), "901"])
    shutil.rmtree(place / "cache")


def package(get: Get, place: Path) -> None:
    """A package folder to upload."""
    get("server")
    shutil.move(get("package")(), place / "mine")


UPLOAD = """
from medzoo import publishing
publishing.upload(place / "mine", env="current", progress=False)
"""


def begun(get: Get, place: Path) -> None:
    """A study whose reader has answered nothing."""
    made = study.new(
        place / "study", real_pictures(place / "real", n=20), get("toy")(), n=12, seed=3
    )
    made.start("Dr A")


ANSWERS = """
import json
from medzoo import study
made = study.load(place / "study")
reader = made.start("Dr A", resume=True)
while item := reader.current:
    reader.answer(item.id, 1 + int(item.id, 16) % 6, comment=item.id * 50)
found = sorted((a.item, a.rating, a.comment) for a in made._store.answers())
(place / "answers.json").write_text(json.dumps(found))
"""

STAGES = {
    "download": Stage(published, INSTALL),
    "unpack": Stage(downloaded, INSTALL),
    # the record of an environment holds times, and so do files that Python compiles
    "environment": Stage(
        needs_packages,
        medzoo_command("install", "901"),
        LOCKS + r"|\.pyc$|environments/[^/]+\.json$",
    ),
    "index": Stage(columns("png"), AS_A_NEW_PROCESS + medzoo_command("search", "mass")),
    "generate, npz": Stage(columns("npz"), generate("npz")),
    "generate, png": Stage(columns("png"), generate("png")),
    "generate, nifti": Stage(columns("nifti"), generate("nifti")),
    "generate, dicom": Stage(columns("dicom"), generate("dicom")),
    "generate, webdataset": Stage(columns("webdataset"), generate("webdataset")),
    "growth of a set": Stage(grown, generate("png")),
    "cache export": Stage(
        downloaded, medzoo_command("cache", "export", "{place}/models.zip", "901")
    ),
    "cache import": Stage(exported, medzoo_command("cache", "import", "{place}/models.zip")),
    # each case has another draft, whose number is in the config and in the state
    "upload": Stage(package, UPLOAD, LOCKS + r"|upload\.json$|\.yaml$"),
    "study answers": Stage(begun, ANSWERS, LOCKS + r"|study\.sqlite"),
}


@pytest.mark.parametrize("name", STAGES)
def test_what_is_killed_continues_and_ends_as_if_nothing_had_happened(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {case["case"] for case in torture.noted("kill", name)}
    if len(done) >= AMOUNT.kills:
        return
    stage, place = STAGES[name], tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("MEDZOO_CACHE", str(place / "cache"))
    stage.prepare(request.getfixturevalue, place)
    place.rename(tmp_path / "template")
    spec = {
        "name": name,
        "place": str(place),
        "template": str(tmp_path / "template"),
        "command": stage.command,
        "ignore": stage.ignore,
        "kills": AMOUNT.kills,
        "done": sorted(done),
    }
    child = subprocess.run(
        [sys.executable, torture.__file__, "kill", json.dumps(spec)],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cases: " in child.stdout, child.stdout + child.stderr
    cases = json.loads(child.stdout.split("cases: ")[1])
    wrong = [case for case in cases if case["differs"] or case["fault"]]
    assert wrong == [], child.stderr[-3000:]
    assert cases


# ------------------------------------------------------------------------------------------------- fuzz
class Hang(Exception):
    """An example took too long."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `Hang` in what takes longer."""

    def late(*_: Any) -> None:
        raise Hang(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def damaged(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """A file with some of its bytes replaced, left out, doubled or added."""
    for kind, where, new in changes:
        at = int(where * len(data))
        if kind == "replace":
            data = data[:at] + new + data[at + len(new) :]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        elif kind == "double":
            data = data[:at] + data[at : at + 100] + data[at:]
        elif kind == "leave out":
            data = data[:at] + data[at + 16 * len(new) :]
        else:
            data = data[:at]
    return data


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "replace", "insert", "double", "leave out", "cut"]),
        st.floats(0, 1, exclude_max=True) | st.floats(0, 0.05),  # heads are more interesting
        st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, bytes(8), b"-1", b"nan"]),
    ),
    min_size=1,
    max_size=4,
)


class Files:
    """A folder of good files, and a copy of it in which one file is damaged by each example."""

    def __init__(self, good: Path) -> None:
        self.good, self.bad = good, good.with_name(good.name + "-bad")
        self.names = sorted(p.relative_to(good).as_posix() for p in good.rglob("*") if p.is_file())

    def strategy(self) -> st.SearchStrategy[Any]:
        return st.tuples(st.sampled_from(self.names), CHANGES)

    def damage(self, example: Any) -> Path:
        name, changes = example
        shutil.rmtree(self.bad, ignore_errors=True)
        shutil.copytree(self.good, self.bad)
        (self.bad / name).write_bytes(damaged((self.good / name).read_bytes(), changes))
        return self.bad


Target = tuple[st.SearchStrategy[Any], Callable[[Any], object]]


def configs(get: Get, folder: Path) -> Target:
    """Configs with one value replaced, and configs with damaged text."""
    good = yaml.safe_dump(FULL, sort_keys=False).encode()

    def attempt(example: Any) -> None:
        path, value, changes = example
        text = good
        if changes is None:
            content = copy.deepcopy(FULL)
            parent(content, path)[path[-1]] = value
            text = yaml.safe_dump(content, sort_keys=False).encode()
        (folder / f"{FULL['id']}.yaml").write_bytes(damaged(text, changes or []))
        read_config(folder / f"{FULL['id']}.yaml")

    return st.tuples(st.sampled_from(PATHS), VALUES, st.none() | CHANGES), attempt


def archives(get: Get, folder: Path) -> Target:
    def attempt(changes: Any) -> None:
        (folder / "a.zip").write_bytes(
            damaged(zipped(BIG | {"toy/ä/b.txt": b"text" * 99}), changes)
        )
        shutil.rmtree(folder / "out", ignore_errors=True)
        unpack(folder / "a.zip", folder / "out")

    return CHANGES, attempt


def sets(get: Get, folder: Path) -> Target:
    """Sets of each format in which one file is damaged: read and verified."""
    made = []
    for format_ in ("png", "csv", "npz", "nifti", "dicom", "webdataset", "coco"):
        get("any_toy")(KINDS[format_], labels=format_ != "coco")
        medzoo.generate(901, 3, seed=1, out=folder / format_, format=format_, progress=False)
        made.append(Files(folder / format_))

    def attempt(example: Any) -> None:
        number, share, changes = example
        files = made[number]
        bad = files.damage((files.names[int(share * len(files.names))], changes))
        for read in (medzoo.read, medzoo.verify):
            with contextlib.suppress(MedzooError):
                read(bad)

    share = st.floats(0, 1, exclude_max=True)
    return st.tuples(st.integers(0, len(made) - 1), share, CHANGES), attempt


def series(folder: Path) -> None:
    scan_files.series(folder, np.random.default_rng(0).integers(-1000, 1000, (4, 8, 6)) / 1)


def dicom(get: Get, folder: Path) -> Target:
    series(folder / "scan")
    files = Files(folder / "scan")
    return files.strategy(), lambda example: medical.read_series(files.damage(example))


def nifti(get: Get, folder: Path) -> Target:
    (folder / "scan").mkdir()
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for name in ("a.nii", "b.nii.gz"):
        image = nibabel.Nifti1Image(values, np.diag([1.0, 2, 3, 1]))
        nibabel.save(image, folder / "scan" / name)
    files = Files(folder / "scan")
    return files.strategy(), lambda example: medical.read_nifti(files.damage(example) / example[0])


def rtstruct(get: Get, folder: Path) -> Target:
    series(folder / "scan")
    contours = [scan_files.circle(1.5, (-18, -28), 40 + 3 * k, points=12) for k in range(4)]
    scan_files.structures(folder / "drawn" / "rs.dcm", {"GTV": contours, "lung": contours[:2]})
    files, volume = Files(folder / "drawn"), medical.read_series(folder / "scan")

    def attempt(example: Any) -> None:
        structures = medical.read_structures(files.damage(example) / "rs.dcm")
        for name in structures.contours:
            structures.mask(volume, name)

    return files.strategy(), attempt


def frames(get: Get, folder: Path) -> Target:
    """What a model's process may send; `process` makes a `WorkerError` of these three errors."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    whole = b"".join(protocol.pack({"number": 1, "ok": {"images": array, "more": [array, "text"]}}))

    def attempt(changes: Any) -> None:
        with contextlib.suppress(EOFError, ValueError, MemoryError):
            protocol.checked_answer(
                protocol.read(io.BytesIO(damaged(whole, changes)), lambda: 10**6), 1
            )

    return CHANGES, attempt


def imports(get: Get, folder: Path) -> Target:
    """A file of `medzoo cache export` that is damaged as a whole, or packed again with one part damaged."""
    get("zenodo").register(BIG)
    transfer.export_models(folder / "good.zip", [901])
    with zipfile.ZipFile(folder / "good.zip") as packed:
        parts = {entry: packed.read(entry) for entry in packed.namelist()}

    def attempt(example: Any) -> None:
        name, changes = example
        if name is None:
            (folder / "bad.zip").write_bytes(damaged((folder / "good.zip").read_bytes(), changes))
        else:
            with zipfile.ZipFile(folder / "bad.zip", "w") as packed:
                for entry, data in parts.items():
                    packed.writestr(entry, damaged(data, changes) if entry == name else data)
        transfer.import_models(folder / "bad.zip")

    return st.tuples(st.sampled_from([None, *parts]), CHANGES), attempt


WORDS = ["901", "8", "toy", "0", "-1", "3", "1.5", "nan", "1e400", "²", "", " ", "a=b", "=", "set", "none/of", "..", "png", "\x00", "\udc80", "é" * 300, "{}", "[]", "-", "--", "None", "benign", "gain=4", "10_0", "../x"]  # fmt: skip
COMMANDS = ["list", "search", "info", "cite", "copy", "generate", "traverse", "interpolate", "gallery", "verify", "reproduce", "publish", "install", "cache", "study", "contribute"]  # fmt: skip
NOT_HERE = {"--all", "--engine", "--device", "--evaluate"}  # networks, clusters, minutes


def command_lines(get: Get, folder: Path) -> Target:
    """Commands with options of their own, and words that fit or do not; no command may end with 1."""
    get("toy")()
    monkeypatch = get("monkeypatch")
    monkeypatch.chdir(folder)
    for name in ("MEDZOO_DEPOSITS", "MEDZOO_GITHUB", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    subcommands = cli.build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    options = {
        name: sorted(set(re.findall(r"--[a-z-]+", subcommands[name].format_help())) - NOT_HERE)
        for name in COMMANDS
    }

    def line(name: str) -> st.SearchStrategy[list[str]]:
        word = st.sampled_from(WORDS) | st.sampled_from(options[name])
        return st.lists(word, max_size=7).map(lambda words: [name, *words])

    def attempt(words: list[str]) -> None:
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                code = cli.main(words)
            except SystemExit as end:
                code = 0 if end.code is None else end.code  # type: ignore[assignment]
        assert code != 1, said.getvalue()
        assert "Traceback" not in said.getvalue()

    return st.sampled_from(COMMANDS).flatmap(line), attempt


TARGETS = [configs, archives, sets, dicom, nifti, rtstruct, frames, imports, command_lines]
BATCH = 25


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_random_input_is_read_or_refused_with_an_error_of_medzoo(
    target: Callable[[Get, Path], Target], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    name = target.__name__
    done = torture.noted("fuzz", name)
    left = AMOUNT.fuzz - sum(case["seconds"] for case in done)
    folder = tmp_path / "fuzz"
    folder.mkdir()
    strategy, attempt = target(request.getfixturevalue, folder)
    batch = len(done)
    while left > 0:
        examples = 0

        @hypothesis.seed(batch)
        @hypothesis.settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategy)
        def refuses(example: Any) -> None:
            nonlocal examples
            examples += 1
            with warnings.catch_warnings(), deadline(20), contextlib.suppress(MedzooError):
                warnings.simplefilter("ignore")
                attempt(example)

        began, fault = time.monotonic(), None
        try:
            refuses()
        except Exception as error:
            fault = error
        took = time.monotonic() - began
        said = f"{type(fault).__name__}: {fault}"[:500] if fault else ""
        torture.note(
            what="fuzz", name=name, batch=batch, examples=examples, seconds=took, fault=said
        )
        if fault:
            raise fault
        batch, left = batch + 1, left - took


# -------------------------------------------------------------------------------------------- mixed use
FORMATS = ("png", "npz", "webdataset")
EXPECTED = {0, 9, 15}  # done; another process has the folder; another process uses what should go


def words_of(chance: random.Random, folder: Path) -> list[str]:
    """A random command over the one cache and a few sets."""
    format_ = chance.choice(FORMATS)
    made = str(folder / "sets" / f"{format_}-{chance.randrange(2)}")
    generated = ["generate", "901", "--out", made, "--format", format_, "--seed", "5", "--quiet"]
    generated += ["--env", "current", "-n", chance.choice(["6", "12"])]
    return chance.choice(
        [
            generated,
            generated,
            generated,
            ["install", "901", "--env", "current"],
            ["install", "901", "--env", "current"],
            ["search", "noise"],
            ["info", "901"],
            ["cache"],
            ["cache", "verify"],
            ["cache", "prune"],
            ["cache", "remove", "901"],
            ["cache", "export", str(folder / f"{chance.random()}.zip"), "901"],
            ["cache", "import", str(folder / "models.zip")],
        ]
    )


def test_mixed_use_of_one_cache_leaves_it_whole(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    done = torture.noted("mixed")
    left = AMOUNT.mixed - sum(case["seconds"] for case in done) / 3
    if left <= 0:
        return
    zenodo = request.getfixturevalue("zenodo")
    zenodo.register(BIG)
    assert cli.main(["cache", "export", str(tmp_path / "models.zip"), "901"]) == 0
    whole = {}
    for format_ in FORMATS:
        whole[format_] = tmp_path / "whole" / format_
        how = {"format": format_, "env": "current", "progress": False}
        medzoo.generate(901, 12, seed=5, out=whole[format_], **how)
    end, faults = time.monotonic() + left, []

    def user(number: int) -> None:
        chance = random.Random(f"{number} {len(done)}")
        while time.monotonic() < end:
            words, began = words_of(chance, tmp_path), time.monotonic()
            process = python(tmp_path, "-m", "medzoo", *words)
            is_killed = chance.random() < 0.2
            try:
                _, said = process.communicate(timeout=chance.random() * 2 if is_killed else 120)
                is_killed = False
            except subprocess.TimeoutExpired:
                process.kill()
                _, said = process.communicate()
            fault = "" if is_killed or process.returncode in EXPECTED else said[-500:]
            fault = fault or ("hang" if process.returncode == -9 and not is_killed else "")
            case = {"killed": is_killed, "seconds": time.monotonic() - began, "fault": fault}
            torture.note(
                what="mixed", name=" ".join(words[: 1 + (words[0] == "cache")][:2]), **case
            )
            if fault:
                faults.append((words, process.returncode, fault))

    users = [threading.Thread(target=user, args=(number,)) for number in range(3)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    assert faults == []
    # What all of them left: the cache is whole, and each set can be completed.
    assert cli.main(["cache", "verify"]) == 0
    for folder in sorted((tmp_path / "sets").glob("*-?")):
        format_ = folder.name.partition("-")[0]
        how = {"format": format_, "env": "current", "progress": False}
        medzoo.generate(901, 12, seed=5, out=folder, **how)
        assert same(whole[format_], folder) == []
    medzoo.generate(
        901, 12, seed=5, out=tmp_path / "last", format="png", env="current", progress=False
    )
    assert same(whole["png"], tmp_path / "last") == []
