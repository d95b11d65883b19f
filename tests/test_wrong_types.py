"""Values of wrong types: every public function refuses them with InputError, and with nothing else."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import medzoo
from medzoo import medical, study
from medzoo.errors import InputError, MedzooError
from medzoo.medical import Structures, Volume
from medzoo.samples import Samples

Toy = Callable[..., int]


class Odd:
    """An object whose text, length and truth cannot be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __bool__(self) -> bool:
        raise RuntimeError("neither")


class BytesPath:
    """A path of bytes, which `os.fspath` allows."""

    def __fspath__(self) -> bytes:
        return b"nowhere"


ODD: list[Any] = [
    *(True, False, -1, 1.5, float("nan"), float("inf"), 1j, 10**30, 10**5000, -(10**5000)),
    *("", "nothing", "a\0b", "\ud800", "x" * 400, b"bytes", bytearray(b"x"), memoryview(b"x")),
    *(
        [],
        [1],
        [[1], [2, 3]],
        ["a", None],
        (),
        (1, 2),
        {},
        {"a": 1},
        {1: 2},
        set(),
        {1},
        frozenset(),
    ),
    *(object(), Odd(), Odd, int, len, lambda: None, ..., NotImplemented, slice(1), range(3)),
    *(iter([1]), BytesPath(), Path("nowhere"), ValueError("x"), np.dtype("uint8"), np.float32),
    *(
        np.array(77),
        np.array(1.5),
        np.array([1, 2]),
        np.zeros((2, 2)),
        np.zeros((0,)),
        np.array("a"),
    ),
    *(np.array([object()]), np.datetime64("2026-01-01"), np.bool_(True), np.float32("nan")),
    *(torch.tensor(77), torch.tensor([1.0]), torch.zeros(2, 2), torch.device("cpu"), torch.float16),
    *(torch.tensor(True), torch.zeros((), device="meta"), torch.nn.Linear(1, 1)),
    *(pandas.Series([1, 2]), pandas.DataFrame({"a": [1]}), pandas.NaT),
]
STRIDE = 3  # with 1, each argument meets each odd value: 13,000 calls
WHOLE, NUMBER, TEXT, FLAG, PATH = (int,), (int, float), (str,), (bool,), (str, Path)
RIGHT: dict[str, tuple[type, ...]] = {  # argument -> its types; any other is to be refused
    "model_id": (int, str, Path),
    "device": (int, str, torch.device),
    "precision": (str, torch.dtype),
    **dict.fromkeys(("n", "seed", "batch_size", "keep", "num_workers", "actors"), WHOLE),
    **dict.fromkeys(("first", "shard_samples"), WHOLE),
    "shard_size": (int, str),
    **dict.fromkeys(("cpus_per_actor", "gpus_per_actor", "width", "fill"), NUMBER),
    **dict.fromkeys(
        ("version", "env", "format", "address", "series", "pattern", "words", "layout"), TEXT
    ),
    **dict.fromkeys(("trust", "progress", "reset", "shuffle", "fresh", "drop_last"), FLAG),
    **dict.fromkeys(("pin_memory", "bundled", "labels"), FLAG),
    **dict.fromkeys(("folder", "out", "save", "weights", "file"), PATH),
    "volume": (Volume,),
    "multiprocessing_context": TEXT,
}


def has_right_type(name: str, value: Any) -> bool:
    """Whether a value is of a type that an argument may have; of the others nothing is known."""
    types = RIGHT.get(name)
    if types is None or value is None:
        return True
    arrays = np.generic, np.ndarray, torch.Tensor
    if isinstance(value, arrays) and value.shape == () and not getattr(value, "is_meta", False):
        value = value.item()
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, in which nothing may be left."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def samples() -> Samples:
    """Three pictures in memory."""
    from medzoo.config import Output

    outputs = {"images": Output("images", "image", "uint8", (1, 4, 4))}
    return Samples({"images": np.zeros((3, 1, 4, 4), np.uint8)}, outputs, np.arange(3))


def volume() -> Volume:
    """Two slices."""
    return Volume(np.zeros((2, 4, 4), np.float32), (1.0, 1.0, 1.0), np.zeros(3), np.eye(3))


def structures() -> Structures:
    """One square."""
    corners = np.array([[0.0, 0, 0], [0, 2, 0], [2, 2, 0], [2, 0, 0]])
    return Structures({"a": [corners]}, frozenset(), frozenset(), Path("a.dcm"))


