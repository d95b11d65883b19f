"""The graph of a native package: what it computes with torch, for a batch of any size.

A package makes tensors of the arrays of a batch (latents, conditions, noise), and arrays of the
tensors that it has computed. What lies between these two borders is the graph. The arrays that
cross the first border are its inputs, so noise is an input as latents are. Nothing is assumed of
the package: both borders are recorded with two batches, and torch.export refuses code that depends
on the size of a batch, or on values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import seeds
from .._worker.batch import Batch
from ..errors import InputError, PackageError

Array = NDArray[Any]
FIRST, SECOND = range(5), range(1000, 1007)  # the samples that are recorded
CONDITION, MADE = "condition", "package"  # where an input may come from, beside these:
LATENTS, BYTES, UNIFORM, NORMAL = "latents", "bytes", "uniform", "normal"


@dataclass(frozen=True)
class GraphInput:
    """An array that the package hands to torch.

    Parameters
    ----------
    name
        ``latents``, the name of a condition, ``noise`` ...
    dtype, shape
        Of one sample's values.
    origin
        ``latents`` and ``normal`` are standard normal numbers, ``uniform`` ones between 0 and 1,
        ``bytes`` uniform ones from 0 to 255. ``condition``: the numbers of a condition.
        ``package``: computed by the package's own code.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    origin: str


@dataclass(frozen=True)
class Crossings:
    """What crosses the borders of torch while a package makes one batch."""

    arrays: list[Array] = field(default_factory=list)  # from numpy to torch
    tensors: list[Any] = field(default_factory=list)  # that become arrays again
    results: list[Array] = field(default_factory=list)  # these arrays
    made: dict[str, Array] = field(default_factory=dict)  # what the package returned
    late: bool = False  # whether an array went to torch after one had come back


class DrawnStream(seeds.Stream):
    """The random stream of a sample, which keeps what is drawn from it."""

    def __init__(self, seed: int, index: int, drawn: list[tuple[str, Array]]) -> None:
        super().__init__(seed, index)
        self._drawn = drawn

    def bytes(self, n: int) -> NDArray[np.uint8]:
        """As `Stream.bytes`."""
        return self._kept(BYTES, super().bytes(n))

    def uniforms(self, shape: Any) -> NDArray[np.float32]:
        """As `Stream.uniforms`."""
        return self._kept(UNIFORM, super().uniforms(shape))

    def normals(self, shape: Any) -> NDArray[np.float32]:
        """As `Stream.normals`."""
        return self._kept(NORMAL, super().normals(shape))

    def _kept(self, kind: str, values: Array) -> Array:
        self._drawn.append((kind, values.copy()))
        return values


@dataclass(frozen=True)
class DrawnBatch(Batch):
    """A batch that keeps what its samples draw."""

    drawn: list[list[tuple[str, Array]]] = field(default_factory=list)

    @classmethod
    def of(cls, batch: Batch) -> DrawnBatch:
        """The same samples."""
        fields = (batch.seed, batch.indices, batch.latents, batch.conditions, batch.inputs)
        return cls(*fields, batch.options, [[] for _ in range(batch.n)])

    def rng(self, i: int) -> seeds.Stream:
        """As `Batch.rng`."""
        return DrawnStream(self.seed, int(self.indices[i]), self.drawn[i])

    def columns(self) -> list[tuple[str, Array]]:
        """Origin and values (n, size) of latents, conditions and each draw."""
        found: list[tuple[str, Array]] = [(LATENTS, self.latents)]
        found += [(CONDITION, values[:, None]) for values in self.conditions.values()]
        for draws in zip(*self.drawn, strict=False):
            if len({(kind, values.size) for kind, values in draws}) == 1:
                found.append((draws[0][0], np.stack([v.ravel() for _, v in draws])))
        return found


