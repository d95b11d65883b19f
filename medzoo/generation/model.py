"""A loaded model, as `load` returns it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from .. import checks
from ..datasets.layout import Arrangement
from ..samples import Samples
from .job import Job
from .request import Request
from .run import LoadedModel


class Model(LoadedModel):
    """A loaded model; made by `load`.

    ``config`` and ``version`` say what it is, ``device`` and ``actors`` where it runs, and how
    often. Calling it generates.
    """

    @checks.checked()
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
        first: int = 0,
        batch_size: int | None = None,
        inputs: Any = None,
        progress: bool | None = None,
        **options: Any,
    ) -> Samples:
        """Make ``n`` samples; see `medzoo.generate`."""
        job = Job.of(
            self.config,
            n,
            version=self.version.name,
            out=out,
            format=format,
            seed=seed,
            first=first,
            inputs=inputs,
            options=options,
            arrangement=Arrangement(layout, shard_size, shard_samples),
            batch_size=batch_size,
        )
        return job.run(self, progress=progress)

    __call__ = generate

    @checks.checked()
    def fulfil(
        self,
        request: Request,
        *,
        out: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> Samples:
        """Make the samples of a request that was checked."""
        job = Job(self.config, self.version, request, out=out, format=format, batch_size=batch_size)
        return job.run(self, progress=progress)

    @checks.checked()
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
        job = Job.of(
            self.config,
            n,
            version=self.version.name,
            seed=seed,
            first=first,
            inputs=inputs,
            options=options,
            batch_size=batch_size,
        )
        return job.stream(self, progress=progress)
