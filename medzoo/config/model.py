"""What a model config says, as frozen dataclasses."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelNotFoundError

REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
KINDS = ("image", "mask", "volume", "table", "label")
CONTRACTS = ("native", "medigan")
STATUSES = ("demonstration",)  # samples that are not good enough for research
PRECISIONS = ("full", "bfloat16", "float16")  # of torch's operations while a model runs
DTYPES = ("uint8", "uint16", "int16", "int64", "float32")
# value range of a column whose config states none; that of signed integers cannot be known
TYPE_RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "float32": (0.0, 1.0)}
OPTION_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
LIST_TYPES: dict[str, type] = {
    "ints": int,
    "floats": float,
    "texts": str,
}  # an option that is a list of these
RETURNS = ("images", "tuples", "arrays", "files")
FORMS = ("folder", "files", "file")
FITS = ("exact", "pad", "resize")
LOCAL, REMOTE = (
    ("bundled", "file"),
    ("zenodo", "https"),
)  # schemes of sources: on this machine, on a network
TORCH_FAMILY = {"torch", "torchvision", "torchaudio"}
TAKEN = {  # of Samples and of a manifest's lines; a column of such a name would hide behind it
    "columns",
    "outputs",
    "indices",
    "provenance",
    "folder",
    "to_torch",
    "to_torchio",
    "to_monai",
    "to_pandas",
    "plot",
    "save",
    "column",
    "file",
    "files",
    "index",
    "indexs",
    "sha256",
    "seed",
    "seeds",
    "piece",
    "pieces",
    "offset",
    "offsets",
    "bytes",
    "file_name",
    "json",
    "license",
    "model",
    "samples",
    "synthetic",
    "version",
}


def requirement_name(requirement: str) -> str:
    """The name in a requirement, as the standard normalises it: ``torch`` of ``Torch>=2.6``."""
    found = REQUIREMENT.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0] if found else requirement).lower()


@dataclass(frozen=True)
class Option:
    """An input of a model beside its condition: a named argument of ``generate``."""

    name: str
    type: str  # one of OPTION_TYPES or LIST_TYPES
    default: Any  # None leaves the choice to the package
    help: str
    minimum: float | None = None  # of each number, in a list too
    maximum: float | None = None
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Condition:
    """A per-sample choice; by default sample i takes value number i modulo the number of values."""

    name: str
    values: Mapping[str, int]  # name -> the number that the label column holds
    help: str
    passed: Mapping[str, Any] = field(
        default_factory=dict
    )  # name -> what a medigan package gets; the number if left out

    def value_for_package(self, number: int) -> Any:
        """What a package of the medigan contract gets for the value ``number``."""
        name = next(k for k, v in self.values.items() if v == number)
        return self.passed.get(name, number)


@dataclass(frozen=True)
class Input:
    """What a user may give a model to work on, image by image."""

    name: str
    kind: str  # image, mask or volume
    help: str
    shape: tuple[int, ...] = ()  # of one: (C, *spatial); any if ()
    required: bool = True  # whether the package has no default pictures
    argument: str = ""  # of a medigan package's function; the name if left out
    form: str = "folder"  # how a medigan package wants them: one of FORMS
    default: str = ""  # the package's own, a file or folder in it
    # what slices of DICOM and NIfTI are brought to:
    range: tuple[float, float] | None = None
    unit: str = ""  # of `range`, such as HU; grey levels if empty
    spacing: tuple[float, ...] = ()  # mm, in the order of the spatial axes; as it is if ()
    at: tuple[
        float, ...
    ] = ()  # pixel where the middle of a structure comes to lie; that of `shape` if ()
    bits: int = 0  # what the package reads at most, 8 or 16; 0 where the config does not say


@dataclass(frozen=True)
class Call:
    """How the function of a medigan package is called."""

    function: str
    weights: str  # file or folder in the package, given as ``model_file``
    returns: str  # one of RETURNS
    latents: str = ""  # the argument that takes latents; empty if none does
    latent_shape: tuple[int, ...] = ()  # of one sample's; (latent,) if left out
    latents_as: str = "numpy"  # what that argument gets: numpy or torch
    most: int | None = None  # samples in one call; any number if None
    arguments: Mapping[str, Any] = field(default_factory=dict)  # what is always passed


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
    window: tuple[float, float] | None = (
        None  # centre and width by which it is shown; all of `range` if None
    )
    # of the medigan contract:
    element: int = 0  # its place in the tuple
    returned: tuple[float, float] | None = (
        None  # value range of what the package returns; `range` if None
    )
    channels: tuple[int, ...] = ()  # which channels of the element; all if ()
    files: str = ""  # which files of the output folder, such as *_mask.png
    fit: str = "exact"  # what happens to a picture of another size than `shape`: one of FITS

    @property
    def value_range(self) -> tuple[float, float] | None:
        """What becomes [0, 1] wherever values are scaled: loaders, tensors, files, plots.

        `range`, where the config states it. Otherwise all numbers of an unsigned type, and 0 to 1
        for floats. Signed integers without a stated range have none: None.
        """
        return self.range or TYPE_RANGES.get(self.dtype)


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
    inputs: Mapping[str, Input] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    latent: int = 0
    files: Mapping[str, str] = field(default_factory=dict)  # of a folder: file -> sha256
    sha256: str = ""  # of an archive
    sha256_unconfirmed: str = (
        ""  # seen elsewhere than at the source: a mismatch is reported, no more
    )
    md5: str = ""
    mirrors: tuple[str, ...] = ()  # further addresses of the same bytes
    # file beside the config: every package of the environment but the torch family, with hashes
    lock: str = ""
    call: Call | None = None  # of the medigan contract
    size: int | None = None  # bytes to download, or of the folder's files
    batch_size: int = 32
    memory_per_sample: float = 0.0  # MiB at work, beside the weights
    status: str = ""  # one of STATUSES; "" for a model that is ready for use in research

    @property
    def scheme(self) -> str:
        """Where the package comes from: ``bundled``, ``file``, ``zenodo`` ..."""
        return self.source.partition(":")[0]

    @property
    def needs_torch(self) -> bool:
        """Whether the package declares torch."""
        return any(requirement_name(r) == "torch" for r in self.requires)

    @property
    def settable_latents(self) -> int:
        """How many latents a user can set: a medigan package may draw its own and take none."""
        return self.latent if self.call is None or self.call.latents else 0

    @property
    def per_sample(self) -> bool:
        """Whether sample i depends on the seed and i alone, and not on its batch: medigan packages
        may take no latents.
        """
        return self.call is None or bool(self.call.latents) or self.call.most == 1


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
        return (
            f"<{self.id}: {self.name}. {self.description} Versions {versions}. Not for diagnosis.>"
        )

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
        InputError
            ``name`` is not a text.
        """
        if name is None:
            return self.default
        if not isinstance(name, str):
            raise InputError(f"version={reprlib.repr(name)} is not a text.", "Such as '1.0.0'.")
        if name not in self.versions:
            near = difflib.get_close_matches(name, self.versions, n=2)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            raise ModelNotFoundError(
                f"Model {self.id} has no version {name!r}.",
                f"{hint}It has: {', '.join(self.versions)}.",
            )
        return self.versions[name]


def name_of(config: ModelConfig, version: Version) -> str:
    """How errors call a version of a model."""
    return f"{config.id}, version {version.name}"