class Graph:
    """What a package computes with torch.

    Parameters
    ----------
    name
        The model, for errors.
    model
        What the package's ``load`` returned, on the CPU.
    batch_of
        The batch of a range of samples.

    Attributes
    ----------
    inputs : tuple of GraphInput
        In the order in which a module takes them.
    outputs : dict of str to int
        Column -> the number of the tensor that becomes it.
    absent : tuple of str
        Columns that are made without torch, before or after the graph.

    Raises
    ------
    PackageError
        It cannot be recorded; the error says why.
    """

    def __init__(self, name: str, model: Any, batch_of: Callable[[range], Batch]) -> None:
        self._name, self._model, self._batch_of = name, model, batch_of
        self._batch = DrawnBatch.of(batch_of(FIRST))
        self._shown = self.crossings(self._batch)
        other = self.crossings(batch_of(SECOND))
        self._rows = self._varying(other)
        self._twins = self._repeated(other)  # array -> the earlier one that it repeats
        self._rows = [row for row in self._rows if row not in self._twins]
        self.outputs, self.absent = self._found(other)
        self.inputs = self._named()

    def crossings(self, batch: Batch) -> Crossings:
        """What crosses the borders while the package makes ``batch``."""
        import torch

        seen, late = Crossings(), []
        from_numpy, numpy = torch.from_numpy, torch.Tensor.numpy

        def enter(array: Array) -> Any:
            seen.arrays.append(array.copy())
            late.extend(seen.results[:1])
            return from_numpy(array)

        def leave(tensor: Any) -> Array:
            seen.tensors.append(tensor)
            seen.results.append(numpy(tensor))
            return seen.results[-1]

        with torch.no_grad(), borders(enter, leave):
            made = self._model.sample(batch)
            made = {column: np.asarray(values) for column, values in made.items()}
        return replace(seen, made=made, late=bool(late))

    def arrays_of(self, batch: Batch) -> dict[str, Array]:
        """The inputs of a batch, by name, in their order."""
        arrays = self.crossings(batch).arrays
        return {i.name: arrays[k] for k, i in zip(self._rows, self.inputs, strict=True)}

    def pair(self, samples: range) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs of these samples, and the columns that the package itself makes of them."""
        seen = self.crossings(self._batch_of(samples))
        given = {i.name: seen.arrays[k] for k, i in zip(self._rows, self.inputs, strict=True)}
        return given, {column: seen.results[k] for column, k in self.outputs.items()}

    def module(self) -> Any:
        """A torch module that takes the inputs, in their order, and returns the outputs."""
        import torch

        graph = self

        class Module(torch.nn.Module):
            def forward(self, *given: Any) -> Any:
                tensors = graph._computed(given)
                outputs = tuple(tensors[k].contiguous() for k in graph.outputs.values())
                return outputs if len(outputs) > 1 else outputs[0]

        return Module().eval()

    def shown(self) -> tuple[Any, ...]:
        """Inputs to record a module with."""
        import torch

        return tuple(torch.from_numpy(self._shown.arrays[k]) for k in self._rows)

    def program(self) -> Any:
        """The graph as torch.export has it, with a free number of samples.

        Raises
        ------
        PackageError
            The package's code depends on the number of samples, or on values.
        """
        import torch

        free = {0: torch.export.Dim.DYNAMIC}
        shapes = (tuple(free for _ in self.inputs),)  # of *given
        try:
            with torch.no_grad(), quiet():
                program = torch.export.export(
                    self.module(), self.shown(), strict=False, dynamic_shapes=shapes
                )
        except Exception as error:
            says = _short(error)
            raise self._refusal(
                f"what its code computes depends on more than its inputs' values: {says}",
                "A graph has no `if` and no loop that depends on values, and `len(tensor)` is a "
                "constant in it (`tensor.shape[0]` is not).",
            ) from error
        for symbol, allowed in program.range_constraints.items():
            if allowed.lower > 2 or allowed.upper < 2**31:  # torch cannot tell 1 from more
                raise self._refusal(
                    f"its code does something else for batches outside of {allowed} ({symbol})"
                )
        return program

    def script(self) -> Any:
        """The graph as a TorchScript module. Call `program` first, which checks more."""
        import torch

        with torch.no_grad(), quiet():
            return torch.jit.trace(self.module(), self.shown(), check_trace=False)  # type: ignore[no-untyped-call]

    # ---------------------------------------------------------------------------------------------
    def _computed(self, given: tuple[Any, ...]) -> list[Any]:
        """The tensors that leave torch when ``given`` enter it."""
        import torch

        from_numpy, results = torch.from_numpy, iter(self._shown.results)
        entering = iter([*self._shown.arrays])
        tensors = dict(zip(self._rows, given, strict=True))
        numbers, left = iter(range(len(self._shown.arrays))), []

        def enter(array: Array) -> Any:  # noqa: ARG001
            number, recorded = next(numbers), next(entering)
            number = self._twins.get(number, number)
            return tensors[number] if number in tensors else from_numpy(recorded)

        def leave(tensor: Any) -> Array:
            left.append(tensor)
            return next(results)

        with borders(enter, leave, in_one=True):
            made = self._model.sample(self._batch)
            for values in made.values():
                np.asarray(values)
        return left

    def _varying(self, other: Crossings) -> list[int]:
        """Which arrays have one row per sample; all others must always be the same."""
        shown = self._shown
        if not shown.arrays:
            raise self._refusal("it does not use torch")
        if shown.late:
            raise self._refusal("what torch computed goes back to numpy, and again to torch")
        if len(shown.arrays) != len(other.arrays) or len(shown.results) != len(other.results):
            raise self._refusal("it hands more arrays to torch for a larger batch")
        rows = []
        for number, (one, two) in enumerate(zip(shown.arrays, other.arrays, strict=True)):
            same = one.dtype == two.dtype and one.shape[1:] == two.shape[1:]
            if same and one.shape[:1] == (len(FIRST),) and two.shape[:1] == (len(SECOND),):
                rows.append(number)
            elif not np.array_equal(one, two):
                raise self._refusal(
                    f"an array of {one.shape} goes to torch for {len(FIRST)} samples, and "
                    f"{two.shape} for {len(SECOND)}, not one row for each"
                )
        return rows

    def _repeated(self, other: Crossings) -> dict[int, int]:
        """The arrays that the package hands to torch again, with the number of the first time."""
        shown = self._shown.arrays
        twins: dict[int, int] = {}
        for place, number in enumerate(self._rows):
            for first in self._rows[:place]:
                pairs = [(shown[first], shown[number]), (other.arrays[first], other.arrays[number])]
                if all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs):
                    twins[number] = twins.get(first, first)
                    break
        return twins

    def _found(self, other: Crossings) -> tuple[dict[str, int], tuple[str, ...]]:
        """Column -> the number of its tensor, and the columns that have none."""
        found: dict[str, int] = {}
        for column in self._shown.made:
            for k in range(len(self._shown.results)):
                pairs = [(s.made[column], s.results[k]) for s in (self._shown, other)]
                if all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs):
                    found[column] = k
                    break
        absent = tuple(column for column in self._shown.made if column not in found)
        if not found:
            columns = " and ".join(absent)
            raise self._refusal(f"its {columns} are made by numpy after its networks")
        return found, absent

    def _named(self) -> tuple[GraphInput, ...]:
        """The inputs, described by where their numbers come from."""
        columns, named = self._batch.columns(), []
        taken = np.zeros(0, np.uint64)  # the keys of the numbers of earlier inputs
        for number, row in enumerate(self._rows):
            array = self._shown.arrays[row]
            origin = _origin(array, columns)
            if origin in (LATENTS, NORMAL, UNIFORM):
                own = _keys(array)
                if np.unique(own).size < own.size or np.isin(own, taken).any():
                    origin = MADE  # of numbers that another input, or another part of it, has too
                taken = np.concatenate([taken, own])
            condition = self._condition_of(array)
            if origin == CONDITION and not condition:  # a column, or several conditions
                origin = MADE
            names = {LATENTS: "latents", MADE: f"input_{number}", CONDITION: condition}
            name = names.get(origin, "noise")
            named.append(GraphInput(name, array.dtype.name, array.shape[1:], origin))
        return tuple(_unique(named))

    def _condition_of(self, array: Array) -> str:
        """The condition whose numbers an array holds; empty if there is none."""
        conditions = self._batch.conditions.items()
        return next((name for name, values in conditions if np.array_equal(values, array)), "")

    def _refusal(self, why: str, hint: str = "") -> PackageError:
        return PackageError(
            f"{self._name} cannot be exported: {why}.",
            hint or "docs/export.md says what a graph can hold.",
        )


def _origin(array: Array, columns: list[tuple[str, Array]]) -> str:
    """Where all numbers of ``array`` come from: one kind of number, or the package's own code."""
    flat = array.reshape(len(array), -1)
    flat = flat.view(np.uint8) if flat.dtype == np.int8 else flat
    kinds, place = set(), 0
    while place < flat.shape[1]:
        kind, length = _longest(flat, place, columns)
        if not length:
            return MADE
        kinds.add(kind)
        place += length
    if kinds == {LATENTS, NORMAL}:  # both are standard normal
        return LATENTS
    return kinds.pop() if len(kinds) == 1 else MADE


