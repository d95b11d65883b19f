"""Samples into training: a map-style data set that generates on demand, an iterable one that need
not end, a DataLoader.
"""

from __future__ import annotations

import inspect
import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.context import BaseContext
from typing import Any

import torch
from torch.utils.data import DataLoader

from .. import checks
from ..errors import InputError
from ..registry import resolve
from ..runtime import Execution
from .blocks import Item
from .epochs import Loader, Order
from .sets import CACHED_BLOCKS as CACHED_BLOCKS
from .sets import SyntheticDataset, SyntheticStream


@checks.checked()
def dataset(
    model_id: int | str | os.PathLike[str],
    n: int,
    *,
    seed: int | None = None,
    transform: Callable[[Item], Any] | None = None,
    as_tuple: Sequence[str] | None = None,
    keep: int | None = None,
    device: str = "auto",
    precision: str = "full",
    version: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    inputs: Any = None,
    env: str = "auto",
    trust: bool = False,
    **options: Any,
) -> SyntheticDataset:
    """A map-style torch data set of ``n`` samples, for your own loader or ``ConcatDataset``.

    Parameters
    ----------
    model_id, n, seed, device, precision, version, weights, inputs, env, trust, **options
        As in `medzoo.generate`.
    transform
        Called with each sample, a dict of tensors; what it returns is the item.
    as_tuple
        Names of columns: each item is then a tuple of these, such as ``("images", "labels")``.
    keep
        How many samples of an epoch a process keeps in memory for later: the first that it makes.
        The last four batches are there in any case. With ``keep=n`` each sample is made once, which
        suits many epochs over a set that fits into memory.

    Returns
    -------
    SyntheticDataset
        ``dataset[i]`` is a dict: ``images`` (C, *spatial) float32 in [0, 1], ``labels`` () int64,
        ... After ``dataset.set_epoch(e)`` it is sample e n + i of the seed.

    Raises
    ------
    MedzooError
        Whatever `medzoo.generate` raises; for bad input at once.
    """
    return SyntheticDataset(
        model_id,
        n,
        seed=seed,
        transform=transform,
        as_tuple=as_tuple,
        batch_size=None,
        keep=keep,
        version=version,
        execution=Execution(
            device=device, weights=weights, env=env, trust=trust, precision=precision
        ),
        inputs=inputs,
        options=options,
    )


@checks.checked()
def iterable_dataset(
    model_id: int | str | os.PathLike[str],
    n: int | None = None,
    *,
    batch_size: int | None = None,
    seed: int | None = None,
    transform: Callable[[Item], Any] | None = None,
    as_tuple: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "full",
    version: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    inputs: Any = None,
    env: str = "auto",
    trust: bool = False,
    **options: Any,
) -> SyntheticStream:
    """An iterable torch data set of ``n`` samples, or without end, made ahead of the training step.

    In one process a thread makes the next batch while one is read. In the workers of a DataLoader
    each makes different batches: every sample once, for any number of workers.

    Parameters
    ----------
    model_id, seed, device, precision, version, weights, inputs, env, trust, **options
        As in `medzoo.generate`.
    n
        How many; without end if None.
    batch_size
        How many to make at once; the model's own if None. With that of your DataLoader, batches
        come in order.
    transform
        Called with each sample, a dict of tensors; what it returns is the item.
    as_tuple
        Names of columns: each item is then a tuple of these, such as ``("images", "labels")``.

    Returns
    -------
    SyntheticStream
        Yields dicts: ``images`` (C, *spatial) float32 in [0, 1], ``labels`` () int64, ... Each
        iteration begins with sample 0, or where ``n`` is given with sample e n after
        ``set_epoch(e)``.

    Raises
    ------
    MedzooError
        Whatever `medzoo.generate` raises; for bad input at once.
    """
    return SyntheticStream(
        model_id,
        n,
        seed=seed,
        transform=transform,
        as_tuple=as_tuple,
        batch_size=batch_size,
        version=version,
        execution=Execution(
            device=device, weights=weights, env=env, trust=trust, precision=precision
        ),
        inputs=inputs,
        options=options,
    )


# of `dataloader`, beside those of `medzoo.generate`
LOADER_ARGUMENTS = (
    *("shuffle", "fresh", "keep", "transform", "num_workers", "drop_last", "pin_memory"),
    "multiprocessing_context",
)


def check_context(context: Any, num_workers: int) -> None:
    """Whether workers can be started in a way.

    Raises
    ------
    InputError
        It is unknown, or there are no workers.
    """
    if context is None:
        return
    methods = multiprocessing.get_all_start_methods()
    known = isinstance(context, BaseContext) or (isinstance(context, str) and context in methods)
    if not known or not num_workers:
        raise InputError(
            f"multiprocessing_context={checks.shown(context)} "
            + ("is for workers, and num_workers is 0." if known else "is not known."),
            f"Give num_workers=2, say, and one of {', '.join(methods)}.",
        )


