"""Model configs: YAML read into frozen dataclasses. An error names the file, the key and what was expected."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from .errors import ConfigError, ModelNotFoundError

T = TypeVar("T")
ID = re.compile(r"\d{5}_[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+)+")
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of an argument or a column
REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ANY = re.compile(r".", re.DOTALL)
KINDS = ("image", "mask", "volume", "table", "label")
CONTRACTS = ("native", "medigan")
DTYPES = ("uint8", "uint16", "int16", "int64", "float32")
OPTION_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
ARGUMENTS = {  # of the functions that generate; a condition or option of such a name could not be given
    "model_id", "n", "out", "format", "seed", "batch_size", "device", "version", "weights", "inputs", "env", "trust", "engine",
    "progress", "first", "latents", "transform", "keep", "shuffle", "num_workers", "pin_memory", "drop_last", "self",
}  # fmt: skip
TAKEN = {  # of Samples and of a manifest's lines; a column of such a name would hide behind it
    "columns", "outputs", "indices", "provenance", "folder", "to_torch", "plot", "save",
    "column", "file", "files", "index", "indexs", "sha256",
}  # fmt: skip


@dataclass(frozen=True)
class Option:
    """An input of a model beside its condition: a named argument of ``generate``."""

    name: str
    type: str  # int, float, str or bool
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Condition:
    """A per-sample choice; by default sample i takes value number i modulo the number of values."""

    name: str
    values: Mapping[str, int]  # name -> the number that the label column holds
    help: str


@dataclass(frozen=True)
class Output:
    """A column of the samples."""

    name: str
    kind: str  # one of KINDS
    dtype: str
    shape: tuple[int, ...]  # of one sample: (C, *spatial), or () for a label
    range: tuple[float, float] | None = None
    unit: str = ""
    spacing: tuple[float, ...] | None = None  # mm, in the order of the spatial axes
    condition: str | None = None  # a label column repeats this condition
    columns: tuple[str, ...] = ()  # names of a table's columns
    tolerance: float = 0.0  # how far batch size or threads may move a value


@dataclass(frozen=True)
class DataSet:
    """What a model was trained on."""

    name: str
    license: str
    doi: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Metric:
    """A reported figure of quality; comparable only with figures on the same data set."""

    name: str
    value: float
    dataset: str
    samples: int | None = None
    better: str = "lower"
    source: str = ""


@dataclass(frozen=True)
class Version:
    """One version of a model: all that two versions may differ in."""

    name: str
    source: str
    contract: str
    architecture: str
    generator: str  # gan, vae, flow, diffusion, autoregressive, procedural ...
    year: int
    authors: tuple[str, ...]
    license: str
    citation: str
    publication: str
    datasets: tuple[DataSet, ...]
    requires: tuple[str, ...]
    python: str
    outputs: Mapping[str, Output]
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    latent: int = 0
    files: Mapping[str, str] = field(default_factory=dict)  # of a folder: file -> sha256
    sha256: str = ""  # of an archive
    md5: str = ""
    size: int | None = None  # bytes to download, or of the folder's files
    batch_size: int = 32
    memory_per_sample: float = 0.0  # MiB at work, beside the weights

    @property
    def scheme(self) -> str:
        """Where the package comes from: ``bundled``, ``file``, ``zenodo`` ..."""
        return self.source.partition(":")[0]

    @property
    def needs_torch(self) -> bool:
        """Whether the package declares torch."""
        return any(re.match(r"torch\b", r) for r in self.requires)


@dataclass(frozen=True, repr=False)
class ModelConfig:
    """One model: what its versions share, and the versions."""

    id: str
    name: str
    description: str
    modality: str
    organ: str
    content: str
    tags: tuple[str, ...]
    default_version: str
    versions: Mapping[str, Version]
    path: Path

    def __repr__(self) -> str:
        versions = ", ".join(f"{v.name} ({v.license})" for v in self.versions.values())
        return f"<{self.id}: {self.name}. {self.description} Versions {versions}. Not for diagnosis.>"

    @property
    def number(self) -> int:
        """The id's number."""
        return int(self.id[:5])

    @property
    def default(self) -> Version:
        """The version that runs when none is named."""
        return self.versions[self.default_version]

    def version(self, name: str | None = None) -> Version:
        """The version called ``name``, or the default one.

        Raises
        ------
        ModelNotFoundError
            The model has no such version.
        """
        if name is None:
            return self.default
        if name not in self.versions:
            raise ModelNotFoundError(f"Model {self.id} has no version {name!r}.", f"It has: {', '.join(self.versions)}.")
        return self.versions[name]


def read_config(path: Path) -> ModelConfig:
    """Read a model config.

    Raises
    ------
    ConfigError
        The file is missing, is not YAML, or breaks the schema.
    """
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where there is one, safe either way
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    except FileNotFoundError as error:
        raise ConfigError(f"There is no model config {path}.") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    return _config(_Node(content, path), path)


