"""Samples for training: a map-style data set, an iterable one that may be endless, a DataLoader."""

from __future__ import annotations

import inspect
import multiprocessing
import os
from collections.abc import Callable, Collection, Sequence
from multiprocessing.context import BaseContext
from typing import Any

import torch
from torch.utils.data import DataLoader

from .. import checks
from ..config import Version
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
    sandbox: str = "auto",
    **options: Any,
) -> SyntheticDataset:
    """A map-style torch data set of ``n`` samples, which are made when they are read.

    Use it with your own DataLoader, sampler or ``ConcatDataset``.

    Parameters
    ----------
    model_id : int, str or os.PathLike
        Number, id, unique beginning of an id, or path of a package folder: ``8``, ``"00008"``,
        ``"mine/"``.
    n : int
        Number of samples, at least 1.
    seed : int, optional
        Root seed, 0 to 2**64 - 1. A random one if None.
    transform : callable, optional
        Called with each sample, a dict of tensors. What it returns is the item.
    as_tuple : sequence of str, optional
        Names of columns. Each item is then a tuple of these columns: ``("images", "labels")``.
    keep : int, optional
        Number of samples that a process keeps in memory for the next epochs: the first ones that
        it makes. With ``keep=n`` each sample is made only once, which suits many epochs over a
        set that fits into memory. The last four batches are always kept. 0 by default.
    device : str, optional
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``. A ``torch.device`` and the
        number of a GPU are accepted too. "auto" by default.
    precision : str, optional
        ``"full"``, or ``"bfloat16"`` or ``"float16"`` for mixed precision. "full" by default.
    version : str, optional
        Version of the model. Its default version if None.
    weights : str or os.PathLike, optional
        A .safetensors file that replaces the weights of the model.
    inputs : str, os.PathLike, sequence, numpy.ndarray or Mapping, optional
        Your own images, for a model that works on images; see `medzoo.generate`.
    env : str, optional
        ``"auto"``, ``"current"`` or ``"isolated"``: the environment in which the code of the
        model runs; see `medzoo.load`. "auto" by default.
    trust : bool, optional
        Allow a package that no registry lists, or weights that can run any code. False by default.
    sandbox : str, optional
        See `medzoo.load`.
    **options : Any
        Conditions and options of the model, and ``latents``; see `medzoo.generate`.

    Returns
    -------
    SyntheticDataset
        ``dataset[i]`` is a dict: ``images`` (C, *spatial) float32 in [0, 1], ``labels`` () int64,
        ... After ``dataset.set_epoch(e)`` it is sample e n + i of the seed.

    Raises
    ------
    InputError
        An argument is unknown, of the wrong type or out of range.
    MedzooError
        Any error of `medzoo.generate`. Wrong arguments are reported at once, and not when the
        first sample is read.

    Examples
    --------
    >>> data = medzoo.dataset(8, 4, seed=0, as_tuple=("images", "labels"))
    >>> image, label = data[1]
    >>> len(data), image.shape, label
    (4, torch.Size([1, 128, 128]), tensor(1))
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
            device=device,
            weights=weights,
            env=env,
            trust=trust,
            sandbox=sandbox,
            precision=precision,
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
    sandbox: str = "auto",
    **options: Any,
) -> SyntheticStream:
    """An iterable torch data set of ``n`` samples, or an endless one, made ahead of the training.

    Without workers, a thread makes the next batch while the current one is read. Each worker of a
    DataLoader makes other batches, so every sample is made once, for any number of workers.

    Parameters
    ----------
    model_id : int, str or os.PathLike
        Number, id, unique beginning of an id, or path of a package folder: ``8``, ``"00008"``,
        ``"mine/"``.
    n : int, optional
        Number of samples, at least 1. Endless if None.
    batch_size : int, optional
        Number of samples to make at once. The value of the model's config if None. If it is the
        batch size of your DataLoader, batches come in order.
    seed : int, optional
        Root seed, 0 to 2**64 - 1. A random one if None.
    transform : callable, optional
        Called with each sample, a dict of tensors. What it returns is the item.
    as_tuple : sequence of str, optional
        Names of columns. Each item is then a tuple of these columns: ``("images", "labels")``.
    device : str, optional
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``. A ``torch.device`` and the
        number of a GPU are accepted too. "auto" by default.
    precision : str, optional
        ``"full"``, or ``"bfloat16"`` or ``"float16"`` for mixed precision. "full" by default.
    version : str, optional
        Version of the model. Its default version if None.
    weights : str or os.PathLike, optional
        A .safetensors file that replaces the weights of the model.
    inputs : str, os.PathLike, sequence, numpy.ndarray or Mapping, optional
        Your own images, for a model that works on images; see `medzoo.generate`.
    env : str, optional
        ``"auto"``, ``"current"`` or ``"isolated"``: the environment in which the code of the
        model runs; see `medzoo.load`. "auto" by default.
    trust : bool, optional
        Allow a package that no registry lists, or weights that can run any code. False by default.
    sandbox : str, optional
        See `medzoo.load`.
    **options : Any
        Conditions and options of the model, and ``latents``; see `medzoo.generate`.

    Returns
    -------
    SyntheticStream
        Yields dicts: ``images`` (C, *spatial) float32 in [0, 1], ``labels`` () int64, ... Each
        iteration begins with sample 0. If ``n`` is given, it begins with sample e n after
        ``set_epoch(e)``.

    Raises
    ------
    InputError
        An argument is unknown, of the wrong type or out of range.
    MedzooError
        Any error of `medzoo.generate`. Wrong arguments are reported at once, and not when the
        first sample is read.

    Examples
    --------
    >>> stream = medzoo.iterable_dataset(8, batch_size=4, seed=0)
    >>> sample = next(iter(stream))
    >>> sample["images"].shape, sample["labels"]
    (torch.Size([1, 128, 128]), tensor(0))
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
            device=device,
            weights=weights,
            env=env,
            trust=trust,
            sandbox=sandbox,
            precision=precision,
        ),
        inputs=inputs,
        options=options,
    )