@checks.checked(n=checks.optional(checks.count))
def dataloader(
    model_id: int | str | os.PathLike[str],
    n: int | None,
    batch_size: int = 32,
    *,
    seed: int | None = None,
    transform: Callable[[Item], Any] | None = None,
    as_tuple: Sequence[str] | None = None,
    shuffle: bool = False,
    fresh: bool = False,
    keep: int | None = None,
    num_workers: int = 0,
    multiprocessing_context: Any = None,
    pin_memory: bool | None = None,
    drop_last: bool = False,
    device: str = "auto",
    precision: str = "full",
    version: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    inputs: Any = None,
    env: str = "auto",
    trust: bool = False,
    **options: Any,
) -> Loader:
    """A torch DataLoader of ``n`` samples, made while they are read, a batch ahead of the training
    step.

    In a job of several processes (torch.distributed) give each its own seed, or all train on
    the same samples.

    Parameters
    ----------
    model_id, seed, device, precision, version, weights, inputs, env, trust, **options
        As in `medzoo.generate`.
    n
        How many samples an epoch has; None for an epoch without end.
    batch_size, num_workers, drop_last
        As in torch. Each worker loads its own model, once, and keeps it over the epochs.
    transform
        Called with each sample, a dict of tensors, before batches are put together.
    as_tuple
        Names of columns: ``("images", "labels")`` gives batches ``x, y``.
    shuffle
        Another order each epoch, which follows from the seed. Samples differ from each other
        already: it changes their order, not their variety. Of a model whose samples depend on their
        batch, whole batches are shuffled.
    fresh
        With each iteration over the loader the next ``n`` samples of the seed: epoch e has samples
        e n to (e + 1) n - 1. Otherwise each epoch has samples 0 to n - 1.
        ``loader.sampler.set_epoch(e)`` continues with epoch e.
    keep
        How many samples of an epoch a process keeps in memory for the next ones: the first that it
        makes; with ``keep=n`` each is made once. The last four batches are there in any case.
    multiprocessing_context
        How workers start, as in torch: ``fork``, ``spawn``, ``forkserver``. If None, spawn for a
        model on a CUDA device, else torch's choice.
    pin_memory
        As in torch; where there is a CUDA device if None.

    Returns
    -------
    Loader
        A ``torch.utils.data.DataLoader`` of dicts: ``images`` (B, C, *spatial) float32 in [0, 1], ``labels`` (B,) int64, ...

    Raises
    ------
    InputError
        ``shuffle``, ``fresh`` or ``keep`` is given where there is no end.
    MedzooError
        Whatever `medzoo.generate` raises; for bad input at once.

    Examples
    --------
    >>> for batch in medzoo.dataloader(8, n=10_000, batch_size=64, seed=0):
    ...     step(batch["images"], batch["labels"])
    """
    check_context(multiprocessing_context, num_workers)
    execution = Execution(device=device, weights=weights, env=env, trust=trust, precision=precision)
    config = resolve(model_id)
    chosen = config.version(version)
    for name in options.keys() & inspect.signature(DataLoader).parameters.keys() - {
        *chosen.options,
        *chosen.conditions,
    }:
        hint = (
            f"Use your own loader: DataLoader(medzoo.dataset(...), {name}=...); docs/loaders.md "
            "has more."
        )
        raise InputError(f"medzoo.dataloader takes no {name!r}.", hint)
    for name in options.keys() - {*chosen.options, *chosen.conditions, "latents"}:
        if near := checks.meant(name, LOADER_ARGUMENTS):
            raise InputError(f"medzoo.dataloader takes no {name!r}.", near.strip())
    how: dict[str, Any] = {
        "version": version,
        "execution": execution,
        "seed": seed,
        "transform": transform,
        "as_tuple": as_tuple,
        "batch_size": batch_size,
        "inputs": inputs,
        "options": options,
    }
    data: SyntheticDataset | SyntheticStream
    if n is None:
        if asked := [
            k
            for k, v in {"shuffle": shuffle, "fresh": fresh, "keep": keep is not None}.items()
            if v
        ]:
            raise InputError(
                f"{asked[0]} has no effect on endless samples (n=None).",
                f"Give `n`, or leave {asked[0]} out.",
            )
        data, order = SyntheticStream(config, None, **how), None
    else:
        data = SyntheticDataset(config, n, keep=keep, fresh=fresh, **how)
        order = Order(data, shuffle=shuffle, fresh=fresh, drop_last=drop_last)
    return Loader(
        data,
        batch_size=batch_size,
        sampler=order,
        num_workers=num_workers,
        multiprocessing_context=multiprocessing_context
        or (data.start_method if num_workers else None),
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        drop_last=drop_last,
    )
