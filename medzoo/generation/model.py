"""A loaded model, as `load` returns it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from .. import checks
from ..datasets.layout import Arrangement
from ..samples import Samples
from .job import Job
from .run import LoadedModel


class Model(LoadedModel):
    """A loaded model; `medzoo.load` makes it. Calling it generates samples.

    It is a context manager. Leaving the ``with`` block, or ``close()``, frees its memory.

    Parameters
    ----------
    config : ModelConfig
        What is known about the model.
    version : Version
        The version that was loaded.
    session : Session
        The loaded package, which makes the batches.

    Attributes
    ----------
    config, version
        As above.
    device : str
        Where it runs, such as ``cpu`` or ``cuda:0``.
    actors : int
        How many actors of a Ray cluster run it; 1 without Ray.

    Examples
    --------
    >>> with medzoo.load(8) as model:
    ...     samples = model(2, seed=1)
    >>> model.config.id, samples.images.shape
    ('00008_C-DCGAN_MMG_MASSES', (2, 1, 128, 128))
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
        """Make ``n`` samples. `medzoo.generate` explains the parameters in detail.

        Parameters
        ----------
        n : int, optional
            How many samples. The default is 1, or one for each of ``inputs``.
        out : str or path-like, optional
            A new folder to write to, or one with a set to continue.
        format, layout : str, optional
            Format of the files and layout of the folder.
        shard_size : int or str, optional
            For ``webdataset``: bytes per shard.
        shard_samples : int, optional
            For ``webdataset``: samples per shard.
        seed : int, optional
            Root seed, 0 to 2**64 - 1.
        first : int, optional
            Number of the first sample.
        batch_size : int, optional
            Samples per batch.
        inputs : str, path-like, list, dict or array, optional
            Your own images, for a model that works on images.
        progress : bool, optional
            Whether to draw a progress bar. By default only at a terminal.
        **options : optional
            The model's own inputs, such as ``condition`` and ``latents``.

        Returns
        -------
        Samples
            Columns such as ``images`` (n, C, H, W) and ``labels`` (n,), with provenance.

        Raises
        ------
        MedzooError
            Any error that `medzoo.generate` raises.

        Examples
        --------
        >>> with medzoo.load(8) as model:
        ...     samples = model.generate(2, seed=1, condition="malignant")
        >>> samples.labels
        array([1, 1])
        """
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
        """Make ``n`` samples batch by batch. Only one batch is in memory at a time.

        Parameters
        ----------
        n : int
            How many samples in all.
        batch_size, seed, first : int, optional
            See `medzoo.generate`.
        inputs : str, path-like, list, dict or array, optional
            See `medzoo.generate`.
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
            Any error that `medzoo.generate` raises.

        Examples
        --------
        >>> with medzoo.load(8) as model:
        ...     for batch in model.stream(3, batch_size=2, seed=1):
        ...         print(batch.indices)
        [0 1]
        [2]
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