def calls(tmp_path: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Each public function with arguments that are right, but lead to no long work."""
    model = {"model_id": 901, "n": 2}
    mask = np.ones((2, 4, 4), bool)
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "Ray": (medzoo.Ray, {}),
        "Samples": (
            medzoo.Samples,
            {"columns": {}, "outputs": {}, "indices": np.arange(0), "provenance": {}},
        ),
        "cite": (medzoo.cite, {"model_id": 901}),
        "copy": (medzoo.copy, {"model_id": 901, "folder": tmp_path / "nothing" / "\0"}),
        "dataloader": (medzoo.dataloader, model),
        "dataset": (medzoo.dataset, model),
        "export": (
            medzoo.export,
            {"model_id": 901, "format": "onnx", "out": tmp_path / "nothing" / "\0"},
        ),
        "graph_inputs": (medzoo.publishing.graph_inputs, {"model_id": 901, "n": 1, "seed": 0}),
        "generate": (medzoo.generate, {**model, "device": "nowhere"}),
        "info": (medzoo.info, {"model_id": 901}),
        "install": (medzoo.install, {"model_id": 901}),
        "iterable_dataset": (medzoo.iterable_dataset, model),
        "load": (medzoo.load, {"model_id": 901, "device": "nowhere"}),
        "read": (medzoo.read, {"folder": "nowhere"}),
        "reproduce": (medzoo.reproduce, {"folder": "nowhere"}),
        "search": (medzoo.search, {}),
        "stream": (medzoo.stream, {**model, "device": "nowhere"}),
        "unload": (medzoo.unload, {}),
        "update": (medzoo.update, {"reset": True}),
        "verify": (medzoo.verify, {"folder": "nowhere"}),
        "visualize": (medzoo.visualize, {"model_id": 901, "device": "nowhere"}),
        "traverse": (medzoo.traverse, {"model_id": 901, "device": "nowhere"}),
        "interpolate": (
            medzoo.interpolate,
            {"model_id": 901, "seed_a": 1, "seed_b": 2, "device": "nowhere"},
        ),
        "evaluate": (medzoo.evaluate, {"synthetic": 901, "real": "nowhere", "n": 1}),
        "compare": (medzoo.compare, {"synthetic": [901], "real": "nowhere", "n": 1}),
        "contribute": (medzoo.contribute, {"folder": "nowhere"}),
        "publish": (medzoo.publish, {"folder": "nowhere", "authors": ["A B"]}),
        "samples[]": (samples().__getitem__, {"key": 0}),
        "plot": (samples().plot, {"n": 1}),
        "save": (samples().save, {"folder": tmp_path / "nothing" / "\0"}),
        "read_series": (medical.read_series, {"path": "nowhere"}),
        "read_picture": (medical.read_picture, {"path": "nowhere"}),
        "read_colour": (medical.read_colour, {"path": "nowhere"}),
        "read_pictures": (medical.read_pictures, {"paths": ["nowhere"]}),
        "read_segmentation": (medical.read_segmentation, {"path": "nowhere"}),
        "read_mask": (medical.read_mask, {"path": "nowhere", "pattern": "a"}),
        "read_nifti": (medical.read_nifti, {"path": "nowhere"}),
        "read_structures": (medical.read_structures, {"path": "nowhere"}),
        "cases": (lambda folder: next(medical.cases(folder)), {"folder": "nowhere"}),
        "find_roi": (medical.find_roi, {"names": ["a"], "pattern": "a"}),
        "scans_in": (medical.scans_in, {"path": "nowhere"}),
        "windows_of": (medical.windows_of, {"volumes": [volume()], "names": ["a"]}),
        "window": (medical.window, {"values": np.zeros(3), "centre": 1.0, "width": 1.0}),
        "resample": (medical.resample, {"volume": volume()}),
        "slices_with": (medical.slices_with, {"volume": volume(), "mask": mask}),
        "mask": (structures().mask, {"volume": volume(), "pattern": "a"}),
        "drawn_on": (structures().drawn_on, {"volume": volume()}),
        "series_of": (structures().series_of, {"name": "a"}),
        "new": (study.new, {"folder": "nothing/\0", "real": "nowhere", "model": 901, "n": 1}),
        "import_file": (study.import_file, {"file": "nowhere", "out": "nothing"}),
        "study.load": (study.load, {"folder": "nowhere"}),
    }
    return found


def test_every_public_name_is_driven(toy: Toy, tmp_path: Path) -> None:
    toy()
    names = {*medzoo.__all__, *medical.__all__, *study.__all__}
    driven = {*calls(tmp_path), "Model", "Study", "Reading", "Report"}  # their methods: below
    without_arguments = {"__version__", "list_models", "NIFTI"}
    records = {"MedzooError", "Case", "Volume", "Structures", "Window"}
    records |= {"Feedback", "Item", "Reader", "Settings"}  # whose fields are as given
    assert names - driven == without_arguments | records


def arguments_of(function: Callable[..., Any]) -> list[str]:
    """The names that can be given to a function, without those of the model's own options."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    more = ["condition", "gain", "latents"]
    return names + more * any(p.kind is p.VAR_KEYWORD and p.name == "options" for p in parameters)


def refuses(function: Callable[..., Any], right: dict[str, Any], odd: dict[str, Any]) -> None:
    """Call a function; any error of its own is fine, and wrong types are errors."""
    wrong = [name for name, value in odd.items() if not has_right_type(name, value)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(**{**right, **odd})
        except InputError:
            return
        except MedzooError:
            assert not wrong, (wrong, [type(v) for v in odd.values()])
            return
        except IndexError:
            assert "key" in odd
            return
    assert not wrong, (wrong, [type(v) for v in odd.values()])


@pytest.mark.parametrize("part", range(4))
def test_one_odd_value_is_refused_or_right(
    toy: Toy, tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    toy()
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    for function, right in list(calls(tmp_path).values())[part::4]:
        for k, name in enumerate(arguments_of(function)):
            for value in ODD[k % STRIDE :: STRIDE]:
                refuses(function, right, {name: value})


@settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_several_odd_values_are_refused_or_right(
    toy: Toy, tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    toy()
    monkeypatch.setenv("MEDZOO_OFFLINE", "1")
    some = [call for call in calls(tmp_path).values() if arguments_of(call[0])]
    function, right = data.draw(st.sampled_from(some))
    names = data.draw(st.lists(st.sampled_from(arguments_of(function)), min_size=1, max_size=3))
    refuses(function, right, {name: data.draw(st.sampled_from([*ODD, None])) for name in names})


def test_a_loaded_model_refuses_odd_values(toy: Toy, here: Path) -> None:
    toy()
    with medzoo.load(901) as model:
        for function in (model.generate, model.stream):
            for name in arguments_of(function):
                for value in ODD:
                    refuses(function, {"n": 1}, {name: value})


def test_a_study_and_its_readings_refuse_odd_values(toy: Toy, here: Path, tmp_path: Path) -> None:
    toy()
    made = study.new(tmp_path / "study", np.zeros((4, 1, 8, 8), np.uint8) + 200, 901, n=2, seed=1)
    reading = made.start("a")
    item = reading.current
    assert item is not None
    driven = [
        (made.picture, {"name": item.pictures[0]}),
        (made.start, {"reader": "a", "resume": True}),
        (made.export, {"file": tmp_path / "nothing" / "\0"}),
        (made.merge, {"files": "nowhere"}),
        (made.report, {"out": tmp_path / "nothing" / "\0"}),
        (made.report().figure, {"name": "accuracy"}),
        (reading.answer, {"item": "none", "rating": 1}),
        (reading.close, {"answers": {"Why?": ""}}),
    ]
    for function, right in driven:
        for name in arguments_of(function):
            for value in ODD:
                refuses(function, right, {name: value})
    for value in (Odd, Odd(), 1.5, None, "x" * 400):
        refuses(study.Study, {}, {"folder": value})


def test_odd_objects_are_named_and_not_written_out() -> None:
    with pytest.raises(InputError, match=r"seed=<Odd instance at 0x"):
        medzoo.generate(8, seed=Odd())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"n=about 2\*\*16610 is more samples"):
        medzoo.generate(8, 10**5000)
    with pytest.raises(InputError, match=r"n=\[0, 0, 0, 0, 0, 0, \.\.\.\] is not a number"):
        medzoo.generate(8, [0] * 10**6)  # type: ignore[arg-type]


def test_odd_layouts_and_shards_are_refused(toy: Toy, tmp_path: Path) -> None:
    toy()
    made = medzoo.generate(901, 2, seed=1)
    asked = {"model_id": 901, "n": 2, "out": tmp_path / "set"}
    for name, format_ in (
        ("layout", "png"),
        ("shard_size", "webdataset"),
        ("shard_samples", "webdataset"),
    ):
        for value in ODD:
            if name != "layout" and has_right_type("n", value) and 0 < int(value) < 2**62:
                continue
            for function, right in (
                (medzoo.generate, {**asked, "format": format_}),
                (made.save, {"folder": tmp_path / "set", "format": format_}),
            ):
                with pytest.raises(InputError, match=name):
                    function(**right, **{name: value})
    assert not (tmp_path / "set").exists()
    with pytest.raises(InputError, match=r"shard_size='9{20}"):
        medzoo.generate(**asked, format="webdataset", shard_size="9" * 400 + "GB")
    assert len(medzoo.generate(**asked, format="webdataset", shard_size=torch.tensor(9000))) == 2
