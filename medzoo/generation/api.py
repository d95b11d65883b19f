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
    sandbox: str = "auto",
    precision: str = "full",
    engine: str | Ray | None = None,
) -> Model:
    """Load a model once, to generate many times.

    Parameters
    ----------
    model_id : int, str or path-like
        A number, an id, the unique beginning of an id, or the path of a package folder.
    version : str, optional
        A version of the model. The default is the version that its config names as the default.
    device : str, optional
        ``auto`` (the default), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. A ``torch.device`` or the
        number of a GPU also works.
    weights : str or path-like, optional
        A .safetensors file to use instead of the package's own weights. The names and shapes of its
        tensors must be the same.
    env : str, optional
        Where the package's code runs. ``isolated``: in a separate process, in the model's own
        environment. The environment is built on first use, and models with the same dependencies
        share it. ``current``: with the packages that are installed here. ``auto`` (the default):
        ``current`` for a package that came with medzoo or lies on this machine, if everything that
        it declares is installed; ``isolated`` otherwise.
    trust : bool, optional
        Allow what no registry vouches for: a package given by its path, or weights that only pickle
        can read. Such code can do anything that you can do. It is recorded in the provenance.
    sandbox : str, optional
        Whether code that did not come with medzoo is contained: no files but its own, no network,
        limited memory. ``auto`` (the default): as far as the system can, in the model's own
        process. ``on``: fully, and always in its own process; refused where the system cannot.
        ``off``: not at all. docs/security.md has the details. What held is in the provenance.
    precision : str, optional
        ``full`` (the default), ``bfloat16`` or ``float16``. The last two are mixed precision by
        ``torch.autocast``: faster on a device that supports the type, but pixels change. Only
        native packages on torch support it. It is recorded in the provenance.
    engine : str or Ray, optional
        ``ray``: run on the actors of a Ray cluster, as many as it has room for. If there is no
        cluster, Ray is started on this machine. A `medzoo.Ray` says which cluster and how many
        actors. The samples are the same. The default is a single process.

    Returns
    -------
    Model
        The loaded model, which is a context manager. Leaving the ``with`` block frees its memory.

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
        The device does not exist here, the weights do not fit, or the model does not support the
        precision.
    OutOfMemoryError
        The model itself does not fit into memory.

    Examples
    --------
    >>> with medzoo.load(8) as model:
    ...     one = model.generate(seed=1)
    ...     more = model(3, condition="benign", seed=2)
    >>> one.images.shape, more.labels
    ((1, 1, 128, 128), array([0, 0, 0]))
    """
    execution = Execution(
        device=device,
        weights=weights,
        env=env,
        trust=trust,
        sandbox=sandbox,
        precision=precision,
        engine=engine,
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
    sandbox: str = "auto",
    precision: str = "full",
    engine: str | Ray | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Samples:
    """Make ``n`` samples with a model.

    Sample i depends only on the model version, the seed, i and its condition. So the first 10 of 20
    samples are the same as the samples of ``n=10``, whatever the batch size.

    Parameters
    ----------
    model_id : int, str or path-like
        A number, an id, the unique beginning of an id, or the path of a package folder: 8, "00008",
        "mine/".
    n : int, optional
        How many samples. The default is 1, or one for each of ``inputs``.
    out : str or path-like, optional
        A new folder to write to. Memory use then does not grow with ``n``, and the returned samples
        are read from the files when they are needed. A run that was stopped continues. A finished
        set is left unchanged, or grows if ``n`` is larger.
    format : str, optional
        ``png``, ``png16``, ``nifti``, ``dicom``, ``csv``, ``npz`` or ``webdataset``; see
        docs/datasets.md. The default is the first of png, csv and npz that can hold every column.
        Needs ``out``.
    layout : str, optional
        ``classes``: one folder per label, such as ``images/malignant/000007.png``, and the labels
        in ``metadata.jsonl``. Write ``classes:NAME`` if there are several label columns.
    shard_size : int or str, optional
        For ``webdataset``: a shard ends when it has this many bytes (a number, or ``64MB``). The
        default is 256 MiB if ``shard_samples`` is not given either.
    shard_samples : int, optional
        For ``webdataset``: a shard ends when it has this many samples.
    seed : int, optional
        Root seed, 0 to 2**64 - 1. The default is the seed of the set in ``out``, or a new random
        one. It is recorded in the provenance.
    first : int, optional
        Number of the first sample, 0 by default: samples ``first`` to ``first + n - 1`` of the seed
        are made.
    batch_size : int, optional
        Samples per batch. The default is the model's own batch size, smaller if little memory is
        free, and up to 256 on a CUDA device with enough memory. It is halved if memory runs out.
    device, version, env, precision : str, optional
        See `medzoo.load`.
    weights : str or path-like, optional
        See `medzoo.load`.
    inputs : str, path-like, list, dict or array, optional
        Your own images, for a model that works on images: a folder, a list of files, an array of
        shape (n, C, H, W), or a mapping from the name of the input to one of these. Sample i uses
        input i modulo their number.
    trust : bool, optional
        See `medzoo.load`.
    sandbox : str, optional
        See `medzoo.load`.
    engine : str or Ray, optional
        See `medzoo.load`.
    progress : bool, optional
        Whether to draw a progress bar. By default only at a terminal.
    **options : optional
        The model's own inputs. Its conditions, by name, by number, or as a list of ``n`` of these
        (``condition="malignant"``); ``latents``, an array of shape (n, latent size); and what its
        config lists under ``options``.

    Returns
    -------
    Samples
        Columns such as ``images`` (n, C, H, W) and ``labels`` (n,), with provenance.

    Raises
    ------
    InputError
        An argument is unknown, has the wrong type or is out of range.
    DatasetError
        ``out`` holds something else, or cannot be written.
    OutOfMemoryError
        Not even one sample fits into memory.
    PackageError, WorkerError
        The model's code failed, or its process ended or hung. The message ends with what the
        process printed last.
    MedzooError
        Any error that `medzoo.load` raises.

    Examples
    --------
    >>> samples = medzoo.generate(8, 4, out="masses", seed=1)
    >>> samples.images.shape, samples.labels
    ((4, 1, 128, 128), array([0, 1, 0, 1]))
    """
    execution = Execution(
        device=device,
        weights=weights,
        env=env,
        trust=trust,
        sandbox=sandbox,
        precision=precision,
        engine=engine,
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
    sandbox: str = "auto",
    precision: str = "full",
    engine: str | Ray | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Iterator[Samples]:
    """Make ``n`` samples batch by batch. Only one batch is in memory at a time.

    Parameters
    ----------
    model_id : int, str or path-like
        See `medzoo.generate`.
    n : int
        How many samples in all.
    batch_size, seed, first : int, optional
        See `medzoo.generate`.
    device, version, env, precision : str, optional
        See `medzoo.load`.
    weights : str or path-like, optional
        See `medzoo.load`.
    inputs : str, path-like, list, dict or array, optional
        See `medzoo.generate`.
    trust : bool, optional
        See `medzoo.load`.
    sandbox : str, optional
        See `medzoo.load`.
    engine : str or Ray, optional
        See `medzoo.load`.
    progress : bool, optional
        See `medzoo.generate`.
    **options : optional
        See `medzoo.generate`.

    Yields
    ------
    Samples
        ``batch_size`` samples; the last batch may have fewer.

    Raises
    ------
    MedzooError
        Any error that `medzoo.generate` raises. Bad input is an error at once, before the first
        batch is asked for.

    Examples
    --------
    >>> for batch in medzoo.stream(8, 5, batch_size=2, seed=1):
    ...     print(batch.indices, batch.images.shape)
    [0 1] (2, 1, 128, 128)
    [2 3] (2, 1, 128, 128)
    [4] (1, 1, 128, 128)
    """
    execution = Execution(
        device=device,
        weights=weights,
        env=env,
        trust=trust,
        sandbox=sandbox,
        precision=precision,
        engine=engine,
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
