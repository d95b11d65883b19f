"""From a model id to samples: ``generate``, ``stream``, ``load``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from . import settings
from .config import ModelConfig, Version
from .datasets.layout import Arrangement
from .datasets.reader import read
from .datasets.writer import Target
from .errors import DatasetError, InputError, OutOfMemoryError
from .registry import introduce, is_local, resolve
from .request import Request, check_count, made_before, provenance, requested
from .runtime import Ray, Session, open_session
from .samples import Samples, concatenate
from .version import __version__


class Model:
    """A loaded model; made by `load`.

    ``config`` and ``version`` say what it is, ``device`` and ``actors`` where it runs, and how
    often. Calling it generates.
    """

    def __init__(self, config: ModelConfig, version: Version, session: Session) -> None:
        self.config, self.version = config, version
        self._session: Session | None = session
        self._most = sys.maxsize  # samples at once, as far as is known
        self.device, self.actors = session.device, session.actors

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.config.id}, version {self.version.name}, on {self.device if self._session else 'nothing: closed'}>"

    def close(self) -> None:
        """Let go of the model's memory."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def generate(
        self,
        n: int | None = None,
        *,
        out: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002
        layout: str | None = None,
        shard_size: int | str | None = None,
        shard_samples: int | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        inputs: Any = None,
        progress: bool | None = None,
        **options: Any,
    ) -> Samples:
        """Make ``n`` samples; see `medzoo.generate`."""
        asked: dict[str, Any] = {
            "out": out,
            "format": format,
            "seed": seed,
            "inputs": inputs,
            "options": options,
            "arrangement": Arrangement(layout, shard_size, shard_samples),
        }
        request = requested(self.config, self.version, n, **asked)
        return self.fulfil(
            request, out=out, format=format, batch_size=batch_size, progress=progress
        )

    __call__ = generate

    def fulfil(
        self,
        request: Request,
        *,
        out: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Samples:
        """Make the samples of a request that `requested` checked."""
        run = Run(self, request, batch_size)
        if out is None:
            return concatenate(list(with_bar(run, progress)))
        with Target(
            out,
            outputs=self.version.outputs,
            format=format,
            n=request.n,
            provenance=run.provenance,
            arrangement=request.arrangement,
        ) as target:
            if not target.finished:
                run.go_on(target)
                target.fill(with_bar(run, progress))
        return read(target.path)

    def stream(
        self,
        n: int,
        *,
        batch_size: int | None = None,
        seed: int | None = None,
        first: int = 0,
        inputs: Any = None,
        progress: bool | None = None,
        **options: Any,
    ) -> Iterator[Samples]:
        """Make samples ``first`` to ``first + n - 1`` of a run, batch by batch; see
        `medzoo.stream`.
        """
        if isinstance(first, bool) or not isinstance(first, int) or first < 0:
            raise InputError(
                f"first={first!r} is not a sample number.", "Give a whole number from 0."
            )
        n = check_count(n)
        request = Request.of(
            self.config, self.version, n, seed=seed, inputs=inputs, options=options, first=first
        )
        return with_bar(Run(self, request, batch_size), progress)

    def at(self, indices: Sequence[int], request: Request) -> Samples:
        """The samples with the numbers ``indices`` of a request, in one piece or, when memory runs
        out, in several.
        """
        session, parts, done = self._open_session(), [], 0
        while done < len(indices):
            batch = request.batch(indices[done : done + self._most])
            try:
                columns = session.sample(batch)
            except MemoryError as error:
                if batch.n == 1:
                    raise self.too_big() from error
                columns = {}
            if not columns:  # out of the handler, which keeps what did not fit alive
                self._most = batch.n // 2
                continue
            made = _made_by(self, session, request, batch.n)
            parts.append(Samples(columns, self.version.outputs, batch.indices, made))
            done += batch.n
        return concatenate(parts)

    def too_big(self) -> OutOfMemoryError:
        """The error for a model of which not one sample fits."""
        need = self.version.memory_per_sample
        advice = "Try device='cpu', or free some memory."
        if self.device == "cpu":
            advice = "Free some memory."
        return OutOfMemoryError(
            f"{self.config.id} does not fit into the memory of {self.device}, not even one sample at a time.",
            f"It needs about {need:.0f} MiB a sample. " * bool(need) + advice,
        )

    def _open_session(self) -> Session:
        if self._session is None:
            raise InputError(
                f"{self.config.id} is closed.", "Generate inside the `with medzoo.load(...)` block."
            )
        return self._session


class Run:
    """The batches of one request, once; ``provenance`` grows by what the run finds out.

    Parameters
    ----------
    model, request
        What is asked of what.
    batch_size
        Samples a batch; what suits the model and the memory that is free if None.
    batches
        Boundaries of an earlier run, which make the same bits again: pairs of a first sample and a
        batch size.
    """

    def __init__(
        self,
        model: Model,
        request: Request,
        batch_size: int | None = None,
        batches: list[list[int]] | None = None,
    ) -> None:
        size = (
            model._open_session().batch_size
            if batch_size is None
            else check_count(batch_size, "batch_size")
        )
        self._model, self._request = model, request
        self._own_size = batch_size is not None
        self._start = request.first
        self._target: Target | None = None
        self.provenance: dict[str, Any] = _made_by(
            model, model._open_session(), request, min(size, request.n)
        )
        if batches:
            self.provenance["batches"] = batches

    def go_on(self, target: Target) -> None:
        """Continue where ``target`` is good, with its batch boundaries; tell it when they change.

        Raises
        ------
        DatasetError
            Another batch size is asked for than it was begun with, of a model whose samples depend
            on that.
        """
        asked, begun = self.provenance["batches"][0][1], target.batches[0][1]
        self.provenance["batches"], self._target = target.batches, target
        self._start += target.done
        if self._own_size and asked != begun:
            if not self._model.version.per_sample:
                raise DatasetError(
                    f"{target.path} was begun with batches of {begun} samples, now {asked}, and what the model "
                    "makes depends on them.",
                    f"Nothing was changed. Ask for batch_size={begun}.",
                )
            self._resize(asked)

    def __iter__(self) -> Iterator[Samples]:
        series = None
        while batch := next(self._ranges(), None):
            session = self._model._open_session()  # closed meanwhile, it says so
            series = series or session.series(self._request.batch, self._ranges())
            try:
                columns = next(series)
            except MemoryError as error:
                if self._size(batch.start) == 1:
                    raise self._model.too_big() from error
                columns = {}
            if not columns:  # out of the handler, which keeps what did not fit alive
                self._resize(self._size(batch.start) // 2)
                series = None
                continue
            numbers, outputs = np.arange(batch.start, batch.stop), self._model.version.outputs
            yield Samples(columns, outputs, numbers, self.provenance)
            self._start = batch.stop

    def _ranges(self) -> Iterator[range]:
        """The batches that are left, as far as is known."""
        first, stop = self._start, self._request.first + self._request.n
        while first < stop:
            yield range(first, first := min(first + self._size(first), stop))

    def _size(self, first: int) -> int:
        batches: list[list[int]] = self.provenance["batches"]
        return next(size for start, size in reversed(batches) if start <= first)

    def _resize(self, size: int) -> None:
        # Boundaries decide the last bits, so a set can be made again only with them.
        others = (b for b in self.provenance["batches"] if b[0] != self._start)
        self.provenance["batches"] = sorted([*others, [self._start, size]])
        if self._target is not None:
            self._target.note(self.provenance["batches"])

    @property
    def counts(self) -> tuple[int, int]:
        """How many samples are made, and how many there will be."""
        return self._start - self._request.first, self._request.n


def with_bar(run: Run, progress: bool | None) -> Iterator[Samples]:
    """The run's batches, beside a progress bar where one is to be drawn."""
    if not settings.show_progress(progress):
        yield from run
        return
    from tqdm import tqdm

    done, n = run.counts
    with tqdm(
        total=n, initial=done, unit="sample", desc=run.provenance["model"], file=sys.stderr
    ) as bar:
        for batch in run:
            yield batch
            bar.update(len(batch))


def _made_by(model: Model, session: Session, request: Request, batch_size: int) -> dict[str, Any]:
    """The provenance of what a session makes."""
    return {
        **provenance(model.config, model.version, request),
        "registered": not is_local(model.config) and "weights" not in session.digests,
        "sha256": session.digests,
        "batches": [[request.first, batch_size]],  # from sample -> batch size
        "device": model.device,
        **session.provenance,
        "libraries": {"medzoo": __version__, **session.provenance["libraries"]},
    }


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
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    weights
        A .safetensors file to run the model's code with, of the same tensor names and shapes.
    env
        Where its code runs. ``isolated``: in an environment of the model's own, built on first use
        and shared by models with the same dependencies, in a process of its own. ``current``: with
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
    config = resolve(model_id)
    chosen = config.version(version)
    how: dict[str, Any] = {
        "weights": weights,
        "env": env,
        "trust": trust,
        "precision": precision,
        "engine": engine,
    }
    try:
        session = open_session(config, chosen, device=device, **how)
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{config.id} cannot be loaded: {error}", "Free some memory, or try another device."
        ) from error
    introduce(config, chosen)
    return Model(config, chosen, session)


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
        continues; a finished one is left as it is.
    format
        ``png``, ``png16``, ``nifti``, ``dicom``, ``csv``, ``npz`` or ``webdataset``, as
        docs/datasets.md says; the first of png, csv and npz that fits if None. Needs ``out``.
    layout
        ``classes``: a folder for each label, ``images/malignant/000007.png``, and the labels in
        ``metadata.jsonl``. ``classes:NAME`` where there are several label columns.
    shard_size, shard_samples
        Of ``webdataset``: a shard ends when it has so many bytes (a number, or ``64MB``), or so
        many samples; at 256 MiB if both are None.
    seed
        Root seed, 0 to 2**64 - 1; a fresh one if None, or that of the set in ``out``. It is in the
        provenance.
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
    config = resolve(model_id)
    chosen = config.version(version)
    request = requested(
        config,
        chosen,
        n,
        out=out,
        format=format,
        seed=seed,
        inputs=inputs,
        options=options,
        arrangement=Arrangement(layout, shard_size, shard_samples),
    )
    if (
        out is not None
    ):  # what can be wrong with it, or there already, is seen before anything is fetched or loaded
        found = made_before(
            config, chosen, request, out, format, precision=precision, weights=weights
        )
        if found is not None:
            return found
    how: dict[str, Any] = {
        "weights": weights,
        "env": env,
        "trust": trust,
        "precision": precision,
        "engine": engine,
    }
    with load(model_id, version=version, device=device, **how) as model:
        return model.fulfil(
            request, out=out, format=format, batch_size=batch_size, progress=progress
        )


def stream(
    model_id: int | str | os.PathLike[str],
    n: int,
    *,
    batch_size: int | None = None,
    seed: int | None = None,
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
    check_count(n)
    how: dict[str, Any] = {
        "weights": weights,
        "env": env,
        "trust": trust,
        "precision": precision,
        "engine": engine,
    }
    model = load(model_id, version=version, device=device, **how)
    batches = model.stream(
        n, batch_size=batch_size, seed=seed, inputs=inputs, progress=progress, **options
    )

    def closing() -> Iterator[Samples]:
        with model:
            yield from batches

    return closing()