# Arguments of `dataloader` that `medzoo.generate` does not have.
LOADER_ARGUMENTS = (
    *("shuffle", "fresh", "keep", "transform", "num_workers", "drop_last", "pin_memory"),
    "multiprocessing_context",
)


def check_context(context: Any, num_workers: int) -> None:
    """Check that ``context`` is a way to start workers, and that there are workers.

    Raises
    ------
    InputError
        It is unknown, or there are no workers.
    """
    if context is None:
        return
    methods = multiprocessing.get_all_start_methods()
    exists = isinstance(context, BaseContext) or (isinstance(context, str) and context in methods)
    if exists and num_workers:
        return
    problem = "is for workers, and num_workers is 0." if exists else "is not known."
    raise InputError(
        f"multiprocessing_context={checks.shown(context)} {problem}",
        f"Give for example num_workers=2, and one of {', '.join(methods)}.",
    )


def _check_options(options: Collection[str], version: Version) -> None:
    """Refuse options that the model does not have but torch's DataLoader or `dataloader` has.

    Raises
    ------
    InputError
        An option is such an argument, or nearly one. `medzoo.generate` reports all others.
    """
    unknown = set(options) - {*version.options, *version.conditions}
    arguments_of_torch = inspect.signature(DataLoader).parameters
    for name in unknown:
        if name in arguments_of_torch:
            raise InputError(
                f"medzoo.dataloader takes no {name!r}.",
                f"Use your own loader: DataLoader(medzoo.dataset(...), {name}=...); "
                "docs/loaders.md has more.",
            )
    for name in unknown - {"latents"}:
        if near := checks.meant(name, LOADER_ARGUMENTS):
            raise InputError(f"medzoo.dataloader takes no {name!r}.", near.strip())


