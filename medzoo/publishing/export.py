"""``medzoo export``: a model as ONNX, TorchScript, a MONAI bundle or a bioimage.io model.

What is written is the graph of the package (`medzoo.runtime.graph`). Before a folder gets its name,
the file in it was run at several batch sizes, and gave the samples that medzoo makes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, checks, files, settings
from ..config import ModelConfig, Output, Version, name_of
from ..config.columns import distance
from ..errors import InputError, NotAvailableError, PackageError
from ..generation.request import Request
from ..packages.preparation import prepare
from ..plugins import PLUGINS, plugin
from ..provenance import outputs_as_json
from ..registry import is_local, resolve
from ..runtime import Execution
from ..runtime.graph import (
    CONDITION,
    LATENTS,
    MADE,
    NORMAL,
    UNIFORM,
    Graph,
    GraphInput,
    check_options,
)
from ..runtime.native import NativeSession
from .zenodo_metadata import NOT_FOR_DIAGNOSIS

Array = NDArray[Any]
FORMATS = tuple(PLUGINS["export"])
MANIFEST, INPUTS, EXPECTED, CARD = "export.json", "inputs.npz", "expected.npz", "card.md"
SHOWN = 4  # samples in inputs.npz
CHECKED = (range(2000, 2001), range(3000, 3002), range(4000, 4011))  # samples of each batch
MOST = 2**40  # samples that conditions are numbered for
WITHOUT_TOLERANCE = 1e-4  # of the value range, for floats whose config states no tolerance


@dataclass(frozen=True)
class Exported:
    """An exported model; print it for what to do with it.

    Parameters
    ----------
    folder
        Where it is.
    format
        One of ``onnx``, ``torchscript``, ``monai`` and ``bioimageio``.
    inputs
        What the graph takes: one line for each input.
    outputs
        The columns that it returns.
    differences
        Column -> the largest difference to medzoo's own samples, in the batches that were compared.
    run
        The command that runs it.
    """

    folder: Path
    format: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    differences: Mapping[str, float]
    run: str

    def __str__(self) -> str:
        most = ", ".join(f"{name} {value:g}" for name, value in self.differences.items())
        sizes = ", ".join(str(len(samples)) for samples in CHECKED)
        return "\n".join(
            [
                f"{self.folder}: {self.format}",
                "takes    " + "\n         ".join(self.inputs),
                "returns  " + ", ".join(self.outputs),
                f"checked  in batches of {sizes}; largest difference: {most}",
                f"run      {self.run}",
            ]
        )


@dataclass(frozen=True)
class Source:
    """What is exported: a version of a model with its options, and its graph."""

    config: ModelConfig
    version: Version
    graph: Graph
    options: Mapping[str, Any]
    digests: Mapping[str, str]
    weights: str | os.PathLike[str] | None = None
    differences: dict[str, float] = field(default_factory=dict)

    @property
    def outputs(self) -> dict[str, Output]:
        """The columns that the graph returns."""
        return {name: self.version.outputs[name] for name in self.graph.outputs}

    @property
    def title(self) -> str:
        """The model and its version."""
        return name_of(self.config, self.version)

    def compare(self, run: Any) -> None:
        """Run what was written, and compare the samples with medzoo's own.

        Parameters
        ----------
        run
            Takes inputs by name, and returns columns by name.

        Raises
        ------
        PackageError
            It fails, or makes other samples.
        """
        for samples in CHECKED:
            given, right = self.graph.pair(samples)
            try:
                made = run(given)
            except Exception as error:
                raise PackageError(
                    f"{self.title} was exported, and fails on {len(samples)} samples: {error}",
                    "Nothing was kept. Another format may work.",
                ) from error
            for name, output in self.outputs.items():
                self._compare_column(output, np.asarray(made[name]), right[name])

    def _compare_column(self, output: Output, made: Array, right: Array) -> None:
        allowed = allowed_difference(output)
        same_form = made.shape == right.shape and made.dtype == right.dtype
        found = distance(made, right) if same_form else np.inf
        if found > allowed:
            what = f"differs by {found:g}, and {allowed:g} is allowed"
            raise PackageError(
                f"{self.title} was exported, and its {output.name!r} is not what medzoo makes: "
                + (what if same_form else f"it is {made.dtype} {made.shape}")
                + f" (a batch of {len(right)} samples).",
                "Nothing was kept. Another format may work.",
            )
        self.differences[output.name] = max(found, self.differences.get(output.name, 0.0))

    def about(self) -> dict[str, Any]:
        """What ``export.json`` says."""
        import torch

        version = self.version
        return {
            "model": self.config.id,
            "name": self.config.name,
            "version": version.name,
            "sha256": dict(self.digests),
            "options": dict(self.options),
            "synthetic": True,
            "status": version.status or "research; not for diagnosis",
            "license": version.license,
            "authors": list(version.authors),
            "citation": version.citation,
            "datasets": [{"name": d.name, "license": d.license} for d in version.datasets],
            "inputs": [input_facts(one, version) for one in self.graph.inputs],
            "outputs": outputs_as_json(self.outputs),
            "not_in_the_graph": list(self.graph.absent),
            "libraries": {"medzoo": __version__, "torch": torch.__version__},
            "checked": {
                "batch_sizes": [len(samples) for samples in CHECKED],
                "largest_difference": self.differences,
            },
        }


def allowed_difference(output: Output) -> float:
    """How much a value may differ: the tolerance of the config; without one nothing for whole
    numbers, and 0.0001 of the value range for floats.
    """
    if output.tolerance or not output.dtype.startswith("float"):
        return output.tolerance
    low, high = output.value_range or (0.0, 1.0)
    return WITHOUT_TOLERANCE * (high - low)


def input_facts(one: GraphInput, version: Version) -> dict[str, Any]:
    """An input, for people and programs."""
    return {
        "name": one.name,
        "dtype": one.dtype,
        "shape": ["n", *one.shape],
        "origin": one.origin,
        "values": values_of(one, version),
    }


def values_of(one: GraphInput, version: Version) -> str:
    """Which values an input takes, in words."""
    if one.origin == CONDITION:
        numbers = version.conditions[one.name].values.items()
        return ", ".join(f"{number}: {name}" for name, number in numbers)
    if one.origin == MADE:
        return "computed by medzoo from latents, conditions and noise"
    if one.origin in (LATENTS, NORMAL):
        return "standard normal"
    if one.origin == UNIFORM:
        return "uniform, 0 to 1"
    return "uniform, -128 to 127" if one.dtype == "int8" else "uniform, 0 to 255"


@checks.checked(format=checks.text, out=checks.path)
def export(
    model_id: int | str | os.PathLike[str],
    format: str,  # noqa: A002
    out: str | os.PathLike[str],
    *,
    version: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    trust: bool = False,
    **options: Any,
) -> Exported:
    """Write a model in a format that runs without medzoo, for batches of any size.

    It works for native packages that compute with torch. The exported graph takes latents,
    conditions and noise as inputs, so it gives the samples of medzoo for the latents and the noise
    of medzoo. It is compared with medzoo at several batch sizes before the folder gets its name.

    Parameters
    ----------
    model_id : int, str or path-like
        A number, an id, the unique beginning of an id, or the path of a package folder.
    format : str
        ``onnx``, ``torchscript``, ``monai`` (a MONAI bundle) or ``bioimageio`` (a bioimage.io
        model).
    out : str or path-like
        A new folder.
    version : str, optional
        A version of the model.
    weights : str or path-like, optional
        A .safetensors file to use instead of the package's own weights.
    trust : bool, optional
        Allow what no registry vouches for.
    **options : optional
        The model's own options, such as ``steps``. They are constants of the graph.

    Returns
    -------
    Exported
        The folder, what the graph takes and returns, and how to run it.

    Raises
    ------
    PackageError
        The package has no such graph, or what was written makes other samples. Nothing is kept.
    InputError
        The model is not a native package, or an argument is wrong.
    NotAvailableError
        A library that writes the format, or runs it, is not installed.
    DatasetError
        The folder holds something already.

    Examples
    --------
    >>> exported = medzoo.export(8, "torchscript", "exported")  # doctest: +SKIP
    >>> exported.outputs  # doctest: +SKIP
    ('images',)
    """
    if format not in FORMATS:
        raise InputError(
            f"format={checks.shown(format)} is not a format to export to.",
            f"{checks.meant(format, FORMATS)}Give {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.",
        )
    config = resolve(model_id)
    chosen = config.version(version)
    _check_exportable(config, chosen, format)
    check_options(options, chosen.conditions)
    writer = plugin("export", format)
    _check_installed(format, writer.NEEDS)
    request = Request.of(config, chosen, MOST, seed=0, options=options)
    target = settings.user_path(out, "out")
    with files.new_folder(target) as folder:
        execution = Execution("cpu", weights=weights, env="current", trust=trust)
        session, package = _opened(config, chosen, execution)
        graph = session.graph(request.batch)
        source = Source(config, chosen, graph, dict(request.options), session.digests, weights)
        writer.write(folder, source)
        given, right = source.graph.pair(range(SHOWN))
        np.savez(folder / INPUTS, **given)  # type: ignore[arg-type]
        np.savez(folder / EXPECTED, **right)  # type: ignore[arg-type]
        files.write_json(folder / MANIFEST, {**source.about(), "format": format})
        _write_texts(folder, source, format, writer)
        _copy_card(package, folder)
    return Exported(
        target,
        format,
        tuple(_line(one, chosen) for one in source.graph.inputs),
        tuple(source.outputs),
        source.differences,
        writer.RUN.format(folder=quote(str(target))),
    )


@checks.checked()
def graph_inputs(
    model_id: int | str | os.PathLike[str],
    n: int,
    *,
    seed: int,
    first: int = 0,
    version: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    trust: bool = False,
    **options: Any,
) -> dict[str, Array]:
    """The inputs with which an exported graph gives the samples of `medzoo.generate`.

    Parameters
    ----------
    model_id : int, str or path-like
        The model that was exported.
    n : int
        How many samples.
    seed : int
        Root seed of the samples.
    first : int, optional
        Number of the first sample.
    version : str, optional
        A version of the model.
    weights : str or path-like, optional
        The .safetensors file that the model was exported with, if it was not the package's own.
    trust : bool, optional
        Allow what no registry vouches for.
    **options : optional
        Options and conditions, and ``latents``, as `medzoo.generate` takes them.

    Returns
    -------
    dict of str to array
        Input -> its values, one row for each sample.

    Raises
    ------
    PackageError
        The package has no graph.
    InputError
        An argument is wrong.

    Examples
    --------
    >>> inputs = medzoo.publishing.graph_inputs(8, 2, seed=1)
    >>> inputs["latents"].shape
    (2, 512)
    """
    config = resolve(model_id)
    chosen = config.version(version)
    _check_exportable(config, chosen, "onnx")
    request = Request.of(config, chosen, n, seed=seed, first=first, options=options)
    execution = Execution("cpu", weights=weights, env="current", trust=trust)
    session, _ = _opened(config, chosen, execution)
    plain = Request.of(config, chosen, MOST, seed=0, options=dict(request.options))
    graph = session.graph(plain.batch)
    size, stop = chosen.batch_size, first + request.n
    parts = [
        graph.arrays_of(request.batch(range(start, min(start + size, stop))))
        for start in range(first, stop, size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_exportable(config: ModelConfig, version: Version, format: str) -> None:  # noqa: A002
    """Refuse what is not a native package."""
    if version.contract == "native":
        return
    hint = "Native packages can be exported; `medzoo info MODEL` names the contract."
    if version.contract == "monai":
        hint = f"It is a MONAI bundle already: `medzoo copy {config.number} DIR` writes it."
    raise InputError(
        f"{name_of(config, version)} is a package of the {version.contract} contract, and cannot "
        f"be exported as {format}.",
        hint,
    )


def _check_installed(format: str, needs: tuple[str, ...]) -> None:  # noqa: A002
    missing = [name for name in needs if not _is_installed(name)]
    if missing:
        raise NotAvailableError(
            f"The format {format} needs {', '.join(missing)}, which is not installed.",
            "pip install 'medzoo[export]'",
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a name with a dot
        return False


def _opened(
    config: ModelConfig, version: Version, execution: Execution
) -> tuple[NativeSession, Path]:
    """The package, loaded into this interpreter, and its folder."""
    checks.flag(execution.trust, "trust")
    package, _ = prepare(config, version, env=execution.env, trust=execution.trust)
    return NativeSession(config, version, package, execution), package.path


def _line(one: GraphInput, version: Version) -> str:
    size = " x ".join(map(str, ("n", *one.shape)))
    return f"{one.name} ({size}), {one.dtype}: {values_of(one, version)}"


def _write_texts(folder: Path, source: Source, format: str, writer: Any) -> None:  # noqa: A002
    """The README of the export, and the model's own card with its pictures."""
    config, version = source.config, source.version
    inputs = "\n".join(
        f"| `{one.name}` | {one.dtype} | {' x '.join(map(str, ('n', *one.shape)))} | "
        f"{values_of(one, version)} |"
        for one in source.graph.inputs
    )
    outputs = "\n".join(
        f"| `{o.name}` | {o.dtype} | {' x '.join(map(str, ('n', *o.shape)))} | {_range(o)} |"
        for o in source.outputs.values()
    )
    constants = ", ".join(f"{name} = {value}" for name, value in source.options.items())
    absent = ""
    if source.graph.absent:
        absent = (
            f"\nNot in the graph, since torch does not make it: {', '.join(source.graph.absent)}.\n"
        )
    text = README.format(
        name=config.name,
        format=format,
        title=source.title,
        medzoo=__version__,
        warning=NOT_FOR_DIAGNOSIS,
        license=version.license,
        citation=version.citation,
        run=writer.RUN.format(folder=".").removeprefix("cd . && "),
        more=writer.more(source),
        inputs=inputs,
        outputs=outputs,
        constants=f"\nOptions are constants of the graph: {constants}.\n" if constants else "",
        absent=absent,
        call=_call(source),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "LICENSE.txt").write_text(
        f"{version.license}\n\n{version.citation}\n", encoding="utf-8"
    )


