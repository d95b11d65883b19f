"""The command line, at the edge that a user touches: what it prints, where, and how it exits."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import NUMPY_MODEL

import medzoo
from medzoo import cli, console, errors
from medzoo._worker.sandbox import PARTS, possible
from medzoo.cli import build_parser, generate, main, models
from medzoo.cli import help as pages
from medzoo.cli.generate import parse_value
from medzoo.cli.options import print_json
from medzoo.config import Option, Version
from medzoo.generation import capacity
from medzoo.registry import index

ROOT = Path(__file__).resolve().parent.parent
Toy = Callable[..., int]
Capture = pytest.CaptureFixture[str]
SLOW_MODEL = """
import time
import numpy as np

class Model:
    def sample(self, batch):
        time.sleep(0.2)
        return {"images": np.zeros((batch.n, 1, 8, 8), np.uint8)}

def load(weights_dir, device):
    return Model()
"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "medzoo", *map(str, words)]


def environment(**changes: str) -> dict[str, str]:
    """This test's environment, but as for a person who asked for no silence."""
    return {k: v for k, v in os.environ.items() if k != "MEDZOO_QUIET"} | changes


def all_errors(
    base: type[errors.MedzooError] = errors.MedzooError,
) -> list[type[errors.MedzooError]]:
    return [base, *(e for child in base.__subclasses__() for e in all_errors(child))]


# ------------------------------------------------------------------------------------------------------ list, search
def test_list_shows_each_model_and_what_is_bundled(toy: Toy, capsys: Capture) -> None:
    toy()
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    of = {line.split()[0]: line for line in lines[1:-2]}
    assert list(of) == sorted(of)
    assert of["00008_C-DCGAN_MMG_MASSES"].endswith("bundled")
    assert of["00021_CYCLEGAN_BRAIN_MRI_T1_T2"].endswith("download 92.4 MB, not yet seen running")
    assert of["00901_TOY_MRI_NOISE"].endswith("on disk")
    bundled = sum(line.endswith("bundled") for line in of.values())
    assert lines[-1].startswith(
        f"{len(of)} models; {bundled} come{'s' * (bundled == 1)} with medzoo."
    )