class _Node:
    """A mapping of the file, with the way to it; every key must be asked for, or it is an error."""

    def __init__(self, content: Any, path: Path, where: str = "") -> None:
        self.path, self.where = path, where
        if not isinstance(content, dict):
            raise self.error("", f"a mapping was expected, not {content!r:.80}")
        self._left = dict(content)

    def error(self, key: str, what: str) -> ConfigError:
        where = f"{self.where}{key}" or "top level"
        return ConfigError(f"{self.path}, {where.rstrip('.')}: {what}.", "docs/configs.md lists every key.")

    def take(self, key: str, kind: type[T], default: Any = ..., ok: Callable[[T], bool] | None = None, what: str = "") -> T:
        value = self._left.pop(key, default)
        if value is ...:
            raise self.error(key, f"{what or _name(kind)} is missing")
        if value is default:
            return cast("T", value)
        if kind is float and type(value) is int and abs(value) < 2**1000:
            value = float(value)
        if (
            not isinstance(value, kind)
            or (isinstance(value, float) and not math.isfinite(value))
            or (isinstance(value, bool) and kind is not bool)
            or (ok and not ok(value))
        ):
            quote = " (put it in quotes)" if kind is str and isinstance(value, (int, float)) else ""
            raise self.error(key, f"{what or _name(kind)} was expected, not {value!r:.80}{quote}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: Any = ...) -> str:
        return self.take(key, str, default, lambda v: v in choices, "one of " + ", ".join(choices))

    def texts(
        self, key: str, default: Any = ..., like: re.Pattern[str] = ANY, what: str = "a list of texts"
    ) -> tuple[str, ...]:
        return tuple(self.take(key, list, default, lambda v: all(isinstance(t, str) and like.match(t) for t in v), what))

    def numbers(self, key: str, ok: Callable[[list[float]], bool], what: str) -> tuple[float, ...] | None:
        def numeric(v: list[Any]) -> bool:
            return all(type(n) in (int, float) and abs(n) < 1e300 for n in v) and ok(v)

        found = self.take(key, list, None, numeric, what)
        return None if found is None else tuple(found)

    def nodes(self, key: str, default: Any = ..., taken: AbstractSet[str] = frozenset()) -> dict[str, _Node]:
        found = self.take(key, dict, default, lambda v: all(isinstance(k, str) for k in v), "a mapping with text keys")
        if wrong := [k for k in found if taken and (k in taken or not NAME.fullmatch(k))]:
            raise self.error(
                key, f"another name than {wrong[0]!r} was expected: letters, digits and _, and not a word of medzoo's"
            )
        return {k: _Node(v, self.path, f"{self.where}{key}.{k}.") for k, v in found.items()}

    def listed(self, key: str, default: Any = ...) -> list[_Node]:
        found = self.take(key, list, default)
        return [_Node(v, self.path, f"{self.where}{key}[{i}].") for i, v in enumerate(found)]

    def done(self) -> None:
        if self._left:
            raise self.error("", f"unknown key {', '.join(map(repr, self._left))}")


def _name(kind: type) -> str:
    return {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "a mapping"}.get(kind, str(kind))


def _config(node: _Node, path: Path) -> ModelConfig:
    identifier = node.take("id", str, ok=lambda v: bool(ID.fullmatch(v)), what="an id such as 00101_GAN_MRI_BRAIN")
    versions = {name: _version(name, child) for name, child in node.nodes("versions").items()}
    if not versions:
        raise node.error("versions", "at least one version was expected")
    config = ModelConfig(
        id=identifier,
        name=node.take("name", str),
        description=" ".join(node.take("description", str).split()),
        modality=node.take("modality", str),
        organ=node.take("organ", str),
        content=node.take("content", str),
        tags=node.texts("tags", []),
        default_version=node.choice("default_version", tuple(versions)),
        versions=versions,
        path=path,
    )
    node.done()
    return config


def _version(name: str, node: _Node) -> Version:
    conditions = {k: _condition(k, child) for k, child in node.nodes("conditions", {}, ARGUMENTS).items()}
    options = {k: _option(k, child) for k, child in node.nodes("options", {}, ARGUMENTS).items()}
    if clash := set(conditions) & set(options):
        raise node.error("options", f"{', '.join(sorted(clash))} is a condition already")
    outputs = {k: _output(k, child, conditions) for k, child in node.nodes("outputs", taken=TAKEN).items()}
    if not outputs:
        raise node.error("outputs", "at least one output was expected")
    files = node.take("files", dict, {}, lambda v: all(isinstance(k, str) and _is_sha256(d) for k, d in v.items()),
                      "a mapping of file to sha256")  # fmt: skip
    version = Version(
        name=name,
        source=node.take("source", str, ok=lambda v: ":" in v, what="a source such as bundled:NAME or zenodo:RECORD/FILE"),
        contract=node.choice("contract", CONTRACTS),
        architecture=node.take("architecture", str),
        generator=node.take("generator", str),
        year=node.take("year", int),
        authors=node.texts("authors"),
        license=node.take("license", str),
        citation=node.take("citation", str, ""),
        publication=node.take("publication", str, ""),
        datasets=tuple(_dataset(child) for child in node.listed("datasets", [])),
        requires=node.texts("requires", [], REQUIREMENT, "a list of requirements such as numpy>=1.26"),
        python=node.take("python", str, ">=3.10"),
        conditions=conditions,
        options=options,
        outputs=outputs,
        metrics=tuple(_metric(child) for child in node.listed("metrics", [])),
        latent=node.take("latent", int, 0, lambda v: v >= 0, "a number of latents"),
        files=files,
        sha256=node.take("sha256", str, "", _is_sha256, "64 hexadecimal digits"),
        md5=node.take("md5", str, "", lambda v: bool(re.fullmatch("[0-9a-f]{32}", v)), "32 hexadecimal digits"),
        size=node.take("size", int, None, lambda v: v > 0, "a number of bytes"),
        batch_size=node.take("batch_size", int, 32, lambda v: v > 0, "a number of samples"),
        memory_per_sample=node.take("memory_per_sample", float, 0.0),
    )
    node.done()
    return version


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and bool(SHA256.fullmatch(value))


def _condition(name: str, node: _Node) -> Condition:

    def ok(v: dict[Any, Any]) -> bool:
        named = all(isinstance(k, str) and k and type(n) is int and abs(n) < 2**31 for k, n in v.items())
        return named and 0 < len(v) == len(set(v.values())) == len({k.lower() for k in v})

    values = node.take("values", dict, ok=ok, what="a mapping of name to whole number, no two the same")
    condition = Condition(name=name, values=values, help=node.take("help", str))
    node.done()
    return condition


def _option(name: str, node: _Node) -> Option:
    kind = node.choice("type", tuple(OPTION_TYPES))
    option = Option(
        name=name,
        type=kind,
        default=node.take("default", OPTION_TYPES[kind]),
        help=node.take("help", str),
        minimum=node.take("minimum", float, None),
        maximum=node.take("maximum", float, None),
        choices=tuple(
            node.take("choices", list, [], lambda v: all(type(c) is OPTION_TYPES[kind] for c in v), f"a list of {kind}")
        ),
    )
    low, high = (
        (-math.inf if option.minimum is None else option.minimum),
        (math.inf if option.maximum is None else option.maximum),
    )
    if (option.choices and option.default not in option.choices) or (
        kind in {"int", "float"} and not low <= option.default <= high
    ):
        raise node.error("default", f"a value that the option allows was expected, not {option.default!r}")
    node.done()
    return option


def _output(name: str, node: _Node, conditions: Mapping[str, Condition]) -> Output:
    kind = node.choice("kind", KINDS)
    bounds = node.numbers("range", lambda v: len(v) == 2 and v[0] < v[1], "a list of two numbers, the lower one first")
    shape = node.numbers("shape", lambda v: all(type(s) is int and 0 < s < 2**31 for s in v), "a list of whole numbers from 1")
    condition = None
    if kind == "label":  # without any conditions, the package gives the labels
        what = "one of " + ", ".join(conditions) if conditions else "a name from `conditions`"
        condition = node.take("condition", str, ... if conditions else None, lambda v: v in conditions, what)
    if shape is None and kind != "label":
        raise node.error("shape", "a list of whole numbers is missing")
    output = Output(
        name=name,
        kind=kind,
        dtype=node.choice("dtype", DTYPES, "int64" if kind == "label" else ...),
        shape=tuple(int(v) for v in shape or ()),
        range=(bounds[0], bounds[1]) if bounds else None,
        unit=node.take("unit", str, ""),
        spacing=node.numbers("spacing", lambda v: all(s > 0 for s in v), "a list of millimetres"),
        condition=condition,
        columns=node.texts("columns", []),
        tolerance=node.take("tolerance", float, 0.0),
    )
    if kind in {"image", "mask"} and len(output.shape) != 3:
        raise node.error("shape", "[channels, height, width] was expected")
    if kind == "label" and (output.shape or output.dtype == "float32"):
        raise node.error("shape" if output.shape else "dtype", "a label is one whole number: leave this out")
    node.done()
    return output


def _dataset(node: _Node) -> DataSet:
    found = DataSet(
        name=node.take("name", str),
        license=node.take("license", str),
        doi=node.take("doi", str, ""),
        citation=node.take("citation", str, ""),
    )
    node.done()
    return found


def _metric(node: _Node) -> Metric:
    metric = Metric(
        name=node.take("name", str),
        value=node.take("value", float),
        dataset=node.take("dataset", str),
        samples=node.take("samples", int, None),
        better=node.choice("better", ("lower", "higher"), "lower"),
        source=node.take("source", str, ""),
    )
    node.done()
    return metric