def _call(source: Source) -> str:
    """The arguments with which `graph_inputs` makes the inputs of this very export."""
    config, own = source.config, is_local(source.config)
    arguments: dict[str, Any] = {"seed": 1}
    if source.version.name != config.default.name:
        arguments["version"] = source.version.name
    if source.weights is not None:
        arguments["weights"] = os.fspath(source.weights)
    if own:
        arguments["trust"] = True
    arguments |= source.options
    model = str(config.path.parent) if own else config.number
    listed = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{model!r}, 100, {listed}"


def _copy_card(package: Path, folder: Path) -> None:
    """The model's card, and the pictures in it."""
    card = package / "README.md"
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8")
    (folder / CARD).write_text(text, encoding="utf-8")
    for name in re.findall(r"\]\(([\w.-]+\.(?:png|gif|jpg))\)", text):
        if (package / name).is_file():
            shutil.copyfile(package / name, folder / name)


def _range(output: Output) -> str:
    low, high = output.value_range or (None, None)
    return f"{low:g} to {high:g} {output.unit}".strip() if low is not None else output.unit


README = """\
# {name}, as {format}

Exported from {title} by medzoo {medzoo}. {warning}

License: {license}. {citation}

## Run it

```console
{run}
```

{more}

## Inputs

`inputs.npz` holds inputs of four samples, and `expected.npz` what medzoo makes of them. The number
of samples n is free.

| input | type | shape | values |
|---|---|---|---|
{inputs}
{constants}
Inputs with which the graph gives the samples of `medzoo.generate`:

```python
import medzoo
import numpy

numpy.savez("more.npz", **medzoo.publishing.graph_inputs({call}))
```

## Outputs

| output | type | shape | values |
|---|---|---|---|
{outputs}
{absent}
`export.json` says the same for programs, with the digests of the package, its training data, and
how much the exported model differed from medzoo when it was compared. `card.md` is the card of the
model, if it has one.
"""
