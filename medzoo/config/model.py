"""The content of a model config, as frozen dataclasses."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelNotFoundError
from ..plugins import plugin

REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
KINDS = ("image", "mask", "volume", "boxes", "table", "label")
BOX = ("x", "y", "width", "height")  # the numbers of a box; x and y are those of its centre
CONTRACTS = ("native", "medigan", "monai")
DISTRIBUTIONS = ("normal", "uniform")  # of the latents of a MONAI bundle
NOISE = ("latents", "generators")  # where all noise of a MONAI bundle comes from
STATUSES = ("demonstration",)  # samples that are not good enough for research
PRECISIONS = ("full", "bfloat16", "float16")  # of torch's operations while a model runs
DTYPES = ("uint8", "uint16", "int16", "int64", "float32")
# Value range of a column whose config states none. Signed integers have no such range.
TYPE_RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "float32": (0.0, 1.0)}
OPTION_TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
# Types of an option that is a list.
LIST_TYPES: dict[str, type] = {"ints": int, "floats": float, "texts": str}
RETURNS = ("images", "tuples", "arrays", "files")
FORMS = ("folder", "files", "file")
FITS = ("exact", "pad", "resize")
# Schemes of sources: on this machine, and on a network.
LOCAL, REMOTE = ("bundled", "file"), ("zenodo", "https", "hf")
TORCH_FAMILY = {"torch", "torchvision", "torchaudio"}
# Names of attributes of Samples and of keys in a manifest, which a column cannot have.
TAKEN = {
    "columns",
    "outputs",
    "indices",
    "provenance",
    "folder",
    "to_torch",
    "to_torchio",
    "to_monai",
    "to_pandas",
    "montage",
    "plot",
    "save",
    "to_gif",
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
    """The normalised name in a requirement: ``torch`` for ``Torch>=2.6``."""
    match = REQUIREMENT.match(requirement)
    name = match[0] if match else requirement
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Option:
    """An input of a model in addition to its conditions: a named argument of ``generate``."""

    name: str
    type: str  # one of OPTION_TYPES or LIST_TYPES
    default: Any  # if None, the package chooses
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
    # Name -> value that a medigan package gets; its number if the name is left out.
    passed: Mapping[str, Any] = field(default_factory=dict)

    def value_for_package(self, number: int) -> Any:
        """The value that a package of the medigan contract gets for ``number``."""
        name = next(k for k, v in self.values.items() if v == number)
        return self.passed.get(name, number)


@dataclass(frozen=True)
class Input:
    """Images that a user gives to a model, which makes its samples from them."""

    name: str
    kind: str  # image, mask or volume
    help: str
    shape: tuple[int, ...] = ()  # of one: (C, *spatial); any if ()
    required: bool = True  # whether the package has no default pictures
    argument: str = ""  # of a medigan package's function; the name if left out
    form: str = "folder"  # how a medigan package wants them: one of FORMS
    default: str = ""  # the package's own, a file or folder in it
    # DICOM and NIfTI images are converted to:
    range: tuple[float, float] | None = None
    unit: str = ""  # of `range`, such as HU; grey levels if empty
    spacing: tuple[float, ...] = ()  # mm, in the order of the spatial axes; as it is if ()
    at: tuple[float, ...] = ()  # pixel of the middle of a structure; the middle of `shape` if ()
    bits: int = 0  # the most that the package reads, 8 or 16; 0 if the config does not say
    geometry: str = ""  # the input whose grid it must have; any if empty


@dataclass(frozen=True)
class Call:
    """How the function of a medigan package is called."""

    function: str
    weights: str  # file or folder in the package, given as ``model_file``
    returns: str  # one of RETURNS
    latents: str = ""  # the argument that takes latents; empty if none does
    latent_shape: tuple[int, ...] = ()  # of one sample's; (latent,) if left out
    latents_as: str = "numpy"  # type of that argument: numpy or torch
    most: int | None = None  # most samples in one call; any number if None
    own_noise: bool = False  # whether it draws noise beside the latents, for a call as a whole
    arguments: Mapping[str, Any] = field(default_factory=dict)  # what is always passed


@dataclass(frozen=True)
class Network:
    """A network of a MONAI bundle, and how its file of weights is loaded."""

    reference: str  # of the network in the workflow
    load: str = ""  # the reference that loads the file; medzoo loads it if empty


@dataclass(frozen=True)
class Bundle:
    """How the workflow of a MONAI bundle is run."""

    workflow: tuple[str, ...]  # files in the bundle, such as configs/inference.json
    noise: str  # one of NOISE
    set: Mapping[str, Any] = field(default_factory=dict)  # reference -> value, set before it runs
    networks: Mapping[str, Network] = field(default_factory=dict)  # file of weights -> its network
    latents: str = ""  # the reference that takes latents; empty if none does
    latent_shape: tuple[int, ...] = ()  # of one sample's
    latents_as: str = "tensor"  # (n, *latent_shape), or a list of n tensors
    distribution: str = "normal"  # one of DISTRIBUTIONS, or the option that chooses one
    options: Mapping[str, Any] = field(default_factory=dict)  # option -> reference; its own name
    conditions: Mapping[str, Any] = field(default_factory=dict)  # the same for conditions
    steps: str = ""  # the option that sets the number of steps
    trained_steps: int = 0
    most: int | None = None  # most samples at a time; any number if None
    run: tuple[str, ...] = ()  # references that write the files to read back


@dataclass(frozen=True)
class Part:
    """A file of a package that has its own address, such as its weights."""

    source: str
    sha256: str = ""
    sha1: str = ""
    md5: str = ""
    size: int | None = None
    mirrors: tuple[str, ...] = ()


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
    condition: str | None = None  # the condition whose values a label column has
    columns: tuple[str, ...] = ()  # names of a table's columns
    classes: str = ""  # the label column that says what is in the boxes of a sample
    tolerance: float = 0.0  # how much a value may change with batch size or threads
    # Centre and width of the values that are shown; all of `range` if None.
    window: tuple[float, float] | None = None
    # The input on whose grid its pictures lie: their size, spacing and place, where it is given.
    geometry: str = ""
    zoom: str = ""  # the option that says how many times smaller its voxels are
    # mm, in the order of the spatial axes: where the first voxel lies, of a column that is zoomed
    origin: tuple[float, ...] | None = None
    # of the medigan contract:
    element: int = 0  # its place in the tuple
    # Value range of the values that the package returns; `range` if None.
    returned: tuple[float, float] | None = None
    channels: tuple[int, ...] = ()  # which channels of the element; all if ()
    files: str = ""  # which files of the output folder, such as *_mask.png
    fit: str = "exact"  # what happens to a picture of another size than `shape`: one of FITS
    # of the monai contract:
    reference: str = ""  # of the samples in the workflow, or an expression that begins with $
    axes: tuple[str, ...] = ()  # where each axis of space leads, such as R, A, S

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The values that become [0, 1] in loaders, tensors, files and plots.

        This is `range` if the config states it. Otherwise it is all numbers of an unsigned type,
        and 0 to 1 for floats. It is None for signed integers without `range`.
        """
        return self.range or TYPE_RANGES.get(self.dtype)

    def zoomed(self, options: Mapping[str, Any]) -> Output:
        """The column as ``options`` make it: smaller voxels, and more of them in the same field.

        Examples
        --------
        >>> grid = {"shape": (1, 64, 64, 64), "spacing": (1, 1, 1)}
        >>> volumes = Output("volumes", "volume", "uint8", **grid, zoom="zoom")
        >>> finer = volumes.zoomed({"zoom": 2})
        >>> finer.shape, finer.spacing, finer.origin
        ((1, 128, 128, 128), (0.5, 0.5, 0.5), (-0.25, -0.25, -0.25))
        """
        factor = options[self.zoom] if self.zoom else 1
        if factor == 1:
            return self
        spacing = tuple(mm / factor for mm in self.spacing or ())
        return replace(
            self,
            shape=(self.shape[0], *(factor * side for side in self.shape[1:])),
            spacing=spacing,
            origin=tuple((1 - factor) * mm / 2 for mm in spacing),
            zoom="",
        )