def _check_endless(**arguments: bool) -> None:
    """Refuse arguments that need epochs of ``n`` samples; name -> whether it was given.

    Raises
    ------
    InputError
        One of them was given.
    """
    for name, is_given in arguments.items():
        if is_given:
            raise InputError(
                f"{name} has no effect on endless samples (n=None).",
                f"Give `n`, or leave {name} out.",
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
    sandbox: str = "auto",
    **options: Any,
) -> Loader:
    """A torch DataLoader of ``n`` samples, made while you train, one batch ahead.

    In a distributed training (torch.distributed) give each process its own seed. Otherwise all
    processes train on the same samples.

    Parameters
    ----------
    model_id : int, str or os.PathLike
        Number, id, unique beginning of an id, or path of a package folder: ``8``, ``"00008"``,
        ``"mine/"``.
    n : int or None
        Number of samples in an epoch, at least 1. None makes an endless epoch.
    batch_size : int, optional
        Number of samples in a batch, at least 1. 32 by default.
    seed : int, optional
        Root seed, 0 to 2**64 - 1. A random one if None.
    transform : callable, optional
        Called with each sample, a dict of tensors, before samples are put into batches.
    as_tuple : sequence of str, optional
        Names of columns. With ``("images", "labels")`` each batch is a tuple of two tensors.
    shuffle : bool, optional
        Read the samples in another order in each epoch. The order follows from the seed. If the
        samples of a model depend on their batch, whole batches are shuffled. False by default.
    fresh : bool, optional
        Make new samples in each epoch: epoch e has samples e n to (e + 1) n - 1 of the seed.
        By default each epoch has samples 0 to n - 1. ``loader.set_epoch(e)`` continues with
        epoch e.
    keep : int, optional
        Number of samples that a process keeps in memory for the next epochs: the first ones that
        it makes. With ``keep=n`` each sample is made only once. The last four batches are always
        kept. 0 by default.
    num_workers : int, optional
        Number of worker processes. Each loads its own model once and keeps it for all epochs.
        0 by default: samples are made in this process.
    multiprocessing_context : str or multiprocessing context, optional
        How workers start: ``"fork"``, ``"spawn"`` or ``"forkserver"``. If None, "spawn" for a
        model on a CUDA device, and otherwise the choice of torch.
    pin_memory : bool, optional
        Copy batches to pinned memory. If None, only where there is a CUDA device.
    drop_last : bool, optional
        Leave out the last batch if it is not full. False by default.
    device : str, optional
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``. A ``torch.device`` and the
        number of a GPU are accepted too. "auto" by default.
    precision : str, optional
        ``"full"``, or ``"bfloat16"`` or ``"float16"`` for mixed precision. "full" by default.
    version : str, optional
        Version of the model. Its default version if None.
    weights : str or os.PathLike, optional
        A .safetensors file that replaces the weights of the model.
    inputs : str, os.PathLike, sequence, numpy.ndarray or Mapping, optional
        Your own images, for a model that works on images; see `medzoo.generate`.
    env : str, optional
        ``"auto"``, ``"current"`` or ``"isolated"``: the environment in which the code of the
        model runs; see `medzoo.load`. "auto" by default.
    trust : bool, optional
        Allow a package that no registry lists, or weights that can run any code. False by default.
    sandbox : str, optional
        See `medzoo.load`.
    **options : Any
        Conditions and options of the model, and ``latents``; see `medzoo.generate`.

    Returns
    -------
    Loader
        A ``torch.utils.data.DataLoader`` of dicts: ``images`` (B, C, *spatial) float32 in [0, 1],
        ``labels`` (B,) int64, ...

    Raises
    ------
    InputError
        An argument is unknown, of the wrong type or out of range; or ``shuffle``, ``fresh`` or
        ``keep`` is given for endless samples.
    MedzooError
        Any error of `medzoo.generate`. Wrong arguments are reported at once, and not when the
        first batch is read.

    Examples
    --------
    >>> loader = medzoo.dataloader(8, n=4, batch_size=2, seed=0)
    >>> for batch in loader:
    ...     print(batch["images"].shape, batch["labels"])
    torch.Size([2, 1, 128, 128]) tensor([0, 1])
    torch.Size([2, 1, 128, 128]) tensor([0, 1])
    """
    check_context(multiprocessing_context, num_workers)
    execution = Execution(
        device=device, weights=weights, env=env, trust=trust, sandbox=sandbox, precision=precision
    )
    config = resolve(model_id)
    _check_options(options, config.version(version))
    request: dict[str, Any] = {
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
    order: Order | None = None
    if n is None:
        _check_endless(shuffle=shuffle, fresh=fresh, keep=keep is not None)
        data = SyntheticStream(config, None, **request)
    else:
        data = SyntheticDataset(config, n, keep=keep, fresh=fresh, **request)
        order = Order(data, shuffle=shuffle, fresh=fresh, drop_last=drop_last)
    start_method = data.start_method if num_workers else None
    return Loader(
        data,
        batch_size=batch_size,
        sampler=order,
        num_workers=num_workers,
        multiprocessing_context=multiprocessing_context or start_method,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        drop_last=drop_last,
    )
