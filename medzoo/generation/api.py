"""From a model id to samples: ``generate``, ``stream``, ``load``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from .. import checks
from ..datasets.layout import Arrangement
from ..registry import resolve
from ..runtime import Execution, Ray
from ..samples import Samples
from .job import Job
from .model import Model
from .run import open_model


@checks.checked()
def load(
    model_id: int | str | os.PathLike[str],
    *,
    version: str | None = None,
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    env: str = "auto",
    trust: bool = False,
    precision: str = "full",
    engine: str | Ray | None = None,
) -> Model:
    """Load a model once, to generate many times; a context manager.

    Parameters
    ----------
    model_id
        A number, an id, the unique beginning of one, or the path of a package folder.
    version
        A version of the model; the default one if None.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``; a ``torch.device``, or a GPU's number.
    weights
        A .safetensors file to run the model's code with, of the same tensor names and shapes.
    env
        Where its code runs. ``isolated``: in an environment of the model's own, built on first use
        and shared by models with the same dependencies, in a separate process. ``current``: with
        the packages that are installed here. ``auto``: the current one for a package that came with
        medzoo or lies on this machine, if it has what the package declares; isolated otherwise.
    trust
        Run what no registry vouches for: a package given by its path, or weights that only pickle
        can read, which can do anything that you can. Recorded in the provenance.
    precision
        ``full``; or ``bfloat16`` or ``float16`` for mixed precision by ``torch.autocast``, which is
        faster where the device has instructions for it, and changes pixels. Recorded in the
        provenance. Native packages on torch have it.
    engine
        ``ray``: on the actors of a Ray cluster, as many as it has room for, or those of one that is
        started on this machine; a `medzoo.Ray` says which and how many. The samples are the same.
        None: in one process.

    Raises
    ------
    ModelNotFoundError, ConfigError, SourceError, IntegrityError, PackageError
        The model cannot be found, fetched, verified or loaded.
    TrustError
        It runs only with ``trust=True``.
    BuildError
        Its environment cannot be built.
    WorkerError
        Its process ended or hung while it loaded.
    InputError
        The device does not exist here, the weights do not fit, or the model has no such precision.
    OutOfMemoryError
        The model itself does not fit into memory.

    Examples
    --------
    >>> with medzoo.load(8) as model:
    ...     one = model.generate(seed=1)
    ...     more = model(16, condition="benign")
    """
    execution = Execution(
        device=device, weights=weights, env=env, trust=trust, precision=precision, engine=engine
    )
    config = resolve(model_id)
    return open_model(Model, config, config.version(version), execution)


@checks.checked()
def generate(
    model_id: int | str | os.PathLike[str],
    n: int | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002
    layout: str | None = None,
    shard_size: int | str | None = None,
    shard_samples: int | None = None,
    seed: int | None = None,
    first: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    version: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    inputs: Any = None,
    env: str = "auto",
    trust: bool = False,
    precision: str = "full",
    engine: str | Ray | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Samples:
    """Make ``n`` samples of a model.

    Sample i depends on the model version, the seed, i and its condition alone: ``n=10`` is the head
    of ``n=20``, whatever the batch size.

    Parameters
    ----------
    model_id
        A number, an id, the unique beginning of one, or the path of a package folder: 8, "00008",
        "mine/".
    n
        How many; one if None, or one for each of ``inputs``.
    out
        A new folder to write to as well. Memory then does not grow with ``n``, and the samples
        returned are read back from the files when asked for. A run that was stopped there
        continues; a finished set is left as it is, or grows where ``n`` is larger.
    format
        ``png``, ``png16``, ``nifti``, ``dicom``, ``csv``, ``npz`` or ``webdataset``, as
        docs/datasets.md says; the first of png, csv and npz that fits if None. Needs ``out``.
    layout
        ``classes``: one folder per label, ``images/malignant/000007.png``, and the labels in
        ``metadata.jsonl``. ``classes:NAME`` where there are several label columns.
    shard_size, shard_samples
        Of ``webdataset``: a shard ends when it has so many bytes (a number, or ``64MB``), or so
        many samples; at 256 MiB if both are None.
    seed
        Root seed, 0 to 2**64 - 1; a fresh one if None, or that of the set in ``out``. It is in the
        provenance.
    first
        Number of the first sample: samples ``first`` to ``first + n - 1`` of the seed.
    batch_size
        Samples a batch. If None the model's own, fewer where little memory is free, up to 256 on a
        CUDA device with room for them. Halved when memory runs out.
    device, version, weights, env, trust, precision, engine
        See `load`.
    inputs
        Your own images for a model that works on some: a folder, a list of files, an array (n, C,
        H, W), or a mapping from the input's name to one of these. Sample i works on input i modulo
        their number.
    progress
        Draw a progress bar; only at a terminal if None.
    **options
        The model's own inputs: its conditions, by name, by number or as a list of ``n`` of these
        (``condition="malignant"``), ``latents`` of shape (n, latent size), and what its config
        lists under ``options``.

    Returns
    -------
    Samples
        Columns such as ``images`` (n, C, H, W) and ``labels`` (n,), with provenance.

    Raises
    ------
    InputError
        An argument is unknown, of the wrong type or out of range.
    DatasetError
        ``out`` holds something else, or cannot be written.
    OutOfMemoryError
        Not even one sample fits.
    PackageError, WorkerError
        The model's code failed, or its process ended or hung; the message ends with what it printed
        last.
    MedzooError
        Whatever `load` raises.

    Examples
    --------
    >>> samples = medzoo.generate(model_id=8, n=500)
    >>> samples.images.shape, samples.labels.sum()
    ((500, 1, 128, 128), 250)
    """
    execution = Execution(
        device=device, weights=weights, env=env, trust=trust, precision=precision, engine=engine
    )
    job = Job.of(
        model_id,
        n,
        version=version,
        execution=execution,
        out=out,
        format=format,
        arrangement=Arrangement(layout, shard_size, shard_samples),
        seed=seed,
        first=first,
        inputs=inputs,
        options=options,
        batch_size=batch_size,
    )
    existing = job.existing()
    return job.run(progress=progress) if existing is None else existing


@checks.checked()
def stream(
    model_id: int | str | os.PathLike[str],
    n: int,
    *,
    batch_size: int | None = None,
    seed: int | None = None,
    first: int = 0,
    device: str = "auto",
    version: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    inputs: Any = None,
    env: str = "auto",
    trust: bool = False,
    precision: str = "full",
    engine: str | Ray | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Iterator[Samples]:
    """Make ``n`` samples batch by batch, so that memory is bounded by the batch; arguments as in
    `generate`.

    Yields
    ------
    Samples
        ``batch_size`` samples, the last batch perhaps fewer.
    """
    execution = Execution(
        device=device, weights=weights, env=env, trust=trust, precision=precision, engine=engine
    )
    job = Job.of(
        model_id,
        n,
        version=version,
        execution=execution,
        seed=seed,
        first=first,
        inputs=inputs,
        options=options,
        batch_size=batch_size,
    )
    return job.stream(progress=progress)