@dataclass(frozen=True)
class DataSet:
    """What a model was trained on."""

    name: str
    license: str
    doi: str = ""
    citation: str = ""


@dataclass(frozen=True)
class Metric:
    """A reported measure of quality; comparable only with values on the same data set."""

    name: str
    value: float
    dataset: str
    samples: int | None = None
    better: str = "lower"
    source: str = ""


@dataclass(frozen=True)
class Version:
    """One version of a model, with everything that may differ between versions."""

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
    sha256_unconfirmed: str = ""  # not from the source itself: a mismatch is only reported
    sha1: str = ""
    md5: str = ""
    doi: str = ""  # of the published package
    mirrors: tuple[str, ...] = ()  # further addresses of the same bytes
    parts: Mapping[str, Part] = field(default_factory=dict)  # file of the package -> its address
    # file beside the config: every package of the environment but the torch family, with hashes
    lock: str = ""
    call: Call | None = None  # of the medigan contract
    bundle: Bundle | None = None  # of the monai contract
    size: int | None = None  # bytes to download, or of the folder's files
    batch_size: int = 32
    memory_per_sample: float = 0.0  # MiB while it runs, in addition to the weights
    pickled: bool = False  # whether its weights are more than tensors, so that it needs trust
    status: str = ""  # one of STATUSES; "" for a model that is ready for use in research

    @property
    def scheme(self) -> str:
        """Where the package comes from: ``bundled``, ``file``, ``zenodo`` ..."""
        return self.source.partition(":")[0]

    @property
    def needs_trust(self) -> bool:
        """Whether a registered model runs only with ``trust=True``, as far as its config tells."""
        has_digest = bool(self.files or self.sha256 or self.md5) or self.scheme == "zenodo"
        return self.pickled or not has_digest

    @property
    def is_seen_running(self) -> bool:
        """Whether its package was seen running: then the config has the digest of that download."""
        return self.scheme in LOCAL or bool(self.sha256)

    @property
    def needs_torch(self) -> bool:
        """Whether the package declares torch."""
        return any(requirement_name(r) == "torch" for r in self.requires)

    @property
    def settable_latents(self) -> int:
        """The number of latents that a user can set. Some medigan packages draw their own."""
        return self.latent if self.call is None or self.call.latents else 0

    @property
    def named_files(self) -> tuple[str, ...]:
        """The files of a package that its config names: weights, and the workflow of a bundle."""
        if self.bundle:
            return (*self.bundle.workflow, *self.bundle.networks)
        return (self.call.weights,) if self.call else ()

    @property
    def seeding(self) -> str:
        """What a seed decides: each ``sample``, in its latents or stream; each sample by the global
        ``generators``, which are seeded for it; or a ``batch``.
        """
        if self.bundle and self.bundle.noise == "generators":
            return "generators"
        return "sample" if self.per_sample else "batch"

    @property
    def per_sample(self) -> bool:
        """Whether sample i depends only on the seed and i, and not on its batch.

        It does not for medigan packages that take no latents, or draw noise of their own beside
        them, unless they are asked for one sample at a time.
        """
        if self.call is None or self.call.most == 1:
            return True
        return bool(self.call.latents) and not self.call.own_noise


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

    def _repr_html_(self) -> str:
        """A picture of samples and what is known, for notebooks."""
        return str(plugin("notebook", "model").html(self))

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
    """The name of a version of a model in error messages."""
    return f"{config.id}, version {version.name}"
