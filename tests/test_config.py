"""Configs: an error names the file, the key and what was expected, whatever is wrong."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundles import bundle_config
from conftest import ROOT, toy_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medzoo
from medzoo import config
from medzoo.config import read_config, schema
from medzoo.errors import ConfigError, ModelNotFoundError
from medzoo.samples import Samples
from medzoo.settings import shipped

Path_ = tuple[Any, ...]


def full_config() -> dict[str, Any]:
    """A config with every key there is."""
    content = toy_config(
        citation="A (2026).",
        publication="https://a.b",
        python=">=3.10",
        sha256="0" * 64,
        md5="0" * 32,
        size=10,
        memory_per_sample=1.5,
        status="demonstration",
        files={"model.py": "1" * 64},
        datasets=[{"name": "D", "license": "CC0", "doi": "10.1/2", "citation": "D (2020)."}],
        metrics=[
            {
                "name": "FID",
                "value": 3,
                "dataset": "D",
                "samples": 10,
                "better": "lower",
                "source": "us",
            }
        ],
        options={
            "gain": {
                "type": "float",
                "default": 1,
                "minimum": 0,
                "maximum": 9.5,
                "choices": [],
                "help": "Gain.",
            }
        },
        outputs={
            "images": {
                "kind": "image",
                "dtype": "uint8",
                "shape": [1, 8, 8],
                "range": [0, 255],
                "unit": "HU",
                "window": [40, 400],
                "spacing": [1, 0.5],
                "tolerance": 1,
            },
            "labels": {"kind": "label", "condition": "condition"},
            "table": {"kind": "table", "dtype": "float32", "shape": [2], "columns": ["a", "b"]},
        },
    )
    return content | {"tags": ["a"]}


def published_config() -> dict[str, Any]:
    """A config of the medigan contract with every key there is."""
    return toy_config(
        source="zenodo:1/a.zip",
        contract="medigan",
        sha256_unconfirmed="2" * 64,
        mirrors=["https://a.b/a.zip"],
        lock="locks/a.txt",
        call={
            "function": "make",
            "weights": "a/b",
            "returns": "tuples",
            "latents": "z",
            "latent_shape": [4, 1, 1],
            "latents_as": "torch",
            "most": 2,
            "arguments": {"size": [8, 8], "extra": None},
        },
        conditions={
            "condition": {
                "values": {"benign": 0, "malignant": 1},
                "passed": {"benign": "B", "malignant": [4]},
                "help": "Malignancy.",
            }
        },
        inputs={
            "scan": {
                "kind": "image",
                "help": "A scan.",
                "shape": [1, 8, 8],
                "required": False,
                "argument": "path",
                "form": "files",
                "default": "images/one.png",
                "at": [2, 3.5],
                "bits": 16,
                "range": [-160, 240],
                "unit": "HU",
                "spacing": [1, 0.5],
            }
        },
        options={
            "sizes": {
                "type": "ints",
                "default": [1, 2],
                "minimum": 0,
                "maximum": 9,
                "choices": [1, 2, 3],
                "help": "Sizes.",
            },
            "gains": {"type": "floats", "default": [1, 0.5], "help": "Gains."},
            "shapes": {"type": "texts", "default": None, "choices": ["oval"], "help": "Shapes."},
        },
        outputs={
            "images": {
                "kind": "image",
                "dtype": "uint8",
                "shape": [1, 8, 8],
                "range": [0, 255],
                "element": 1,
                "channels": [0],
                "returned": [-1, 1],
                "files": "*_img.png",
                "fit": "pad",
            }
        },
    )


def leaves(node: Any, path: Path_ = ()) -> list[Path_]:
    """The way to every value, mappings and lists included."""
    inside = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [p for k, v in inside for p in [(*path, k), *leaves(v, (*path, k))]]


def parent(content: Any, path: Path_) -> Any:
    for key in path[:-1]:
        content = content[key]
    return content


FULL = full_config()
PUBLISHED = published_config()
PATHS = leaves(FULL)
VERSION = ("versions", "1.0.0")
OPTIONAL = {
    ("tags",),
    *[
        (*VERSION, k)
        for k in (
            "citation",
            "publication",
            "python",
            "sha256",
            "md5",
            "size",
            "memory_per_sample",
            "status",
            "files",
            "datasets",
            "metrics",
            "options",
            "requires",
            "latent",
            "batch_size",
        )
    ],
    *[(*VERSION, "datasets", 0, k) for k in ("doi", "citation")],
    *[(*VERSION, "metrics", 0, k) for k in ("samples", "better", "source")],
    *[(*VERSION, "options", "gain", k) for k in ("minimum", "maximum", "choices")],
    (*VERSION, "options", "gain"),
    *[
        (*VERSION, "outputs", "images", k)
        for k in ("range", "unit", "window", "spacing", "tolerance")
    ],
    (*VERSION, "outputs", "table", "columns"),
    *[(*VERSION, "outputs", k) for k in ("images", "labels", "table")],
    (*VERSION, "files", "model.py"),
    (*VERSION, "conditions", "condition", "values", "benign"),
    (*VERSION, "conditions", "condition", "values", "malignant"),
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "00901_TOY_MRI_NOISE.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    found = read_config(write(tmp_path, FULL))
    version = found.default
    assert (found.number, found.tags, version.name, version.latent) == (901, ("a",), "1.0.0", 4)
    assert version.datasets[0].doi == "10.1/2"
    assert (version.metrics[0].value, version.metrics[0].samples) == (3.0, 10)
    assert (version.options["gain"].default, version.options["gain"].maximum) == (1.0, 9.5)
    assert type(version.options["gain"].default) is float
    images, labels = version.outputs["images"], version.outputs["labels"]
    assert (images.shape, images.range, images.spacing, images.tolerance) == (
        (1, 8, 8),
        (0, 255),
        (1, 0.5),
        1.0,
    )
    assert images.window == (40, 400)
    assert (labels.dtype, labels.shape, labels.condition) == ("int64", (), "condition")
    assert version.outputs["table"].columns == ("a", "b")
    assert (version.size, version.sha256, version.files) == (10, "0" * 64, {"model.py": "1" * 64})


def test_every_key_of_a_published_package_is_read(tmp_path: Path) -> None:
    version = read_config(write(tmp_path, PUBLISHED)).default
    assert version.call == config.Call(
        function="make",
        weights="a/b",
        returns="tuples",
        latents="z",
        latent_shape=(4, 1, 1),
        latents_as="torch",
        most=2,
        arguments={"size": [8, 8], "extra": None},
    )
    assert (version.sha256_unconfirmed, version.mirrors, version.lock) == (
        "2" * 64,
        ("https://a.b/a.zip",),
        "locks/a.txt",
    )
    assert version.inputs == {
        "scan": config.Input(
            "scan",
            "image",
            "A scan.",
            (1, 8, 8),
            False,
            "path",
            "files",
            "images/one.png",
            (-160, 240),
            "HU",
            (1, 0.5),
            (2, 3.5),
            16,
        )
    }
    assert [version.conditions["condition"].value_for_package(n) for n in (0, 1)] == ["B", [4]]
    assert [o.default for o in version.options.values()] == [[1, 2], [1, 0.5], None]
    images = version.outputs["images"]
    assert (images.element, images.channels, images.returned, images.files, images.fit) == (
        1,
        (0,),
        (-1, 1),
        "*_img.png",
        "pad",
    )


def test_what_a_published_package_may_leave_out(tmp_path: Path) -> None:
    content = copy.deepcopy(PUBLISHED)
    version = content["versions"]["1.0.0"]
    version["call"] = {"weights": "w", "returns": "images"}
    version["inputs"]["scan"] = {"kind": "mask", "help": ""}
    for key in ("mirrors", "lock", "sha256_unconfirmed"):
        del version[key]
    for key in ("element", "channels", "returned", "files", "fit"):
        del version["outputs"]["images"][key]
    read = read_config(write(tmp_path, content)).default
    assert read.call == config.Call(
        function="generate", weights="w", returns="images", latent_shape=(4,)
    )
    assert read.inputs["scan"] == config.Input("scan", "mask", "", argument="scan")
    assert (read.mirrors, read.lock, read.outputs["images"].fit) == ((), "", "exact")


@pytest.mark.parametrize(
    "path",
    [p for p in PATHS if p not in OPTIONAL and not isinstance(p[-1], int)],
    ids=lambda p: ".".join(map(str, p)),
)
def test_a_missing_key_is_named(tmp_path: Path, path: Path_) -> None:
    content = copy.deepcopy(FULL)
    del parent(content, path)[path[-1]]
    named = path[-1] if path != VERSION else "versions"
    with pytest.raises(ConfigError) as caught:
        read_config(write(tmp_path, content))
    assert str(tmp_path) in caught.value.problem
    assert str(named) in caught.value.problem


@pytest.mark.parametrize("path", sorted(OPTIONAL, key=str), ids=lambda p: ".".join(map(str, p)))
def test_an_optional_key_may_be_missing(tmp_path: Path, path: Path_) -> None:
    content = copy.deepcopy(FULL)
    del parent(content, path)[path[-1]]
    assert read_config(write(tmp_path, content)).id == "00901_TOY_MRI_NOISE"


def problem_of(file: Path) -> str | None:
    """What is wrong with a config; None if nothing is."""
    try:
        read_config(file)
    except ConfigError as error:
        return error.problem
    return None


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.just(10**400),
    st.floats(),
    st.text(max_size=5),
    st.dates(),
    st.lists(
        st.one_of(
            st.none(),
            st.integers(-1, 2),
            st.text(max_size=2),
            st.floats(),
            st.just({}),
            st.just([]),
        ),
        max_size=3,
    ),
    st.dictionaries(
        st.one_of(st.text(max_size=3), st.integers(), st.none()),
        st.one_of(st.none(), st.integers(), st.text(max_size=2)),
        max_size=2,
    ),
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.sampled_from(PATHS), value=VALUES)
def test_a_value_of_another_type_is_a_config_error_that_names_file_and_key(
    tmp_path: Path, path: Path_, value: Any
) -> None:
    content = copy.deepcopy(FULL)
    parent(content, path)[path[-1]] = value
    file = write(tmp_path, content)
    problem = problem_of(file)
    if problem is None:  # what is accepted can be worked with
        for version in read_config(file).versions.values():
            assert all(
                isinstance(o.shape, tuple) and all(s > 0 for s in o.shape)
                for o in version.outputs.values()
            )
            assert version.batch_size > 0
        return
    assert problem.startswith(str(file))
    said = problem.removeprefix(str(file))
    assert any(str(k) in said for k in path if not isinstance(k, int))
    assert any(word in said for word in ("expected", "missing", "unknown key", "already"))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from([(), *[p for p in PATHS if isinstance(parent(FULL, (*p, 0)), dict)]]),
    key=st.text(min_size=1, max_size=4),
)
def test_an_unknown_key_is_refused_by_name(tmp_path: Path, path: Path_, key: str) -> None:
    content = copy.deepcopy(FULL)
    node = parent(content, (*path, 0))
    if key in node:
        return
    node[key] = "no number" if path[-1:] == ("values",) else 5
    file = write(tmp_path, content)
    assert str(file) in (problem_of(file) or "")


def test_the_message_for_an_unknown_key_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"NOISE\.yaml, versions\.1\.0\.0: unknown key 'licence'"):
        read_config(write(tmp_path, toy_config(licence="MIT")))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.one_of(
        st.binary(max_size=40),
        st.text(max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass")),
    )
)
def test_a_file_that_is_no_config_is_a_config_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        read_config(tmp_path / "a.yaml")


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model config"):
        read_config(tmp_path / "none.yaml")


def test_a_version_number_needs_quotes_and_the_error_says_so(tmp_path: Path) -> None:
    content = toy_config() | {"default_version": 1.0}
    with pytest.raises(
        ConfigError,
        match=r"default_version: one of 1\.0\.0 was expected, not 1\.0 \(put it in quotes\)",
    ):
        read_config(write(tmp_path, content))


IMAGE = {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}
TABLE = {"kind": "table", "dtype": "float32", "shape": [2]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outputs": {}}, "outputs: at least one output"),
        (
            {"outputs": {"images": {**IMAGE, "shape": [8, 8]}}},
            r"images\.shape: \[channels, height, width\]",
        ),
        (
            {"outputs": {"images": {**IMAGE, "shape": [1, 0, 8]}}},
            r"images\.shape: a list of whole numbers",
        ),
        ({"outputs": {"images": {**IMAGE, "shape": [1, 8.0, 8]}}}, r"images\.shape"),
        (
            {"outputs": {"images": {**IMAGE, "range": [1, 1]}}},
            r"images\.range: a list of two numbers, the lower one first",
        ),
        ({"outputs": {"images": {**IMAGE, "range": [0]}}}, r"images\.range"),
        (
            {"outputs": {"images": {**IMAGE, "spacing": [0.5]}}},
            r"images\.spacing: a list of 2 millimetres was expected, not \[0\.5\]",
        ),
        (
            {"outputs": {"volumes": {**IMAGE, "kind": "volume"}}},
            r"volumes\.shape: \[channels, depth, height, width\]",
        ),
        (
            {"outputs": {"table": {**TABLE, "columns": ["a"]}}},
            r"table\.columns: 2 names were expected, not 1",
        ),
        (
            {"outputs": {"table": {**TABLE, "columns": ["a", "a"]}}},
            r"table\.columns: different names were expected",
        ),
        (
            {"outputs": {"table": {**TABLE, "shape": [2, 3]}}},
            r"table\.shape: \[columns\] was expected",
        ),
        ({"outputs": {"images": {**IMAGE, "tolerance": -1}}}, r"images\.tolerance: a number from"),
        (
            {"inputs": {"scan": {"kind": "image", "help": "", "shape": [8, 8]}}},
            r"scan\.shape: a list of channels and 2 sizes was expected",
        ),
        ({"outputs": {"images": {**IMAGE, "dtype": "float64"}}}, r"images\.dtype: one of uint8"),
        (
            {"outputs": {"labels": {"kind": "label"}}},
            r"labels\.condition: one of condition is missing",
        ),
        (
            {
                "outputs": {
                    "labels": {"kind": "label", "condition": "condition", "dtype": "float32"}
                }
            },
            r"labels\.dtype",
        ),
        ({"outputs": {"../images": IMAGE}}, "outputs: another name than '../images'"),
        ({"outputs": {"indices": IMAGE}}, "outputs: another name than 'indices'"),
        (
            {"options": {"seed": {"type": "int", "default": 1, "help": ""}}},
            "options: another name than 'seed'",
        ),
        (
            {"conditions": {"n": {"values": {"a": 0}, "help": ""}}},
            "conditions: another name than 'n'",
        ),
        (
            {"options": {"condition": {"type": "int", "default": 1, "help": ""}}},
            "condition is a condition already",
        ),
        (
            {"options": {"gain": {"type": "int", "default": 10, "maximum": 9, "help": ""}}},
            r"gain\.default: a value that the option allows",
        ),
        (
            {"options": {"gain": {"type": "str", "default": "x", "choices": ["a"], "help": ""}}},
            r"gain\.default",
        ),
        (
            {"options": {"gain": {"type": "str", "default": "a", "choices": ["a", 1], "help": ""}}},
            r"gain\.choices: a list of str",
        ),
        (
            {"conditions": {"condition": {"values": {"a": 0, "b": 0}, "help": ""}}},
            r"condition\.values: .* no two the same",
        ),
        (
            {"conditions": {"condition": {"values": {"a": 0, "A": 1}, "help": ""}}},
            r"condition\.values: 'a' and 'A' differ only in case",
        ),
        (
            {"conditions": {"condition": {"values": {True: 0, False: 1}, "help": ""}}},
            r"condition\.values: a name in quotes was expected, not True \(YAML reads yes, no",
        ),
        (
            {"conditions": {"condition": {"values": {1: 0}, "help": ""}}},
            r"condition\.values: a name in quotes was expected, not 1\.",
        ),
        (
            {
                "conditions": {
                    "condition": {"values": {"a": 0}, "help": ""},
                    "grade": {"values": {"b": 0}, "help": ""},
                },
                "outputs": {"grade": {"kind": "label", "condition": "condition"}},
            },
            r"outputs: grade is a condition already",
        ),
        (
            {"outputs": {"license": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}}},
            r"outputs: another name than 'license'",
        ),
        ({"requires": [">=3"]}, "requires: a list of requirements"),
        ({"source": "package"}, "source: a source such as"),
        ({"contract": "onnx"}, "contract: one of native, medigan"),
        ({"sha256": "0" * 63}, "sha256: 64 hexadecimal digits"),
        ({"files": {"model.py": "0"}}, "files: a mapping of file to sha256"),
        ({"latent": -1}, "latent: a number of latents"),
        ({"batch_size": 0}, "batch_size: a number of samples"),
        ({"year": True}, "year: a whole number was expected, not True"),
    ],
)
def test_what_the_schema_refuses(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_config(write(tmp_path, toy_config(**changes)))


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ("call.weights", "../secrets", r"call\.weights: a file in the package"),
        ("call.weights", "/etc/passwd", r"call\.weights"),
        ("call.returns", "list", r"call\.returns: one of images, tuples, arrays, files"),
        ("call.latent_shape", [3, 1, 1], r"call\.latent_shape: 4 numbers were expected"),
        ("call.latents_as", "jax", r"call\.latents_as: one of numpy, torch"),
        ("call.most", 0, r"call\.most"),
        ("call.function", "a.b", r"call\.function: the name of a function"),
        ("call.speed", 1, r"call: unknown key 'speed'"),
        ("conditions.condition.passed", {"benign": 1}, r"passed: the same names as in `values`"),
        ("inputs.scan.form", "zip", r"scan\.form: one of folder, files, file"),
        ("inputs.scan.default", "../a", r"scan\.default"),
        (
            "inputs.scan.range",
            [240, -160],
            r"scan\.range: a list of two numbers, the lower one first",
        ),
        ("inputs.scan.spacing", [1, 1, 1], r"scan\.spacing: a list of 2 millimetres"),
        ("inputs.seed", {"kind": "image", "help": ""}, "inputs: another name than 'seed'"),
        ("options.sizes.default", [1, 4], r"sizes\.default: a value that the option allows"),
        ("options.sizes.default", 1, r"sizes\.default: a list"),
        ("options.sizes.default", [True], r"sizes\.default"),
        ("options.sizes.default", ["a"], r"sizes\.default"),
        ("options.gains.default", [None], r"gains\.default"),
        ("options.shapes.choices", [1], r"shapes\.choices"),
        ("outputs.images.fit", "crop", r"images\.fit: one of exact, pad, resize"),
        ("outputs.images.channels", [], r"images\.channels"),
        ("outputs.images.element", -1, r"images\.element"),
        ("mirrors", ["ftp://a"], r"mirrors: a list of addresses"),
        ("sha256_unconfirmed", "0", "sha256_unconfirmed: 64 hexadecimal digits"),
    ],
)
def test_what_the_schema_refuses_of_a_published_package(
    tmp_path: Path, where: str, value: Any, says: str
) -> None:
    content = copy.deepcopy(PUBLISHED)
    path = (*VERSION, *where.split("."))
    parent(content, path)[path[-1]] = value
    with pytest.raises(ConfigError, match=says):
        read_config(write(tmp_path, content))


@pytest.mark.parametrize(
    "path",
    [
        "call",
        "outputs.images.fit",
        "outputs.images.element",
        "inputs.scan.form",
        "conditions.condition.passed",
    ],
)
def test_a_native_package_is_called_in_one_way_alone(tmp_path: Path, path: str) -> None:
    content = copy.deepcopy(PUBLISHED)
    version = content["versions"]["1.0.0"]
    version["contract"] = "native"
    kept = copy.deepcopy(version)
    for away in ("call", "outputs", "inputs", "conditions"):
        del version[away]
    version["outputs"] = {"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}}
    assert read_config(write(tmp_path, content)).default.call is None
    keys = path.split(".")
    version[keys[0]] = {} if len(keys) > 1 else kept["call"]
    if len(keys) > 1:
        allowed = {"kind", "dtype", "shape", "help", "values", keys[-1]}
        version[keys[0]] = {
            keys[1]: {k: v for k, v in kept[keys[0]][keys[1]].items() if k in allowed}
        }
    with pytest.raises(ConfigError, match=f"unknown key '{keys[-1]}'"):
        read_config(write(tmp_path, content))


STEPS = {"type": "int", "default": 5, "help": "Steps."}
SECTIONS = {
    "": "The model",
    "versions.": "A version",
    "versions.bundle.": "A bundle",
    "versions.call.": "A call",
    "versions.parts.": "A part",
    "versions.conditions.": "A condition",
    "versions.inputs.": "An input",
    "versions.options.": "An option",
    "versions.outputs.": "An output",
    "versions.datasets.": "A data set",
    "versions.metrics.": "A metric",
}


def test_the_docs_list_every_key_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, set[str]] = {}
    take = schema._Node.take

    def noted(node: schema._Node, key: str, *arguments: Any, **more: Any) -> Any:
        place = re.sub(r"\[\d+\]", "", node.where).replace("1.0.0.", "").split(".")
        section = ".".join(place[:2] if place[0] else place[:1]) + "." * bool(place[0])
        asked.setdefault("versions." if section == "versions.." else section, set()).add(key)
        return take(node, key, *arguments, **more)

    monkeypatch.setattr(schema._Node, "take", noted)
    of_bundle = toy_config(**bundle_config(tmp_path, latents="noise"))
    of_bundle["versions"]["1.0.0"] |= {
        "options": {"steps": STEPS},
        "parts": {"w": {"source": "https://a/b"}},
    }
    for content in (FULL, PUBLISHED, of_bundle):
        read_config(write(tmp_path, content))
    text = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
    listed = {}
    for part in text.split("\n## ")[1:]:
        rows = re.findall(r"^\| (`[^|]*`) \|", part, flags=re.MULTILINE)
        listed[part.splitlines()[0]] = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert {SECTIONS[k]: v for k, v in asked.items()} == {k: v for k, v in listed.items() if v}


def test_a_model_without_versions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="versions: at least one version"):
        read_config(write(tmp_path, toy_config() | {"versions": {}}))


def test_an_unknown_version_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no version '9'.\nIt has: 1\.0\.0"):
        read_config(write(tmp_path, FULL)).version("9")


def test_no_condition_or_option_can_hide_an_argument() -> None:
    functions = (
        medzoo.generate,
        medzoo.load,
        medzoo.stream,
        medzoo.dataset,
        medzoo.dataloader,
        medzoo.iterable_dataset,
        medzoo.Model.generate,
        medzoo.Model.stream,
    )
    arguments = {p for f in functions for p in inspect.signature(f).parameters if p != "options"}
    assert arguments <= config.ARGUMENTS


def test_no_column_can_hide_what_samples_have() -> None:
    own = {n for n in [*vars(Samples), *Samples.__dataclass_fields__] if not n.startswith("_")}
    assert own <= config.TAKEN


@pytest.mark.parametrize(
    "path", sorted(shipped("model_configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_config_is_valid_and_named_by_its_id(path: Path) -> None:
    assert read_config(path).id == path.stem


@pytest.mark.parametrize(
    ("requires", "needs"),
    [(["torch>=2.6"], True), (["torch"], True), (["torchvision"], False), ([], False)],
)
def test_whether_a_package_needs_torch(tmp_path: Path, requires: list[str], needs: bool) -> None:
    assert read_config(write(tmp_path, toy_config(requires=requires))).default.needs_torch is needs


def test_a_key_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    text = yaml.safe_dump(toy_config(), sort_keys=False)
    file = tmp_path / "00901_TOY_MRI_NOISE.yaml"
    file.write_text(text.replace("    license: MIT\n", "    license: MIT\n    license: CC0\n"))
    with pytest.raises(ConfigError, match=r"NOISE\.yaml .*the key 'license' is there twice"):
        read_config(file)
