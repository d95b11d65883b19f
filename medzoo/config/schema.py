"""From YAML to the dataclasses of `medzoo.config.model`. A key that is not read is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeVar, cast

from ..errors import ConfigError
from .arguments import ARGUMENTS
from .boxes import check_boxes, with_columns
from .bundle import bundle, of_bundle
from .geometry import check_geometry, check_shape, check_zoom
from .model import (
    CONTRACTS,
    DTYPES,
    FITS,
    FORMS,
    KINDS,
    LIST_TYPES,
    OPTION_TYPES,
    REQUIREMENT,
    RETURNS,
    STATUSES,
    TAKEN,
    Call,
    Condition,
    DataSet,
    Input,
    Metric,
    ModelConfig,
    Option,
    Output,
    Version,
)
from .parts import ADDRESS, hexadecimal, part

T = TypeVar("T")
ID = re.compile(r"\d{5}_[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+)+")
SHA256 = re.compile(r"[0-9a-f]{64}")
DOI = re.compile(r"10\.\d{4,9}/\S+")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of an argument or a column
ANY = re.compile(r".", re.DOTALL)
INPUT_KINDS = ("image", "mask", "volume")


def read_config(path: Path) -> ModelConfig:
    """Read a model config.

    Raises
    ------
    ConfigError
        The file is missing, is not YAML, or breaks the schema.
    """
    import yaml  # not needed where an index holds all configs

    from .yaml_text import load_yaml

    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"There is no model config {path}.") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    return config_from(content, path)


def config_from(content: Any, path: Path) -> ModelConfig:
    """A model config from its content; ``path`` is its file, for errors and relative sources.

    Raises
    ------
    ConfigError
        The content breaks the schema.
    """
    return _config(_Node(content, path), path)


class _Node:
    """A mapping in the file, and its place. `done` raises an error if a key was not read."""

    def __init__(self, content: Any, path: Path, where: str = "") -> None:
        self.path, self.where = path, where
        if not isinstance(content, dict):
            raise self.error("", f"a mapping was expected, not {content!r:.80}")
        self._left = dict(content)

    def error(self, key: str, what: str) -> ConfigError:
        where = f"{self.where}{key}" or "top level"
        return ConfigError(
            f"{self.path}, {where.rstrip('.')}: {what}.", "docs/configs.md lists every key."
        )

    def take(
        self,
        key: str,
        kind: type[T],
        default: Any = ...,
        ok: Callable[[T], bool] | None = None,
        what: str = "",
    ) -> T:
        value = self._left.pop(key, default)
        if value is ...:
            raise self.error(key, f"{what or _name(kind)} is missing")
        if value is default:
            return cast("T", value)
        return self.checked(key, value, kind, ok, what)

    def checked(
        self,
        key: str,
        value: Any,
        kind: type[T],
        ok: Callable[[T], bool] | None = None,
        what: str = "",
    ) -> T:
        if kind is float and type(value) is int and abs(value) < 2**1000:
            value = float(value)
        if (
            not isinstance(value, kind)
            or (isinstance(value, float) and not math.isfinite(value))
            or (isinstance(value, bool) and kind not in (bool, object))
            or (ok and not ok(value))
        ):
            quote = " (put it in quotes)" if kind is str and isinstance(value, (int, float)) else ""
            raise self.error(key, f"{what or _name(kind)} was expected, not {value!r:.80}{quote}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: Any = ...) -> str:
        return self.take(key, str, default, lambda v: v in choices, "one of " + ", ".join(choices))

    def texts(
        self,
        key: str,
        default: Any = ...,
        like: re.Pattern[str] = ANY,
        what: str = "a list of texts",
    ) -> tuple[str, ...]:
        def ok(v: list[Any]) -> bool:
            return all(isinstance(t, str) and like.match(t) for t in v)

        texts: list[str] = self.take(key, list, default, ok, what)
        return tuple(texts)

    def numbers(
        self, key: str, ok: Callable[[list[float]], bool], what: str
    ) -> tuple[float, ...] | None:
        def numeric(v: list[Any]) -> bool:
            return all(type(n) in (int, float) and abs(n) < 1e300 for n in v) and ok(v)

        values = self.take(key, list, None, numeric, what)
        return None if values is None else tuple(values)

    def whole_numbers(
        self, key: str, lowest: int, below: float = math.inf, least: int = 0
    ) -> tuple[int, ...] | None:
        """A list of at least ``least`` whole numbers from ``lowest``."""

        def ok(v: list[float]) -> bool:
            return len(v) >= least and all(type(n) is int and lowest <= n < below for n in v)

        values = self.numbers(key, ok, f"a list of whole numbers from {lowest}")
        return None if values is None else tuple(map(int, values))

    def bounds(self, key: str) -> tuple[float, float] | None:
        """A lower and a higher number."""
        values = self.numbers(
            key, lambda v: len(v) == 2 and v[0] < v[1], "a list of two numbers, the lower one first"
        )
        return (values[0], values[1]) if values else None

    def window(self) -> tuple[float, float] | None:
        """A centre and a width."""
        values = self.numbers(
            "window", lambda v: len(v) == 2 and v[1] > 0, "a list of centre and width"
        )
        return (values[0], values[1]) if values else None

    def node(self, key: str) -> _Node:
        return _Node(self.take(key, dict), self.path, f"{self.where}{key}.")

    def nodes(
        self, key: str, default: Any = ..., taken: AbstractSet[str] = frozenset()
    ) -> dict[str, _Node]:
        """Name -> mapping; names in ``taken`` are not allowed."""
        children = {}
        for name, content in self.with_text_keys(key, default).items():
            if taken and (name in taken or not NAME.fullmatch(name)):
                raise self.error(
                    key,
                    f"another name than {name!r} was expected: letters, digits and _, and not a "
                    "reserved word of medzoo",
                )
            children[name] = _Node(content, self.path, f"{self.where}{key}.{name}.")
        return children

    def with_text_keys(self, key: str, default: Any = ...) -> dict[str, Any]:
        return self.take(key, dict, default, _has_text_keys, "a mapping with text keys")

    def listed(self, key: str, default: Any = ...) -> list[_Node]:
        """A list of mappings."""
        children = []
        for place, content in enumerate(self.take(key, list, default)):
            children.append(_Node(content, self.path, f"{self.where}{key}[{place}]."))
        return children

    def done(self) -> None:
        if self._left:
            raise self.error("", f"unknown key {', '.join(map(repr, self._left))}")


def _has_text_keys(mapping: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in mapping)


def _each(nodes: Mapping[str, _Node], make: Callable[..., T], *arguments: Any) -> dict[str, T]:
    """Name -> what ``make`` makes from the name, the node and the arguments."""
    return {name: make(name, node, *arguments) for name, node in nodes.items()}


def _name(kind: type) -> str:
    names = {
        str: "a text",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
    }
    return names.get(kind, str(kind))


def _config(node: _Node, path: Path) -> ModelConfig:
    identifier = node.take(
        "id", str, ok=lambda v: bool(ID.fullmatch(v)), what="an id such as 00101_GAN_MRI_BRAIN"
    )
    versions = _each(node.nodes("versions"), _version)
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
    contract = node.choice("contract", CONTRACTS)
    medigan, monai = contract == "medigan", contract == "monai"
    conditions = _each(node.nodes("conditions", {}, ARGUMENTS), _condition, medigan or monai)
    inputs = _each(node.nodes("inputs", {}, ARGUMENTS), _input, medigan)
    for input_ in inputs.values():
        check_geometry(node, "inputs", input_, inputs)
    options = _each(node.nodes("options", {}, ARGUMENTS), _option)
    if monai and inputs:
        raise node.error("inputs", "none were expected: medzoo gives no pictures to a MONAI bundle")
    latent = node.take("latent", int, 0, lambda v: v >= 0, "a number of latents")
    if clash := set(conditions) & set(options):
        raise node.error("options", f"{', '.join(sorted(clash))} is a condition already")
    outputs = _each(node.nodes("outputs", taken=TAKEN), _output, conditions, contract)
    if not outputs:
        raise node.error("outputs", "at least one output was expected")
    for name_, output in outputs.items():  # both are keys of a manifest's line
        if name_ in conditions and (output.kind, output.condition) != ("label", name_):
            raise node.error("outputs", f"{name_} is a condition already")
        if output.kind == "boxes":
            check_boxes(node, output, outputs)
        check_geometry(node, "outputs", output, inputs)
        check_zoom(node, output, options)
    files = node.take(
        "files",
        dict,
        {},
        lambda v: all(isinstance(k, str) and _is_sha256(d) for k, d in v.items()),
        "a mapping of file to sha256",
    )
    version = Version(
        name=name,
        source=node.take(
            "source",
            str,
            ok=lambda v: ":" in v,
            what="a source such as bundled:NAME or zenodo:RECORD/FILE",
        ),
        contract=contract,
        architecture=node.take("architecture", str),
        generator=node.take("generator", str),
        year=node.take("year", int),
        authors=node.texts("authors"),
        license=node.take("license", str),
        citation=node.take("citation", str, ""),
        publication=node.take("publication", str, ""),
        doi=node.take("doi", str, "", _is_doi, "a DOI such as 10.5281/zenodo.1234567"),
        datasets=tuple(map(_dataset, node.listed("datasets", []))),
        requires=node.texts(
            "requires", [], REQUIREMENT, "a list of requirements such as numpy>=1.26"
        ),
        python=node.take("python", str, ">=3.10"),
        conditions=conditions,
        inputs=inputs,
        options=options,
        outputs=outputs,
        metrics=tuple(map(_metric, node.listed("metrics", []))),
        latent=latent,
        files=files,
        sha256=node.take("sha256", str, "", _is_sha256, "64 hexadecimal digits"),
        md5=node.take("md5", str, "", hexadecimal(32), "32 hexadecimal digits"),
        sha256_unconfirmed=node.take(
            "sha256_unconfirmed", str, "", _is_sha256, "64 hexadecimal digits"
        ),
        sha1=node.take("sha1", str, "", hexadecimal(40), "40 hexadecimal digits"),
        mirrors=node.texts("mirrors", [], ADDRESS, "a list of addresses"),
        parts=_each(node.nodes("parts", {}), part),
        lock=node.take("lock", str, ""),
        call=_call(node.node("call"), latent) if medigan else None,
        bundle=bundle(node.node("bundle"), latent, options) if monai else None,
        size=node.take("size", int, None, lambda v: v > 0, "a number of bytes"),
        batch_size=node.take("batch_size", int, 32, lambda v: v > 0, "a number of samples"),
        memory_per_sample=node.take("memory_per_sample", float, 0.0),
        pickled=node.take("pickled", bool, False),
        status=node.choice("status", STATUSES, ""),
    )
    node.done()
    return version


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and bool(SHA256.fullmatch(value))


def _is_doi(value: Any) -> bool:
    return isinstance(value, str) and bool(DOI.fullmatch(value))


def _call(node: _Node, latent: int) -> Call:
    shape = node.whole_numbers("latent_shape", 1)
    call = Call(
        function=node.take("function", str, "generate", str.isidentifier, "the name of a function"),
        weights=node.take("weights", str, ok=_inside, what="a file in the package"),
        returns=node.choice("returns", RETURNS),
        latents=node.take("latents", str, "", str.isidentifier, "the name of an argument")
        if latent
        else "",
        latent_shape=shape or ((latent,) if latent else ()),
        latents_as=node.choice("latents_as", ("numpy", "torch"), "numpy") if latent else "numpy",
        most=node.take("most", int, None, lambda v: v > 0, "a number of samples"),
        own_noise=node.take("own_noise", bool, False),
        arguments=node.with_text_keys("arguments", {}),
    )
    if latent and math.prod(call.latent_shape) != latent:
        raise node.error("latent_shape", f"{latent} numbers were expected, not {call.latent_shape}")
    node.done()
    return call


def _inside(path: str) -> bool:
    return not path.startswith(("/", "\\")) and ".." not in path.split("/")


def _input(name: str, node: _Node, medigan: bool) -> Input:
    shape = node.whole_numbers("shape", 1)
    kind = node.choice("kind", INPUT_KINDS)
    axes = 3 if kind == "volume" else 2
    if shape and len(shape) != axes + 1:
        raise node.error("shape", f"a list of channels and {axes} sizes was expected, not {shape}")
    made = Input(
        name=name,
        kind=kind,
        help=node.take("help", str),
        shape=shape or (),
        required=node.take("required", bool, True),
        argument=node.take("argument", str, name, str.isidentifier, "the name of an argument")
        if medigan
        else "",
        form=node.choice("form", FORMS, "folder") if medigan else "folder",
        default=node.take("default", str, "", _inside, "a file or folder in the package"),
        bits=node.take("bits", int, 0, lambda v: v in {8, 16}, "8 or 16"),
        range=node.bounds("range"),
        unit=node.take("unit", str, ""),
        spacing=node.numbers(
            "spacing", lambda v: len(v) == axes and min(v) > 0, f"a list of {axes} millimetres"
        )
        or (),
        at=node.numbers(
            "at", lambda v: len(v) == 2 == axes, "a list of row and column, of an image or mask"
        )
        or (),
        geometry=node.take(
            "geometry", str, "", lambda _: not medigan, "none, for a medigan package,"
        ),
    )
    if kind == "mask" and made.range and not set(made.range) <= set(range(256)):
        raise node.error("range", "two whole numbers from 0 to 255 were expected, for a mask")
    node.done()
    return made


def _condition(name: str, node: _Node, medigan: bool) -> Condition:
    def ok(v: dict[Any, Any]) -> bool:
        numbered = all(type(n) is int and abs(n) < 2**31 for n in v.values())
        return numbered and 0 < len(v) == len(set(v.values()))

    values = node.take(
        "values", dict, ok=ok, what="a mapping of name to whole number, no two the same"
    )
    _check_names(node, values)
    passed = {}
    if medigan:
        passed = node.take(
            "passed",
            dict,
            {},
            lambda v: not v or set(v) == set(values),
            "the same names as in `values`",
        )
    condition = Condition(name=name, values=values, help=node.take("help", str), passed=passed)
    node.done()
    return condition


def _check_names(node: _Node, values: Mapping[Any, int]) -> None:
    """Refuse names of values that are not texts, or that differ only in case."""
    same: dict[str, str] = {}
    for name in values:
        if not isinstance(name, str) or not name:
            why = " (YAML reads yes, no, on and off as these)" if isinstance(name, bool) else ""
            raise node.error("values", f"a name in quotes was expected, not {name!r}{why}")
        if name.lower() in same:
            raise node.error("values", f"{same[name.lower()]!r} and {name!r} differ only in case")
        same[name.lower()] = name


def _option(name: str, node: _Node) -> Option:
    kind = node.choice("type", (*OPTION_TYPES, *LIST_TYPES))
    of = OPTION_TYPES.get(kind) or LIST_TYPES[kind]
    default = node.take("default", object)
    if default is not None:
        default = node.checked("default", default, of if kind in OPTION_TYPES else list)
    option = Option(
        name=name,
        type=kind,
        default=default,
        help=node.take("help", str),
        minimum=node.take("minimum", float, None),
        maximum=node.take("maximum", float, None),
        choices=tuple(
            node.take(
                "choices", list, [], lambda v: all(type(c) is of for c in v), f"a list of {kind}"
            )
        ),
    )
    low = -math.inf if option.minimum is None else option.minimum
    high = math.inf if option.maximum is None else option.maximum
    values: list[Any] = []
    if default is not None:
        values = [default] if kind in OPTION_TYPES else default
    for value in values:
        fits = type(value) is of or (of is float and type(value) is int)
        if (
            not fits
            or (option.choices and value not in option.choices)
            or (of in {int, float} and not low <= value <= high)
        ):
            raise node.error(
                "default", f"a value that the option allows was expected, not {default!r}"
            )
    node.done()
    return option


def _output(name: str, node: _Node, conditions: Mapping[str, Condition], contract: str) -> Output:
    kind = node.choice("kind", KINDS)
    bounds = node.bounds("range")
    shape = node.whole_numbers("shape", 1, below=2**31)
    condition = None
    if kind == "label":  # if there are no conditions, the package returns the labels
        what = "one of " + ", ".join(conditions) if conditions else "a name from `conditions`"
        condition = node.take(
            "condition", str, ... if conditions else None, lambda v: v in conditions, what
        )
    if shape is None and kind != "label":
        raise node.error("shape", "a list of whole numbers is missing")
    output = Output(
        name=name,
        kind=kind,
        dtype=node.choice("dtype", DTYPES, "int64" if kind == "label" else ...),
        shape=shape or (),
        range=bounds,
        unit=node.take("unit", str, ""),
        window=node.window(),
        spacing=node.numbers("spacing", lambda v: all(s > 0 for s in v), "a list of millimetres"),
        condition=condition,
        columns=node.texts("columns", []),
        classes=node.take("classes", str, "", lambda v: kind == "boxes" or not v, "no classes"),
        tolerance=node.take("tolerance", float, 0.0, lambda v: v >= 0, "a number from 0"),
        geometry=node.take("geometry", str, "") if contract == "native" else "",
        zoom=node.take("zoom", str, "") if contract == "native" else "",
        **_returned(node, contract, shape or (), condition),
    )
    check_shape(node, output)
    if kind == "boxes":
        output = with_columns(node, output)
    if kind == "label" and (output.shape or output.dtype == "float32"):
        raise node.error(
            "shape" if output.shape else "dtype", "a label is one whole number: leave this out"
        )
    node.done()
    return output


def _returned(
    node: _Node, contract: str, shape: tuple[int, ...], condition: str | None
) -> dict[str, Any]:
    """The keys that say where an output is in what a package of others returns."""
    if contract == "monai" and condition is None:
        return of_bundle(node, shape)
    if contract != "medigan":
        return {}
    return {
        "element": node.take("element", int, 0, lambda v: v >= 0, "a place in the tuple, from 0"),
        "returned": node.bounds("returned"),
        "channels": node.whole_numbers("channels", 0, least=1) or (),
        "files": node.take("files", str, ""),
        "fit": node.choice("fit", FITS, "exact"),
    }


def _dataset(node: _Node) -> DataSet:
    dataset = DataSet(
        name=node.take("name", str),
        license=node.take("license", str),
        doi=node.take("doi", str, ""),
        citation=node.take("citation", str, ""),
    )
    node.done()
    return dataset


def _metric(node: _Node) -> Metric:
    metric = Metric(
        name=node.take("name", str),
        value=node.take("value", float),
        dataset=node.take("dataset", str),
        samples=node.take("samples", int, None, lambda v: v > 0, "a number of samples"),
        better=node.choice("better", ("lower", "higher"), "lower"),
        source=node.take("source", str, ""),
    )
    node.done()
    return metric
