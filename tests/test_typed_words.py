"""Words and values that people type: scalars of other libraries, other libraries' names, and slips."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import medzoo
from medzoo import checks
from medzoo.cli import build_parser, main
from medzoo.errors import InputError, ModelNotFoundError

Toy = Callable[..., int]
Capture = pytest.CaptureFixture[str]
NUMBERS = {
    "values": {"1": 5, "2": 1, "high": 2},
    "help": "A grade, whose names are numbers.",
}
OPTIONS = {
    "prompt": {"type": "str", "default": "", "help": "Text."},
    "words": {"type": "texts", "default": [], "help": "Texts."},
    "sizes": {"type": "ints", "default": [1], "help": "Numbers."},
    "gain": {"type": "int", "default": 3, "minimum": 0, "maximum": 9, "help": "A number."},
    "scale": {"type": "float", "default": 1.0, "help": "A number."},
    "fast": {"type": "bool", "default": False, "help": "Yes or no."},
}

BLACK_MODEL = """
import numpy as np

class Model:
    def sample(self, batch):
        return {"images": np.zeros((batch.n, 1, 8, 8), np.uint8)}

def load(weights_dir, device):
    return Model()
"""
IMAGES = {"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 255]}}


def same(one: medzoo.Samples, other: medzoo.Samples) -> bool:
    return np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)


# -------------------------------------------------------------------------------------------------
# scalars and arrays of other libraries
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        "CPU",
        " cpu ",
        "cpu:0",
        torch.device("cpu"),
        torch.device("cpu", 0),
        torch.zeros(1).device,
    ],
    ids=repr,
)
def test_the_cpu_by_any_name(toy: Toy, device: Any) -> None:
    with medzoo.load(
        toy("import torch\n" + BLACK_MODEL, requires=["numpy", "torch"]), device=device
    ) as model:
        assert model.device == "cpu"
        assert len(model.generate(2, seed=1)) == 2


@pytest.mark.parametrize(
    "device",
    [0, "0", np.int64(0), torch.tensor(0), torch.device("cuda", 0), "cuda:0", "CUDA:0"],
    ids=repr,
)
def test_a_gpu_by_its_number(device: Any) -> None:
    assert checks.device(device) == "cuda:0"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(toy: Toy) -> None:
    toy("import torch\n" + BLACK_MODEL, requires=["numpy", "torch"])
    with pytest.raises(InputError, match=r"device='cuda:0': the model's torch .* does not see it"):
        medzoo.load(901, device=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [5, np.int64(5), np.uint8(5), np.array(5), torch.tensor(5)])
def test_n_and_seed_of_any_library(toy: Toy, number: Any) -> None:
    toy()
    samples = medzoo.generate(901, number, seed=number, batch_size=number)
    assert samples.provenance["seed"] == 5
    assert type(samples.provenance["seed"]) is int
    assert same(samples, medzoo.generate(901, 5, seed=5, batch_size=5))
    assert sum(len(s) for s in medzoo.stream(901, number, seed=number)) == 5
    assert len(medzoo.dataset(901, number, seed=number)) == 5
    assert len(medzoo.generate(np.int64(901), 1)) == len(medzoo.generate(torch.tensor(901), 1)) == 1


@pytest.mark.parametrize(
    "condition",
    [
        np.int64(1),
        np.array(1),
        torch.tensor(1),
        "malignant",
        np.str_("Malignant"),
        [1, 1, 1],
        np.array([1, 1, 1]),
        torch.tensor([1, 1, 1]),
        torch.ones(3, dtype=torch.int32),
        [torch.tensor(1)] * 3,
        pandas.Series(["malignant"] * 3),
        pandas.Series([1, 1, 1], dtype="category"),
        ("malignant",) * 3,
    ],
    ids=repr,
)
def test_a_condition_of_any_library(toy: Toy, condition: Any) -> None:
    assert medzoo.generate(toy(), 3, seed=1, condition=condition).labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize("condition", [1.0, True, np.bool_(True), torch.tensor(True), [1.0] * 3])
def test_a_condition_that_is_no_whole_number_is_refused(toy: Toy, condition: Any) -> None:
    with pytest.raises(InputError, match="is unknown"):
        medzoo.generate(toy(), 3, condition=condition)


@pytest.mark.parametrize("gain", [7, np.int8(7), np.array(7), torch.tensor(7)])
def test_an_option_of_any_library(toy: Toy, gain: Any) -> None:
    samples = medzoo.generate(toy(), 1, gain=gain)
    assert samples.images[0, 0, 0, 5] == 7
    assert json.dumps(samples.provenance["options"]["gain"]) == "7"


@pytest.mark.parametrize(
    "latents",
    [
        np.full((2, 4), 0.5),
        torch.full((2, 4), 0.5),
        torch.full((2, 4), 0.5, dtype=torch.bfloat16),
        pandas.DataFrame(np.full((2, 4), 0.5)),
        [[0.5] * 4] * 2,
    ],
    ids=lambda v: type(v).__name__,
)
def test_latents_of_any_library(toy: Toy, latents: Any) -> None:
    found = medzoo.generate(toy(), 2, seed=0, latents=latents)
    assert (found.images[:, 0, 0, 1:5] == 138).all()  # 0.5 * 20 + 128


# -------------------------------------------------------------------------------------------------
# the closest right word, in Python
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("num_samples", "It is called 'n' here"),
        ("output_path", "It is called 'out' here"),
        ("save_images", "Samples are written where `out` names a folder"),
        ("install_dependencies", "builds an environment for the model by itself"),
        ("is_gen_function_returned", r"`medzoo.load\(8\)` gives a model"),
        ("random_state", "It is called 'seed' here"),
        ("gpu_id", "It is called 'device' here"),
        ("label", "It is called 'condition' here"),
        ("bacth_size", "Did you mean 'batch_size'"),
        ("latent", "Did you mean 'latents'"),
        ("gian", "Did you mean 'gain'"),
        ("zzz", "It takes condition, gain, latents"),
    ],
)
def test_an_unknown_argument_names_the_closest(toy: Toy, name: str, says: str) -> None:
    toy()
    for ask in (medzoo.generate, medzoo.stream, medzoo.dataset, medzoo.dataloader):
        with pytest.raises(InputError, match=rf"takes no '{name}'\.\n.*{says}"):
            ask(901, 2, **{name: 1})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: medzoo.load(8, devcie="cpu"), "load takes no 'devcie'.\nDid you mean 'device'"),
        (lambda: medzoo.read(fodler="x"), "read takes no 'fodler'.\nDid you mean 'folder'"),
        (lambda: medzoo.copy(8, "x", verison="1"), "Did you mean 'version'"),
        (lambda: medzoo.generate(8, 1, precision="bfloat61"), "Did you mean 'bfloat16'"),
        (lambda: medzoo.generate(8, 1, device="gpu"), "not a valid device.\nDid you mean 'cuda'"),
        (lambda: medzoo.generate(8, 1, condition="malignnat"), "Did you mean 'malignant'"),
        (lambda: medzoo.dataloader(8, 2, shufle=True), "no 'shufle'.\nDid you mean 'shuffle'"),
        (lambda: medzoo.dataloader(8, 2, num_worker=2), "Did you mean 'num_workers'"),
        (lambda: medzoo.cite(8, version="2.0"), "Did you mean 2.2.0"),
        (lambda: medzoo.info("CDCGAN_MMG_MASSES"), "Did you mean 00.*_C-DCGAN_MMG_MASSES"),
    ],
)
def test_a_slip_names_the_closest_right_word(call: Callable[[], Any], says: str) -> None:
    with pytest.raises((InputError, ModelNotFoundError), match=says):
        call()


def test_an_unknown_name_or_column_names_the_closest(toy: Toy) -> None:
    with pytest.raises(AttributeError, match=r"medzoo has no 'genrate'. Did you mean 'generate'"):
        medzoo.genrate  # noqa: B018
    with pytest.raises(AttributeError, match=r"no 'image'. Did you mean 'images'"):
        medzoo.generate(toy(), 1).image  # noqa: B018


def test_required_arguments_are_still_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'folder'"):
        medzoo.read()  # type: ignore[call-arg]


# -------------------------------------------------------------------------------------------------
# the command line
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("genrate 8", "there is no 'genrate'. Did you mean 'generate'?"),
        ("list_models", "Try `medzoo list`"),
        ("download 8", "Try `medzoo install`"),
        ("cache lst", "there is no 'lst'. Did you mean 'list'?"),
        ("generate 8 --num_samples 5 --out x", "there is no --num_samples. It is called -n here"),
        ("generate 8 -n 5 --output_path=x", "no --output_path. It is called --out here"),
        ("generate 8 -n 5 --save_images", "Samples are written where --out names a folder"),
        ("generate --model_id 8 -n 5", "The model is a positional argument: medzoo generate 8"),
        ("generate 8 --batch_size 4", "no --batch_size. Did you mean --batch-size?"),
        ("generate 8 -out x", "no -out. Did you mean --out?"),
        ("generate 8 --foramt png", "no --foramt. Did you mean --format?"),
        ("generate 8 --xyzzy 3", "--option NAME=VALUE gives the model's own options"),
        ("generate 105 --mask a.nii.gz", "--inputs NAME=FILE your pictures and masks"),
        ("generate 8 --out x --format pgn", "there is no 'pgn'. Did you mean 'png'?"),
        ("cache --jsno list", "no --jsno. Did you mean --json?"),
    ],
)
def test_a_command_names_what_was_typed_and_the_closest(
    words: str, says: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_values_that_look_like_options_are_values(toy: Toy, tmp_path: Path) -> None:
    options = {"scale": OPTIONS["scale"], "prompt": OPTIONS["prompt"]}
    number = str(toy(BLACK_MODEL, options=options, latent=0, conditions=None, outputs=IMAGES))
    words = ["generate", number, "-n2", f"--out={tmp_path / 'a'}", "--option", "scale=-2.5"]
    assert main([*words, "--seed", "3", "--option=prompt=-x"]) == 0
    assert medzoo.read(tmp_path / "a").provenance["options"] == {"scale": -2.5, "prompt": "-x"}


@pytest.mark.parametrize(
    ("typed", "label"), [("1", 5), ("2", 1), ("high", 2), ("HIGH", 2), ("5", 5)]
)
def test_a_condition_is_a_name_before_it_is_a_number(
    toy: Toy, tmp_path: Path, typed: str, label: int
) -> None:
    toy(conditions={"condition": NUMBERS})
    assert main(["generate", "901", "--condition", typed, "--out", str(tmp_path / "a")]) == 0
    assert medzoo.read(tmp_path / "a").labels.tolist() == [label]
    assert (
        main(["generate", "901", f"--option=condition={typed}", "--out", str(tmp_path / "b")]) == 0
    )
    assert medzoo.read(tmp_path / "b").labels.tolist() == [label]
    assert medzoo.generate(901, 1, condition=typed).labels.tolist() == [label]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("prompt=2024", "2024"),
        ("prompt=true", "true"),
        ("prompt=[1]", "[1]"),
        ("prompt=null", "null"),
        ('prompt="2024"', "2024"),
        ("prompt=a = b", "a = b"),
        ('words=["a", 2024]', ["a", "2024"]),
        ("sizes=[1, 2]", [1, 2]),
        ("gain=4", 4),
        ("scale=4", 4.0),
        ("fast=True", True),
    ],
)
def test_an_option_of_the_command_has_the_options_type(
    toy: Toy, tmp_path: Path, typed: str, value: Any
) -> None:
    toy(BLACK_MODEL, options=OPTIONS, latent=0, conditions=None, outputs=IMAGES)
    assert main(["generate", "901", "--option", typed, "--out", str(tmp_path / "a")]) == 0
    recorded = medzoo.read(tmp_path / "a").provenance["options"]
    assert recorded[typed.partition("=")[0]] == value
    assert type(recorded[typed.partition("=")[0]]) is type(value)


def test_a_list_of_800_conditions(toy: Toy, tmp_path: Path) -> None:
    names = ["benign", "malignant", "malignant", "benign"] * 200
    expected = [0, 1, 1, 0] * 200
    assert (
        medzoo.generate(toy(), 800, condition=names, out=tmp_path / "a").labels.tolist() == expected
    )
    words = ["generate", "901", "-n", "800", "--seed", "1"]
    assert main([*words, "--condition", ",".join(names), "--out", str(tmp_path / "b")]) == 0
    assert medzoo.read(tmp_path / "b").labels.tolist() == expected
    option = f"condition={json.dumps(names)}"
    assert main([*words, "--option", option, "--out", str(tmp_path / "c")]) == 0
    assert medzoo.read(tmp_path / "c").labels.tolist() == expected


# -------------------------------------------------------------------------------------------------
# checks come first
@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 0},
        {"condition": "x"},
        {"gian": 3},
        {"latents": [1]},
        {"seed": -1},
        {"batch_size": 0},
        {"progress": "yes"},
        {"inputs": "nowhere"},
        {"version": 3},
    ],
)
def test_a_stream_is_checked_at_the_call_and_before_it_loads(
    toy: Toy, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    mark = tmp_path / "loaded"
    toy(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    with pytest.raises(InputError):
        medzoo.stream(901, **{"n": 2, **wrong})
    assert not mark.exists()


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def test_every_help_page_fits_80_columns_and_any_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pages = [p.format_help() for p in parsers(build_parser())]
    assert len(pages) > 20
    for page in pages:
        assert page.isascii()
        assert max(map(len, page.splitlines())) <= 80
