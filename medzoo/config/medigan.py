"""From medigan's metadata of a model (``metadata.json`` or ``global.json``) to a medzoo config.

medigan's metadata does not say what numbers a package returns, so the entry of the model needs a
section ``medzoo``, which medigan itself ignores::

    {"00042_GAN_MRI_KNEE": {"execution": ..., "selection": ..., "description": ...,
                            "medzoo": {"dtype": "uint8", "range": [0, 255]}}}

``dtype`` and ``range`` describe the pictures that the package returns. Any key of a version in
docs/configs.md may be there too, ``call`` and ``outputs`` among them, and replaces what is derived
from the metadata. What is assumed is stated in a warning.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ConfigError, MedzooWarning
from .arguments import ARGUMENTS
from .model import REQUIREMENT, ModelConfig
from .schema import ID, config_from

FILES = ("metadata.json", "global.json")  # of a folder; the first that is there is read
SECTION = "medzoo"  # of an entry: what medigan's metadata does not say
BASE = ("model_file", "num_samples", "output_path", "save_images")
NEEDED = (
    *("package_name", "package_link", "model_name", "extension", "dependencies"),
    "generate_method",
)
LATENTS = "input_latent_vector"  # the argument that medigan's own sliders set
METRICS = {"FID": "lower", "SSIM": "higher", "MSE": "lower", "PSNR": "higher"}
UNNUMBERED = "99999"
UNSTATED = "not stated"


def metadata_file(folder: Path) -> Path | None:
    """The file of medigan's metadata in a folder, if there is one."""
    try:
        return next((folder / name for name in FILES if (folder / name).is_file()), None)
    except OSError:  # a name too long for this file system, a folder that may not be read
        return None


def problem_of(model_id: str, metadata: Any) -> str:  # noqa: PLR0911  (one problem each)
    """What is missing in metadata that running a model needs; empty if nothing is.

    Parameters
    ----------
    model_id
        The key of the model in ``metadata``.
    metadata
        Model id to entry, as in the files.
    """
    entry = metadata.get(model_id) if isinstance(metadata, Mapping) else None
    if not isinstance(entry, Mapping):
        return f"the metadata has no entry {model_id!r}"
    execution = entry.get("execution")
    if not isinstance(execution, Mapping) or not isinstance(entry.get("selection"), Mapping):
        return "the entry needs `execution` and `selection`"
    if missing := [key for key in NEEDED if key not in execution]:
        return f"execution.{missing[0]} is missing"
    for key in ("package_name", "model_name"):
        if not isinstance(execution[key], str) or not execution[key]:
            return f"execution.{key} is not a text"
    method = execution["generate_method"]
    arguments = method.get("args") if isinstance(method, Mapping) else None
    base = arguments.get("base") if isinstance(arguments, Mapping) else None
    if not isinstance(base, list) or not isinstance(method.get("name"), str):
        return "execution.generate_method needs `name` and `args.base`"
    if missing := [name for name in BASE if name not in base]:
        return f"execution.generate_method.args.base lacks {missing[0]!r}"
    return ""


@lru_cache(maxsize=64)
def _read(path: Path, stamp: int) -> ModelConfig:  # noqa: ARG001  (read again when it changes)
    content, assumed = content_of(path)
    if assumed:
        warnings.warn(
            f"{path} does not state everything. Assumed: {'; '.join(assumed)}. The section "
            f"{SECTION!r} of the entry can say otherwise (docs/from-medigan.md).",
            MedzooWarning,
            stacklevel=4,
        )
    return config_from(content, path)


def read_metadata(path: Path) -> ModelConfig:
    """The config of the package that lies beside a metadata file of medigan.

    Raises
    ------
    ConfigError
        The file cannot be read, or does not state what cannot be assumed; names the key.
    """
    return _read(path, path.stat().st_mtime_ns)