def test_list_as_json_is_what_search_gives(capsys: Capture) -> None:
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {m["id"]: m["bundled"] for m in listed}["00008_C-DCGAN_MMG_MASSES"] is True
    assert (
        main(
            [
                "search",
                "--bundled",
                "--modality",
                "PET",
                "--modality",
                "mmg",
                "--sort",
                "id",
                "--json",
            ]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found == [m for m in listed if m["bundled"] and m["modality"] == "mammography"]


@pytest.mark.parametrize(
    "words", [["list"], ["search", "mass", "--sort", "FID"], ["info", "8"], ["--help"]]
)
def test_choosing_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from medzoo.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
    )
    loaded = set(done.stderr.split())
    assert "medzoo.cli.help" in loaded
    assert not loaded & {"numpy", "torch", "matplotlib", "PIL", "tqdm", "safetensors", "requests"}


def test_no_garbage_is_looked_for_as_a_command_ends() -> None:
    code = (
        "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count() > 1000));"
        "from medzoo.cli import main; sys.stdout.flush(); main(['cite', '8'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("\nTrue\n")


@pytest.mark.parametrize("start", ["generate", "dataloader"])
def test_readers_of_scans_load_only_for_models_that_take_pictures(start: str) -> None:
    code = (
        f"import medzoo, sys; list(medzoo.{start}(109, 1, seed=0));"
        "print([m for m in sys.modules if m.startswith(('medzoo.medical', 'medzoo.inputs'))])"
    )
    variables = {**os.environ, "MEDZOO_QUIET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=variables
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_search_prints_a_warning_to_stderr_alone(toy: Toy, tmp_path: Path, capsys: Capture) -> None:
    toy(metrics=[{"name": "FID", "value": 1.0, "dataset": "A"}])
    (first,) = (tmp_path / "configs").glob("*.yaml")
    config = yaml.safe_load(first.read_text(encoding="utf-8")) | {"id": "00902_TOY_MRI_NOISE"}
    config["versions"]["1.0.0"]["metrics"][0]["dataset"] = "B"
    (first.parent / "00902_TOY_MRI_NOISE.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["search", "--organ", "knee", "--sort", "fid", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [m["id"][:5] for m in json.loads(out)] == ["00901", "00902"]
    assert err.startswith("medzoo: warning: FID is comparable only")
    assert ".py" not in err


def test_other_warnings_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        cli.COMMANDS, "list", lambda a: warnings.warn("theirs", UserWarning, stacklevel=1)
    )
    with pytest.warns(UserWarning, match="theirs"):
        main(["list"])


def test_search_that_finds_nothing_says_why(capsys: Capture) -> None:
    assert main(["search", "mamogrofy"]) == 0
    assert "did you mean mammography" in capsys.readouterr().out


def test_every_filter_of_search_is_an_option() -> None:
    assert tuple(models.FIELD_HELP) == index.FIELDS


# -------------------------------------------------------------------------------------------------------- info, cite ...
def test_info_says_what_to_know_before_use(capsys: Capture) -> None:
    assert main(["info", "8"]) == 0
    text = capsys.readouterr().out
    for part in (
        "CC BY 4.0",
        "CBIS-DDSM",
        "1x128x128",
        "benign | malignant",
        "not for diagnosis",
        "medzoo generate 8 -n",
    ):
        assert part in text
    assert main(["info", "8", "--version", "1.0.1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "FID 137.75, FID ratio 0.272, FID (RadImageNet) 3.05, FID ratio (RadImageNet) 0.151 on CBIS-DDSM (379 samples)"
        in text
    )
    assert main(["info", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["default_version"] == "2.2.0"


@pytest.mark.parametrize("width", [66, 80, 200])
def test_info_is_wrapped_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, width: int
) -> None:
    monkeypatch.setattr(console, "terminal_width", lambda: width)
    assert main(["info", "8"]) == 0
    longest = max(map(len, capsys.readouterr().out.splitlines()))
    assert min(width, console.WIDEST) - 15 < longest <= min(width, console.WIDEST)


@pytest.mark.usefixtures("own_temporary_files")
def test_cite_copy_and_cache(toy: Toy, tmp_path: Path, capsys: Capture) -> None:
    assert main(["cite", "8"]) == 0
    assert "CBIS-DDSM" in capsys.readouterr().out
    assert main(["copy", str(toy()), str(tmp_path / "mine")]) == 0
    assert main(["info", f"{tmp_path}/mine"]) == 0
    assert f"medzoo generate {tmp_path}/mine -n" in capsys.readouterr().out
    assert main(["generate", f"{tmp_path}/mine", "--out", f"{tmp_path}/out"]) == 12
    assert "no registry names it" in capsys.readouterr().err
    assert main(["generate", f"{tmp_path}/mine", "--trust", "--out", f"{tmp_path}/out"]) == 0
    capsys.readouterr()
    assert main(["cache"]) == 0
    assert str(tmp_path / "cache") in capsys.readouterr().out
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(tmp_path / "cache"),
        "bytes": 0,
        "entries": [],
    }


# ---------------------------------------------------------------------------------------------------------- generate
def test_generate_writes_the_samples_and_says_so(toy: Toy, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert (
        main(
            [
                "generate",
                str(toy()),
                "-n",
                "6",
                "--out",
                str(out),
                "--seed",
                "5",
                "--option",
                "gain=7",
                "--condition",
                "Malignant",
            ]
        )
        == 0
    )
    assert "6 samples of 00901_TOY_MRI_NOISE 1.0.0, seed 5" in capsys.readouterr().out
    samples = medzoo.read(out)
    assert (
        samples.images == medzoo.generate(901, 6, seed=5, gain=7, condition="malignant").images
    ).all()
    assert samples.labels.tolist() == [1] * 6


def test_generate_as_json_prints_the_provenance_alone(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert main(["generate", str(toy()), "-n", "2", "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    recorded = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert (printed["n"], printed["finished_before"]) == (2, False)
    assert printed["folder"] == str(out)
    assert printed["provenance"]["seed"] == recorded["seed"]


def test_generate_says_that_a_set_was_finished_before(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    words = ["generate", str(toy()), "-n", "4", "--seed", "5", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "verify" not in capsys.readouterr().out
    for picture in (tmp_path / "out/images").iterdir():
        picture.unlink()
    for more in ([], ["--device", "cpu"]):
        assert main([*words, *more]) == 0
        out, err = capsys.readouterr()
        expected = f"in {tmp_path}/out (finished before: nothing was made, `medzoo verify {tmp_path}/out` checks them)\n"
        assert out == f"4 samples of 00901_TOY_MRI_NOISE 1.0.0, seed 5, {expected}"
        assert err == ""
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished_before"] is True


def test_generate_quietly_prints_nothing(toy: Toy, tmp_path: Path) -> None:
    done = subprocess.run(
        command("generate", toy(), "-n", 100, "--out", tmp_path / "out", "--quiet"),
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert len(medzoo.read(tmp_path / "out")) == 100


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_generate_says_verbosely_what_was_contained(
    toy: Toy, tmp_path: Path, capsys: Capture, mode: str
) -> None:
    words = ["generate", str(toy()), "-n", "1", "--out", str(tmp_path / "out"), "--sandbox", mode]
    if mode == "on" and possible() != PARTS:
        pytest.skip("this system cannot contain everything")
    assert main([*words, "--verbose"]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"sandbox: {', '.join(PARTS) if mode == 'on' else 'nothing was contained'}"


def test_generate_says_verbosely_that_a_bundled_model_is_not_contained(
    tmp_path: Path, capsys: Capture
) -> None:
    assert main(["generate", "8", "-n", "1", "--out", str(tmp_path / "out"), "--verbose"]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "sandbox: none, since this code came with medzoo"


@pytest.mark.parametrize("n", ["0", "x", "-3", "1.5", "²", "1__0", "_1", "0_0"])
def test_generate_with_a_bad_n(toy: Toy, tmp_path: Path, capsys: Capture, n: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", str(toy()), f"-n={n}", "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert f"argument -n: '{n}' is not a whole number of at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--condition", "odd"], 2, "'benign' (0), 'malignant' (1)"),
        (["--condition", "7"], 2, "condition=7"),
        (["--option", "gain=99"], 2, "at most 9"),
        (["--option", "gian=3"], 2, "takes no 'gian'"),
        (["--option", "gain"], 2, "NAME=VALUE"),
        (["--seed", "-1"], 2, "seed"),
        (["--version", "9"], 3, "It has: 1.0.0"),
    ],
)
def test_generate_with_bad_options_writes_nothing(
    toy: Toy, tmp_path: Path, capsys: Capture, words: list[str], code: int, says: str
) -> None:
    assert main(["generate", str(toy()), "--out", str(tmp_path / "out"), *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("medzoo: ")
    assert says in err
    assert not (tmp_path / "out").exists()


def test_condition_of_a_model_without_any(toy: Toy, tmp_path: Path, capsys: Capture) -> None:
    number = toy(
        SLOW_MODEL,
        conditions=None,
        outputs={"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}},
    )
    assert (
        main(["generate", str(number), "--out", str(tmp_path / "out"), "--condition", "benign"])
        == 2
    )
    assert "has no condition" in capsys.readouterr().err


def test_unknown_model(tmp_path: Path, capsys: Capture) -> None:
    assert main(["generate", "80", "--out", str(tmp_path / "out")]) == 3
    assert "Did you mean 00008_C-DCGAN_MMG_MASSES" in capsys.readouterr().err


def test_folder_that_holds_something_is_left_alone(
    toy: Toy, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "thesis.txt").write_text("all of it", encoding="utf-8")
    for n in ("1", "100"):
        assert main(["generate", str(toy()), "-n", n, "--out", str(tmp_path)]) == 9
        assert "Nothing was changed" in capsys.readouterr().err
    assert main(["generate", "901", "--out", str(tmp_path / "thesis.txt")]) == 9
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "all of it"


def test_read_only_folder(
    toy: Toy, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, make = toy(), Path.mkdir

    def mkdir(self: Path, *args: object, **more: object) -> None:
        if self.name == "out":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        make(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)  # root may write into a folder whose mode forbids it
    assert main(["generate", str(number), "--out", str(tmp_path / "out")]) == 9
    assert "Read-only file system" in capsys.readouterr().err


def test_disk_that_is_too_small_ends_a_long_run_before_it_begins(
    toy: Toy, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = toy()
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda folder: SimpleNamespace(free=3_000))
    for quiet in ([], ["--quiet"]):
        assert (
            main(["generate", str(number), "-n", "100", "--out", str(tmp_path / "out"), *quiet])
            == 9
        )
        assert "has 3 kB free" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_estimate_that_cannot_be_made_stops_no_run(
    toy: Toy, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = toy()
    monkeypatch.setattr(generate, "LONG_RUN", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))  # as full as a disk can be
    assert main(["generate", str(number), "-n", "100", "--out", str(tmp_path / "out")]) == 0
    assert re.match(rf"100 samples: about [^ ]+ [^ ]+ in {tmp_path}/out\n", capsys.readouterr().err)
    assert len(medzoo.read(tmp_path / "out")) == 100


def test_an_estimate_that_does_not_fit_into_memory_stops_no_run(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Version, "per_sample", False)  # its batches are not halved for an estimate
    small = "        if batch.n > 2:\n            raise MemoryError\n"
    toy(NUMPY_MODEL.replace("def sample(self, batch):\n", f"def sample(self, batch):\n{small}"))
    assert main(["generate", "901", "-n", "100", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    made = medzoo.read(tmp_path / "out")
    assert (len(made), made.provenance["batches"]) == (100, [[0, 2]])


def test_long_run_is_announced_and_a_short_one_is_not(
    toy: Toy, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = toy()
    assert main(["generate", str(number), "-n", "100", "--out", str(tmp_path / "one")]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(generate, "LONG_RUN", 0.0)
    assert main(["generate", str(number), "-n", "79", "--out", str(tmp_path / "few")]) == 0
    assert capsys.readouterr().err == ""  # too few batches to measure one first
    assert (
        main(["generate", str(number), "-n", "100", "--out", str(tmp_path / "two"), "--json"]) == 0
    )
    out, err = capsys.readouterr()
    assert err.startswith("100 samples: about ")
    assert f" kB in {tmp_path / 'two'}" in err
    assert json.loads(out)["n"] == 100
    assert (
        main(["generate", str(number), "-n", "100", "--out", str(tmp_path / "three"), "--quiet"])
        == 0
    )
    assert capsys.readouterr() == ("", "")


def read_all(terminal: int) -> str:
    """What was written to a pseudo-terminal whose other end is closed."""
    seen = b""
    try:
        while part := os.read(terminal, 4096):
            seen += part
    except OSError:  # how Linux says that it is the end
        pass
    os.close(terminal)
    return seen.decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_progress_bar_appears_at_a_terminal_and_nowhere_else(toy: Toy, tmp_path: Path) -> None:
    import fcntl
    import termios

    number = toy()
    piped = subprocess.run(
        command("generate", number, "-n", 8, "--out", tmp_path / "piped"),
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert "8/8" not in piped.stderr
    parent, child = os.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    subprocess.run(
        command("generate", number, "-n", 8, "--out", tmp_path / "seen"),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=child,
        env=environment(),
    )
    os.close(child)
    seen = read_all(parent)
    assert "8/8" in seen
    assert "sample/s" in seen


# ------------------------------------------------------------------------------------------------------- how it ends
@pytest.mark.parametrize("kind", all_errors())
def test_each_error_has_its_exit_code_and_no_traceback(
    kind: type[errors.MedzooError], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(a: argparse.Namespace) -> None:
        raise kind("What was wrong.", "What to try.")

    monkeypatch.setitem(cli.COMMANDS, "list", fail)
    assert main(["list"]) == kind.exit_code
    assert capsys.readouterr() == ("", "medzoo: What was wrong.\nWhat to try.\n")
    for words in (["--debug", "list"], ["list", "--debug"]):
        with pytest.raises(kind):
            main(words)


def test_help_explains_every_exit_code(capsys: Capture) -> None:
    assert {e.exit_code for e in all_errors()} <= set(pages.EXITS)
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(f" {code} {meaning}" in text for code, meaning in pages.EXITS.items())


def test_unexpected_error_is_one_line_that_asks_for_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", lambda a: 1 / 0)
    assert main(["list"]) == 1
    err = capsys.readouterr().err
    assert "unexpected ZeroDivisionError" in err
    assert "--debug" in err
    assert "Traceback" not in err


def test_ctrl_c_gives_130_and_says_what_stays(toy: Toy, tmp_path: Path) -> None:
    number = toy(SLOW_MODEL)
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's `&` makes children deaf to it
    start = [sys.executable, "-c", f"{listen}; from medzoo.cli import main; sys.exit(main())"]
    running = subprocess.Popen(
        [
            *start,
            "generate",
            str(number),
            "-n",
            "400",
            "--batch-size",
            "20",
            "--out",
            tmp_path / "out",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "run.log").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert "medzoo: interrupted; what was written stays in" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "provenance.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
def test_broken_pipe_is_silent() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        command("list"), check=False, stdout=write_end, stderr=subprocess.PIPE, text=True
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "words", [["sing"], ["list", "--jso"], ["generate", "8"], ["info"], ["search", "--sort"]]
)
def test_arguments_that_do_not_parse_exit_with_2(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: medzoo" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- help and docs
def load_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_page_with_examples_and_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pages = {p.prog: p.format_help() for p in load_docs().with_commands(cli.build_parser())}
    assert {p.split()[1] for p in pages if p != "medzoo"} == set(cli.COMMANDS)
    for prog, page in pages.items():
        assert "exit codes:" in page
        assert prog == "medzoo" or "examples:\n  medzoo " in page
        assert max(map(len, page.splitlines())) <= 90


@pytest.mark.parametrize("words", [[], ["contribute"]])
def test_a_bare_command_prints_its_page(words: list[str], capsys: Capture) -> None:
    assert main(words) == 0
    assert "usage: medzoo" in capsys.readouterr().out


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"medzoo {medzoo.__version__}\n"


def test_generated_docs_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_check_of_the_docs_sees_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    docs = load_docs()
    for name in ("COLUMNS", "NO_COLOR", "PYTHON_COLORS"):
        monkeypatch.setenv(name, "100")  # so that what the script sets is undone
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text(f"# Mine\n\n{docs.BEGIN}\nold\n{docs.END}\n\nAfter.\n", encoding="utf-8")
    assert docs.main(["--check"]) == 1
    assert "+| [00008_C-DCGAN_MMG_MASSES]" in capsys.readouterr().out
    assert "old" in readme.read_text(encoding="utf-8")
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("# Mine\n\n<!-- models -->\n| model")
    assert text.endswith("<!-- /models -->\n\nAfter.\n")
    page = tmp_path / "docs" / "cli.md"
    page.write_text(
        page.read_text(encoding="utf-8").replace("not for diagnosis", "for diagnosis"),
        encoding="utf-8",
    )
    assert docs.main(["--check"]) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.4,0.5,1", [0.4, 0.5, 1]),
        ("[0.4, 0.5]", [0.4, 0.5]),
        ("null", None),
        ("0.4;0.5", "0.4;0.5"),
        ("a,b", "a,b"),
    ],
)
def test_a_list_of_numbers_needs_no_brackets(text: str, value: object) -> None:
    assert parse_value(text, Option("box", "floats", None, "A box.")) == value


def test_repeated_inputs_are_all_kept() -> None:
    words = ["generate", "108", "--inputs", "t1=a.nii", "--inputs", "lesions=b.nii", "--out", "x"]
    assert build_parser().parse_args(words).inputs == ["t1=a.nii", "lesions=b.nii"]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_alone_has_the_parser_that_it_has_among_all(command: str) -> None:
    def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        (action,) = parser._subparsers._group_actions  # type: ignore[union-attr]
        return dict(action.choices)  # type: ignore[arg-type]

    alone, among_all = commands(cli.build_parser([command])), commands(cli.build_parser())
    assert alone[command].format_help() == among_all[command].format_help()
    assert len(alone) < len(among_all) == len(cli.COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        "generate 8 --seed 1 --out=",
        "generate 8 --out x --weights=",
        "copy 8 ",
        "verify ",
        "gallery --out=",
        "contribute new --name GAN_MRI_KNEE ",
        "cache import ",
        "export 8 --format onnx --out=",
        "evaluate x --real y --report=",
        "study new --real a --model b ",
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words.split(" "))  # the last word is empty, as "$UNSET" is
    assert ended.value.code == 2
    assert "the path is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--condition benign --option condition=malignant", "condition is given twice"),
        ("--option gain=1 --option gain=2", "gain is given twice"),
        ("--option seed=2", "seed is not an input of a model"),
    ],
)
def test_an_input_is_given_once_and_is_one_of_the_model(
    toy: Toy, tmp_path: Path, capsys: Capture, words: str, says: str
) -> None:
    command = ["generate", str(toy()), "--out", str(tmp_path / "out"), *words.split()]
    assert main(command) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["traverse 102", "interpolate 102 1 2"])
def test_an_option_that_is_called_as_an_argument_of_a_walk_is_refused(
    tmp_path: Path, capsys: Capture, command: str
) -> None:
    words = [*command.split(), "--option", "steps=20", "--out", str(tmp_path / "a.png")]
    assert main(words) == 2
    assert "--option steps: `medzoo " in capsys.readouterr().err


def test_a_class_has_one_name(tmp_path: Path, capsys: Capture) -> None:
    words = ["evaluate", "x", "--real", str(tmp_path), "--class", "a=b", "--class", "a=c"]
    assert main(words) == 2
    assert "--class a is given twice: b and c" in capsys.readouterr().err


def test_json_has_null_for_numbers_that_json_does_not_have(capsys: Capture) -> None:
    print_json({"a": float("inf"), "b": [float("nan"), 1.5, "NaN"]})

    def refused(constant: str) -> None:
        raise AssertionError(constant)

    text = capsys.readouterr().out
    read = json.loads(text, parse_constant=refused)
    assert read == {"a": None, "b": [None, 1.5, "NaN"]}


def test_a_card_is_not_json(capsys: Capture) -> None:
    assert main(["info", "8", "--card", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--json prints none" in err


def test_a_name_of_no_model_is_an_error_before_the_first_model_is_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examined: list[Any] = []
    monkeypatch.setattr("medzoo.modeltest.examine", examined.append)
    assert main(["test", "109", "no-such-model", "--json"]) == 3
    assert examined == []