def _keys(array: Array) -> NDArray[np.uint64]:
    """One number for each value of a sample: equal for values that are equal in all samples."""
    bits = np.ascontiguousarray(array.reshape(len(array), -1)).view(np.uint32).astype(np.uint64)
    factors = np.arange(1, 2 * len(array), 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    keys: NDArray[np.uint64] = (bits * factors[:, None]).sum(axis=0, dtype=np.uint64)
    return keys


def _longest(flat: Array, place: int, columns: list[tuple[str, Array]]) -> tuple[str, int]:
    """Origin and number of the columns from ``place`` on that were drawn or given together."""
    for kind, values in columns:
        if values.dtype != flat.dtype:
            continue
        for start in np.flatnonzero((values == flat[:, place : place + 1]).all(axis=0)):
            length = min(values.shape[1] - start, flat.shape[1] - place)
            if np.array_equal(values[:, start : start + length], flat[:, place : place + length]):
                return kind, int(length)
    return MADE, 0


def _unique(named: list[GraphInput]) -> Iterator[GraphInput]:
    """The inputs, with numbers where several have one name."""
    names = [one.name for one in named]
    for number, one in enumerate(named):
        count = names[: number + 1].count(one.name)
        several = names.count(one.name) > 1
        yield replace(one, name=f"{one.name}_{count}") if several else one


@contextmanager
def borders(
    enter: Callable[[Array], Any], leave: Callable[[Any], Array], *, in_one: bool = False
) -> Iterator[None]:
    """Have ``enter`` make the tensors of arrays, and ``leave`` the arrays of tensors.

    Parameters
    ----------
    in_one
        Whether samples that the package computes in portions are computed at once; then inference
        mode is left off too, which torch.export does not know.
    """
    import torch

    tensor, as_tensor = torch.tensor, torch.as_tensor
    split: Callable[..., Any] = torch.Tensor.split

    def of_array(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(data: Any, **options: Any) -> Any:
            if not isinstance(data, np.ndarray):
                return make(data, **options)
            options.pop("requires_grad", None)
            wanted = {k: v for k, v in options.items() if v is not None}
            return enter(data).to(**wanted) if wanted else enter(data)

        return made

    def array_of(self: Any, *_: Any, **__: Any) -> Array:
        return leave(self)

    def whole(self: Any, size: Any, dim: int = 0) -> Any:
        return (self,) if dim == 0 and isinstance(size, int) else split(self, size, dim)

    replaced: list[tuple[Any, str, Any]] = [
        (torch, "from_numpy", enter),
        (torch, "tensor", of_array(tensor)),
        (torch, "as_tensor", of_array(as_tensor)),
        (torch.Tensor, "numpy", array_of),
        (torch.Tensor, "__array__", array_of),
    ]
    if in_one:
        replaced += [
            (torch.Tensor, "split", whole),
            (torch.inference_mode, "__enter__", lambda self: None),  # noqa: ARG005
            (torch.inference_mode, "__exit__", lambda self, *_: None),  # noqa: ARG005
        ]
    before = [(where, name, getattr(where, name)) for where, name, _ in replaced]
    try:
        for where, name, value in replaced:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the many notices of torch's exporters."""
    import logging

    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _short(error: BaseException) -> str:
    """The first line of a long error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    says = lines[0] if lines else ""
    with suppress(StopIteration):
        says += " " + next(line for line in lines[1:] if line.startswith(("- ", "Caused by")))
    return f"{type(error).__name__}: {says[:300]}"


def check_options(options: Mapping[str, Any], conditions: Mapping[str, Any]) -> None:
    """Refuse options that are inputs of a graph.

    Raises
    ------
    InputError
        A condition or ``latents`` is given.
    """
    for name in options:
        if name == "latents" or name in conditions:
            raise InputError(
                f"{name!r} is an input of the exported graph, not an option of it.",
                "Leave it out here, and give it to the graph.",
            )