def content_of(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The content of a ``config.yaml`` for the package beside a metadata file, and what was assumed
    for it.

    Raises
    ------
    ConfigError
        As `read_metadata`.
    """
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    model_id = _chosen(path, metadata)
    if problem := problem_of(model_id, metadata):
        raise ConfigError(
            f"{path}, {model_id}: {problem}.", "medigan needs it too; see its templates."
        )
    return _Conversion(path, model_id, metadata[model_id]).content()


def _chosen(path: Path, metadata: Any) -> str:
    """The id of the entry whose package lies in the folder; of a single entry, its id."""
    ids = [str(k) for k in metadata] if isinstance(metadata, dict) else []
    if len(ids) == 1:
        return ids[0]
    here = [k for k in ids if not problem_of(k, metadata) and _package(path.parent, metadata[k])]
    if len(here) == 1:
        return here[0]
    raise ConfigError(
        f"{path} has metadata of {len(ids)} models, and the packages of {len(here)} lie beside it.",
        "Keep the entry of one model in a metadata.json in the folder of its package.",
    )


def _weights(entry: Mapping[str, Any]) -> str:
    execution = entry["execution"]
    return f"{execution['model_name']}{execution['extension'] or ''}"


def _package(folder: Path, entry: Mapping[str, Any]) -> str:
    """Where a package lies, as the part of a source after ``file:``; empty if it is not there."""
    execution, weights = entry["execution"], _weights(entry)
    name, link = str(execution["package_name"]), str(execution["package_link"] or "")
    places = [".", name]
    if link and "://" not in link:
        places.append(link)  # a folder, as medigan has it of a model that is not published
    for place in places:
        if (folder / place / "__init__.py").is_file() and (folder / place / weights).exists():
            return place
    archive = f"{name}.zip"
    return archive if (folder / archive).is_file() else ""


class _Conversion:
    """One entry, on its way to the content of a config."""

    def __init__(self, path: Path, model_id: str, entry: Mapping[str, Any]) -> None:
        self.path, self.model_id, self.entry = path, model_id, entry
        self.execution, self.selection = entry["execution"], entry["selection"]
        self.description = self._mapping("description", entry.get("description"))
        self.assumed: list[str] = []
        stated = entry.get(SECTION, {})
        if not isinstance(stated, dict):
            raise self.error(SECTION, f"a mapping was expected, not {stated!r:.80}")
        self.stated = dict(stated)

    def error(self, key: str, problem: str, hint: str = "") -> ConfigError:
        return ConfigError(
            f"{self.path}, {self.model_id}, {key}: {problem}.",
            hint or "docs/from-medigan.md explains the section `medzoo`.",
        )

    def _mapping(self, key: str, value: Any) -> Mapping[str, Any]:
        """A part of the entry; empty if it is left out."""
        if value and not isinstance(value, Mapping):
            raise self.error(key, f"a mapping was expected, not {value!r:.80}")
        return value or {}

    def assume(self, text: str) -> None:
        self.assumed.append(text)

    def content(self) -> tuple[dict[str, Any], list[str]]:
        """The content, and what was assumed."""
        place = _package(self.path.parent, self.entry)
        if not place:
            raise self.error(
                "execution.package_link",
                f"the package is not in {self.path.parent}: there is no __init__.py beside "
                f"{_weights(self.entry)}, and no {self.execution['package_name']}.zip",
                "Unpack the package into that folder.",
            )
        identifier = self._id()
        name = str(self.description.get("version") or "1.0.0")
        version = self._version(place)
        content = {
            "id": identifier,
            "name": str(self.description.get("title") or self.model_id),
            "description": str(self.description.get("comment") or self.model_id),
            "modality": self._first("modality"),
            "organ": self._first("organ"),
            "content": self._first("generates"),
            "tags": sorted({t for t in self._list("tags") if isinstance(t, str) and t}),
            "default_version": name,
            "versions": {name: version},
        }
        return content, self.assumed

    def _id(self) -> str:
        given = str(self.stated.pop("id", self.model_id))
        if ID.fullmatch(given):
            return given
        words = re.findall(r"[A-Za-z0-9.-]+", given) or ["MODEL"]
        made = "_".join([UNNUMBERED, *words, *["PRIVATE"][: len(words) == 1]])
        self.assume(f"the id {made}, because {given!r} is not NNNNN_TYPE_MODALITY_CONTENT")
        return made

    def _list(self, key: str) -> list[Any]:
        value = self.selection.get(key)
        return value if isinstance(value, list) else [value] if value else []

    def _first(self, key: str) -> str:
        return str(next(iter(self._list(key)), UNSTATED))

    def _version(self, place: str) -> dict[str, Any]:
        call = self._call(place)
        latent = call.pop("latent", 0)
        version: dict[str, Any] = {
            "source": f"file:{place}",
            "contract": "medigan",
            "call": call,
            "requires": self._requires(),
            "generator": str(self.selection.get("type") or UNSTATED),
            "architecture": str(self.selection.get("type") or UNSTATED),
            "year": self._year(),
            "authors": [UNSTATED],
            "license": str(self.selection.get("license") or UNSTATED),
            "publication": str(self.description.get("publication") or ""),
            "datasets": [{"name": str(d), "license": UNSTATED} for d in self._list("dataset")],
            "metrics": list(self._metrics()),
        }
        if latent:
            version["latent"] = latent
        if options := self._options(call):
            version["options"] = options
        version["outputs"] = self._outputs()
        call.update(self._section("call"))
        if "returns" in self.stated:
            call["returns"] = self.stated.pop("returns")
        elif "returns" not in call:
            call["returns"] = "images"
            self.assume("it returns a list of pictures (`returns: images`), not tuples or files")
        for key in ("options", "conditions", "inputs"):
            described = self._section(key)
            for argument in [k for i in described.items() for k in _arguments(*i)]:
                call["arguments"].pop(argument, None)
                version.get("options", {}).pop(argument, None)
            if described:
                version[key] = {**version.get(key, {}), **described}
        return version | self.stated

    def _section(self, key: str) -> dict[str, Any]:
        value = self.stated.pop(key, {})
        if not isinstance(value, dict):
            raise self.error(f"{SECTION}.{key}", f"a mapping was expected, not {value!r:.80}")
        return value

    def _call(self, place: str) -> dict[str, Any]:
        method = self.execution["generate_method"]
        call: dict[str, Any] = {
            "function": method["name"],
            "weights": _weights(self.entry),
            "arguments": {},
        }
        size = method.get("input_latent_vector_size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            return call
        taken = _parameters(self.path.parent / place / "__init__.py", method["name"])
        if taken is not None and LATENTS not in taken:
            self.assume(
                f"the package draws its {size} latents itself, because {method['name']} takes no "
                f"argument {LATENTS!r}"
            )
            return call
        if taken is None:
            self.assume(f"{method['name']} takes {size} latents as {LATENTS!r}")
        return {**call, "latent": size, "latents": LATENTS, "latent_shape": [size, 1, 1]}

    def _requires(self) -> list[str]:
        given = self.execution["dependencies"] or []
        if not isinstance(given, list):
            raise self.error("execution.dependencies", f"a list was expected, not {given!r:.80}")
        named = [d for d in given if isinstance(d, str) and REQUIREMENT.match(d)]
        if others := [str(d) for d in given if d and d not in named]:
            self.assume(
                f"{', '.join(others)} among the dependencies, not a name of a package, is left out"
            )
        return named

    def _year(self) -> int:
        dates = (self.selection.get("year"), self.description.get("trained_date"))
        for date in dates:
            if match := re.search(r"\b(19|20)\d\d\b", str(date)):
                return int(match[0])
        if "year" not in self.stated:
            self.assume("the year 0, because none is stated")
        return 0

    def _metrics(self) -> Iterator[dict[str, Any]]:
        figures = self.selection.get("performance") or {}
        for name, better in METRICS.items():
            value = figures.get(name) if isinstance(figures, Mapping) else None
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield {
                    "name": name,
                    "value": value,
                    "dataset": self._first("dataset"),
                    "better": better,
                    "source": "medigan metadata",
                }

    def _options(self, call: dict[str, Any]) -> dict[str, Any]:
        """An option for each argument whose value has a plain type; the others are passed as they
        are.
        """
        given = self.execution["generate_method"]["args"].get("custom")
        custom = self._mapping("execution.generate_method.args.custom", given)
        helps = dict(_helps(self.description.get("inputs") or self.description.get("input")))
        options, fixed = {}, []
        for name, default in custom.items():
            kind = {bool: "bool", int: "int", float: "float", str: "str"}.get(type(default))
            path = isinstance(default, str) and ("/" in default or "path" in name)
            if kind is None or path or name in ARGUMENTS or name == "gpu_id":
                call["arguments"][name] = default
                fixed.append(name)
            else:
                text = helps.get(name, f"{name} of the package")
                options[name] = {"type": kind, "default": default, "help": text}
        if hidden := [name for name in fixed if name not in {"gpu_id", *_described(self.stated)}]:
            self.assume(f"{', '.join(hidden)} always as in the metadata, and not for the user")
        return options

    def _outputs(self) -> dict[str, Any]:
        if "outputs" in self.stated:
            return self._section("outputs")
        size = self.execution.get("image_size")
        sizes = size if isinstance(size, list) else []
        lengths = [int(s) for s in sizes if str(s).isdecimal()]
        if len(lengths) not in {2, 3} or len(lengths) != len(sizes):
            raise self.error("execution.image_size", f"[height, width] is needed, not {size!r:.80}")
        if missing := [key for key in ("dtype", "range") if key not in self.stated]:
            raise self.error(
                f"{SECTION}.{missing[0]}",
                "medigan's metadata does not say which numbers the package returns, and they "
                "are not guessed",
                f'Add the section "{SECTION}": {{"dtype": "uint8", "range": [0, 255]}} to the '
                "entry, with the type and the darkest and brightest value of the pictures; "
                '"outputs" describes masks and others (docs/from-medigan.md).',
            )
        if len(lengths) == 2:
            self.assume("one channel, because image_size is [height, width]")
        output = {
            "kind": "image",
            "dtype": self.stated.pop("dtype"),
            "shape": [*(lengths[2:] or [1]), *lengths[:2]],
            "range": self.stated.pop("range"),
        }
        return {"images": output}


def _described(stated: Mapping[str, Any]) -> set[str]:
    """The arguments of the package that the section `medzoo` describes."""
    return {
        argument
        for key in ("options", "conditions", "inputs")
        if isinstance(stated.get(key), dict)
        for item in stated[key].items()
        for argument in _arguments(*item)
    }


def _arguments(name: str, described: Any) -> list[str]:
    argument = described.get("argument") if isinstance(described, Mapping) else None
    return [name, argument] if isinstance(argument, str) else [name]


def _helps(lines: Any) -> Iterator[tuple[str, str]]:
    """Argument -> help, of lines such as ``seed: default=1, help=what it does``."""
    for line in lines if isinstance(lines, list) else []:
        if match := re.match(r"\s*(\w+):.*?help\s*=\s*(.+)", str(line), re.DOTALL):
            yield match[1], match[2].strip()


def _parameters(path: Path, function: str) -> set[str] | None:
    """The names of a function's parameters, from its source; None if they cannot be read there.
    Nothing is imported.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            if node.args.kwarg:
                return None
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            return {p.arg for p in parameters}
    return None
