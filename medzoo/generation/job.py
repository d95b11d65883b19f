"""From a request to its samples: which exist already, what the others will take, and the run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .. import checks, settings
from .._worker.defaults import default_settings
from ..config import REMOTE, ModelConfig, Version, name_of
from ..datasets.journal import RECORD
from ..datasets.layout import UNARRANGED, Arrangement
from ..datasets.writer import Target, recorded_seed
from ..environments import Interpreter
from ..errors import InputError, OutOfMemoryError
from ..packages.preparation import prepare
from ..packages.store import Package
from ..provenance import Provenance
from ..registry import resolve
from ..runtime import Execution
from ..runtime.execution import DEFAULT
from ..runtime.weights import check_fit, their_file
from ..samples import Samples, gathered, read
from . import capacity
from .kept import lent
from .request import Request
from .run import LoadedModel, Report, Run, known_before, open_model, with_bar

MEASURED = 32  # samples of the batch that an estimate is measured on, at most


@dataclass(frozen=True)
class Estimate:
    """What a run will take, measured on one batch."""

    seconds: float
    disk: int | None  # bytes; None if unknown


@dataclass(frozen=True)
class Job:
    """A request to one version of a model, how to run it, and where the samples go.

    Parameters
    ----------
    config, version, request
        What is asked of what.
    execution
        How to run it.
    out, format
        The folder to write to, in memory if None; and the format of its files.
    batch_size
        Samples per batch. By default what suits the model and the free memory.
    batches
        Boundaries of an earlier run, as `Run` takes them.
    """

    config: ModelConfig
    version: Version
    request: Request
    execution: Execution = DEFAULT
    out: str | os.PathLike[str] | None = None
    format: str | None = None
    batch_size: int | None = None
    batches: list[list[int]] | None = None

    @classmethod
    def of(
        cls,
        model_id: int | str | os.PathLike[str] | ModelConfig,
        n: int | None,
        *,
        version: str | None = None,
        execution: Execution = DEFAULT,
        out: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002
        seed: int | None = None,
        first: int = 0,
        inputs: Any = None,
        options: Mapping[str, Any],
        arrangement: Arrangement = UNARRANGED,
        batch_size: int | None = None,
        batches: list[list[int]] | None = None,
    ) -> Job:
        """Find the model and check the whole request before anything is fetched or loaded.

        Raises
        ------
        ModelNotFoundError, ConfigError
            The model cannot be found.
        InputError
            An argument is unknown, of the wrong type or out of range.
        TrustError
            ``trust=True`` is not allowed here.
        """
        checks.flag(execution.trust, "trust")
        config = model_id if isinstance(model_id, ModelConfig) else resolve(model_id)
        chosen = config.version(version)
        if out is None:
            _refuse_without_folder(format, arrangement)
        elif seed is None:
            seed = recorded_seed(out)  # the same command without a seed continues what it began
        request = Request.of(
            config, chosen, n, seed=seed, first=first, inputs=inputs, options=options
        )
        return cls(
            config,
            request.version,
            replace(request, arrangement=arrangement),
            execution,
            out=out,
            format=format,
            batch_size=batch_size,
            batches=batches,
        )

    def existing(self) -> Samples | None:
        """The samples, if the folder holds them all already. None if a model must be loaded, to
        know that or to make them.

        A folder with something else is refused before a package is fetched.

        Raises
        ------
        DatasetError
            The folder holds something else.
        InputError
            The format does not fit.
        """
        if self.out is None:
            return None
        weights = self.execution.weights
        expected: Provenance = {
            **known_before(self.config, self.request),
            **self.execution.record,
        }
        if self.version.files and weights is None:
            expected["sha256"] = dict(self.version.files)
        target = self._target(self.out, expected)
        if not target.look():
            return None
        samples = read(target.path)
        if "sha256" in expected:
            return samples
        # A package without digests in its config may have been edited since then, unless it was
        # fetched: then it has only one digest per version.
        is_fetched = self.version.scheme in REMOTE and weights is None
        return samples if is_fetched and "weights" not in samples.provenance["sha256"] else None

    def check_room(self) -> None:
        """Check that the samples can fit into memory or on the disk, as far as the config says.

        Raises
        ------
        OutOfMemoryError, DatasetError
            They cannot; says how much they need.
        """
        n = self.request.n
        if self.out is None:
            capacity.check_memory(self.config, self.version, n)
        else:
            capacity.check_disk(self.config, self.version, n, self.out, self.format)

    def prepare(self) -> tuple[Package, Interpreter | None]:
        """Bring everything that loading needs to this disk. Nothing of the package is imported.

        Raises
        ------
        MedzooError
            Whatever `medzoo.packages.preparation.prepare` raises.
        InputError
            The weights do not fit, or the version cannot run in this way.
        """
        execution = self.execution
        execution.check_version(self.config, self.version)
        package, interpreter = prepare(
            self.config, self.version, env=execution.env, trust=execution.trust
        )
        if execution.weights is not None:
            weights = their_file(execution.weights)
            if self.version.contract == "native":
                check_fit(name_of(self.config, self.version), package.path, weights)
        return package, interpreter

    def load(self) -> LoadedModel:
        """Load the model; errors as of `medzoo.load`."""
        return open_model(LoadedModel, self.config, self.version, self.execution)

    def estimate(self, model: LoadedModel) -> Estimate | None:
        """What a run of many batches into a folder will take, measured on one batch. None if the
        run is short, a part of the samples exists already, or memory runs out.

        Raises
        ------
        DatasetError
            The disk is too small.
        """
        assert self.out is not None  # noqa: S101
        n = self.request.n
        size = min(self.batch_size or self.version.batch_size, MEASURED)
        target = settings.user_path(self.out, "out").absolute()
        if n < capacity.MANY * size or (target / RECORD).exists():
            return None
        numbers = range(self.request.first, self.request.first + size)
        try:
            model.at(numbers[:1], self.request)  # the first call warms up
            began = time.monotonic()
            batch = model.at(numbers, self.request)
        except OutOfMemoryError:  # the run will make smaller batches, or say that none fits
            return None
        seconds = (time.monotonic() - began) / size * n / model.actors
        return Estimate(seconds, capacity.measured_disk(batch, target, self.format, n))

    def run(
        self, model: LoadedModel | None = None, *, progress: bool | Report | None = None
    ) -> Samples:
        """Make the samples, with a loaded model or else with one that is loaded for this run.

        ``progress`` is what `with_bar` takes. Raises the errors of `medzoo.generate`.
        """
        self.check_room()
        if model is not None:
            return self._fill(model, progress)
        with lent(self.config, self.version, self.execution) as loaded:
            return self._fill(loaded, progress)

    def stream(
        self, model: LoadedModel | None = None, *, progress: bool | None = None
    ) -> Iterator[Samples]:
        """The samples batch by batch. A model that is loaded for this run is closed at the end."""
        if model is not None:
            return with_bar(self._new_run(model), progress)
        capacity.check_batch(self.config, self.version, self.request.n, self.batch_size or 1)
        loaded = self.load()
        batches = with_bar(self._new_run(loaded), progress)

        def closing() -> Iterator[Samples]:
            with loaded:
                yield from batches

        return closing()

    def provenance(self, model: LoadedModel) -> Provenance:
        """The provenance of what a run would make."""
        return self._new_run(model).provenance

    def _new_run(self, model: LoadedModel) -> Run:
        return Run(model, self.request, self.batch_size, self.batches)

    def _target(self, out: str | os.PathLike[str], provenance: Mapping[str, Any]) -> Target:
        return Target(
            out,
            outputs=self.version.outputs,
            format=self.format,
            n=self.request.n,
            provenance=provenance,
            arrangement=self.request.arrangement,
        )

    @default_settings()
    def _fill(self, model: LoadedModel, progress: bool | Report | None) -> Samples:
        run, n = self._new_run(model), self.request.n
        if self.out is None:
            return gathered(with_bar(run, progress), n)
        with self._target(self.out, run.provenance) as target:
            if not target.finished:
                run.go_on(target)
                batches = with_bar(run, progress)
                target.fill(capacity.measured(batches, target, n - target.done))
        return read(target.path)


def _refuse_without_folder(format: str | None, arrangement: Arrangement) -> None:  # noqa: A002
    """Raise InputError if there are options for files, but no folder to write files to."""
    options = arrangement.asked()
    if format is not None:
        options = {"format": format, **options}
    for name, value in options.items():
        raise InputError(
            f"{name}={checks.shown(value)} without `out` has no effect.",
            "Give a folder: out='masses/'.",
        )
