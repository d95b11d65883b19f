"""Run the model and compare its samples with the config."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import LIST_TYPES, OPTION_TYPES, Option, Output, Version
from ..config.columns import distance, present_boxes
from ..errors import PackageError, TrustError
from ..generation.model import Model
from .recorded import compare
from .report import OK, WARNING, WRONG, Finding, failure, judge

Columns = Mapping[str, NDArray[Any]]
N, FEW = 5, 2  # samples of a run, and of one of many runs
SEED, OTHER = 1, 2
MANY = 16  # at most so many values of a condition are tried
NARROW = 0.01  # part of the value range that pictures use at least


def about_samples(
    load: Callable[[], Model], *, inputs: Any = None, recorded: Path | None = None
) -> Iterator[Finding]:
    """Load a model and generate with it.

    An error while it is loaded, or in the first run, ends the trial. A later one ends its check.

    Parameters
    ----------
    load
        Loads the model, again with each call.
    inputs
        As in `medzoo.generate`.
    recorded
        An ``expected.npz`` that its outputs are compared with.

    Raises
    ------
    TrustError
        The model needs the user's ``trust``.
    """
    try:
        model = load()
    except TrustError:
        raise
    except Exception as error:
        yield failure("code", error)
        return
    yield Finding("code", OK, "loads")
    with model:
        trial = Trial(model, inputs)
        try:
            trial.first = trial.run(N, batch_size=N)
            trial.run(1)
        except Exception as error:
            yield failure("samples", error)
            return
        yield Finding(
            "samples", OK, f"{_shapes(model.version)}; finite, in range, for n=1 and n={N}"
        )
        yield from trial.narrow()
        seed = attempt("seed", partial(trial.seed, load))
        yield seed
        if seed.bars:  # then two runs cannot be compared
            return
        yield attempt("variety", trial.variety)
        yield attempt("batch size", trial.batch_size)
        for name in model.version.conditions:
            yield attempt(f"{name} =", partial(trial.condition, name))
        for option in model.version.options.values():
            yield attempt(f"{option.name} =", partial(trial.option, option))
        if model.version.settable_latents:
            yield attempt("latents", trial.latents)
        if recorded:
            yield attempt("recorded", partial(compare, model, recorded, inputs))
        yield attempt("speed", trial.speed)


def attempt(name: str, check: Callable[[], Finding]) -> Finding:
    """The finding of a check, also if the model fails in it."""
    try:
        return check()
    except Exception as error:
        return failure(name, error)


class Trial:
    """Checks on a loaded model."""

    first: Columns  # N samples of SEED, in one batch

    def __init__(self, model: Model, inputs: Any = None) -> None:
        self.model, self.version, self.inputs = model, model.version, inputs
        # A native package draws samples if it can do without pictures.
        can_draw = model.version.call is None and inputs is None
        self.works_on_pictures = bool(model.version.inputs) and not can_draw

    def run(
        self,
        n: int,
        options: Mapping[str, Any] | None = None,
        *,
        model: Model | None = None,
        seed: int = SEED,
        batch_size: int | None = None,
    ) -> Columns:
        """The columns that the package made, each (n, ...), without those that repeat a condition.

        Raises
        ------
        PackageError
            A column has the wrong shape or type, is not finite, or leaves its value range.
        """
        samples = (model or self.model).generate(
            n,
            seed=seed,
            batch_size=batch_size,
            inputs=self.inputs,
            progress=False,
            **(options or {}),
        )
        columns = {}
        for name, output in self.version.outputs.items():
            if not output.condition:
                columns[name] = getattr(samples, name)
                _check_range(output, columns[name])
        return columns

    def seed(self, load: Callable[[], Model]) -> Finding:
        """The same seed gives the same samples, in a second run and in a model that is loaded
        again. Another seed gives other samples.
        """
        hint = "Draw only from batch.latents and batch.rng(i)."
        problem = "the same seed gives other samples in a second run"
        if self.furthest(self.first, self.run(N, batch_size=N), exact=True):
            return Finding("seed", WRONG, problem, hint)
        problem = "the same seed gives other samples when the model is loaded again"
        with load() as loaded_again:
            samples = self.run(N, model=loaded_again, batch_size=N)
        if self.furthest(self.first, samples, exact=True):
            return Finding("seed", WRONG, problem, hint)
        same = not self.furthest(self.first, self.run(N, seed=OTHER, batch_size=N))
        if same and not self.works_on_pictures and self._all_alike():
            text = "the samples are constant: all are the same, and so are those of another seed"
            return Finding("seed", WRONG, self.constant() or text, hint)
        if same and self.works_on_pictures:
            return Finding(
                "seed", OK, "decides nothing: the samples depend only on the input pictures"
            )
        return judge(
            "seed",
            "another seed gives the same samples" if same else "",
            "decides the samples",
            hint,
        )

    def _all_alike(self) -> bool:
        """Whether all samples of the first run are the same."""
        return not any(self.furthest(_row(self.first, 0), _row(self.first, k)) for k in range(1, N))

    def constant(self) -> str:
        """Which column holds one value in all samples, in words; empty if there is none.

        Not of a mask or a table: few samples may have no lesion, and may agree.
        """
        for name, values in self.first.items():
            is_picture = self.version.outputs[name].kind in {"image", "volume"}
            if is_picture and values.size > len(values) and values.min() == values.max():
                return f"{name} are constant: {values.min():g} everywhere, in all {N} samples"
        return ""

    def narrow(self) -> Iterator[Finding]:
        """A finding for each column of pictures that use next to nothing of their value range."""
        for name, values in self.first.items():
            output = self.version.outputs[name]
            is_scaled = output.kind in {"image", "volume"}
            bounds = output.value_range if is_scaled and values.size else None
            if not bounds:
                continue
            low, high = float(values.min()), float(values.max())
            if 0 < high - low < NARROW * (bounds[1] - bounds[0]):
                yield Finding(
                    "range",
                    WARNING,
                    f"{name} lie between {low:g} and {high:g}, and their config says "
                    f"[{bounds[0]:g}, {bounds[1]:g}]: they look like one even gray",
                    "Scale them, or correct the config's `range`.",
                )

    def variety(self) -> Finding:
        """Samples of one run and one condition differ."""
        if problem := self.constant():
            hint = "Is the output that of the network, and scaled to the config's `range`?"
            return Finding("variety", WRONG, problem, hint)
        if self.works_on_pictures:
            return Finding("variety", OK, "as the input pictures, which repeat when there are few")
        conditions = self.version.conditions.values()
        columns = self.run(N, {c.name: next(iter(c.values)) for c in conditions})
        hint = "Use batch.latents[i] and batch.rng(i) for sample i."
        for i, k in combinations(range(N), 2):
            if not self.furthest(_row(columns, i), _row(columns, k)):
                return Finding("variety", WRONG, f"samples {i} and {k} are the same", hint)
        return Finding("variety", OK, "samples differ from each other")

    def batch_size(self) -> Finding:
        """Sample i is the same, within the tolerance, in any batch."""
        if not self.version.per_sample:
            return Finding(
                "batch size", OK, "decides the samples, as its package draws them by the batch"
            )
        hint = (
            "Sample i may depend on row i of the batch alone; for rounding errors, state the "
            "output's `tolerance`."
        )
        if self.version.call is not None:
            hint += (
                " If it draws noise itself, say `own_noise: true` or `most: 1` in the config's "
                "`call`."
            )
        for size in (1, 2):
            difference = self.furthest(self.first, self.run(N, batch_size=size))
            if difference:
                return Finding("batch size", WRONG, f"in batches of {size}, {difference}", hint)
        return Finding("batch size", OK, "1, 2 and 5 give the same samples")

    def condition(self, name: str) -> Finding:
        """Any two values of a condition give different samples for the same seed."""
        values = list(self.version.conditions[name].values)[:MANY]
        columns = {value: self.run(FEW, {name: value}) for value in values}
        hint = f'Use batch.conditions["{name}"], (n,).'
        for a, b in combinations(values, 2):
            if not self.furthest(columns[a], columns[b]):
                return Finding(f"{name} =", WRONG, f"{a} and {b} give the same samples", hint)
        return Finding(f"{name} =", OK, f"{', '.join(values)} make a difference")

    def option(self, option: Option) -> Finding:
        """The model runs at the bounds of an option, and they make a difference."""
        title = f"{option.name} ="
        values = _extremes(option)
        runs = [self.run(FEW, {option.name: value}) for value in values]
        if option.type in {"int", "float"} and not option.choices and len(values) < 2:
            return Finding(
                title,
                WARNING,
                "has no bounds",
                "State `minimum` and `maximum`, so that users cannot give values that do not work.",
            )
        if len(values) > 1 and not any(self.furthest(a, b) for a, b in combinations(runs, 2)):
            return Finding(
                title,
                WARNING,
                f"{values} all give the same samples",
                f'Use batch.options["{option.name}"].',
            )
        return Finding(title, OK, f"works at {', '.join(map(str, values)) or 'its default'}")

    def latents(self) -> Finding:
        """Other latents give other samples for the same seed."""
        zeros = np.zeros((FEW, self.version.latent), np.float32)
        same = not self.furthest(
            self.run(FEW, {"latents": zeros}), self.run(FEW, {"latents": zeros + 1})
        )
        problem = "other latents give the same samples" if same else ""
        text = f"{self.version.latent} numbers make a difference"
        return judge(
            "latents", problem, text, "Use batch.latents, (n, latent); or say `latent: 0`."
        )

    def speed(self) -> Finding:
        """Time of a sample, warm."""
        began = time.perf_counter()
        self.run(N, batch_size=N)
        where = "this machine's CPU" if self.model.device == "cpu" else self.model.device
        return Finding(
            "speed", OK, f"{(time.perf_counter() - began) / N * 1e3:.3g} ms per sample on {where}"
        )

    def furthest(self, a: Columns, b: Columns, *, exact: bool = False) -> str:
        """The first column that differs beyond its tolerance, in words; empty if there is none."""
        for name in a:
            tolerance = self.version.outputs[name].tolerance
            if a[name].shape != b[name].shape:  # of a column that is zoomed
                return f"{name} have the shapes {a[name].shape} and {b[name].shape}"
            far = distance(a[name], b[name])
            if far > (0.0 if exact else tolerance):
                return f"{name} differ by up to {far:g}, and the tolerance is {tolerance:g}"
        return ""


def _check_range(output: Output, values: NDArray[Any]) -> None:
    """Raise PackageError if values are outside of what the config says."""
    if output.kind == "boxes":
        values = present_boxes(values)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    is_scaled = output.kind in {"image", "volume"}
    bounds = output.value_range if is_scaled else output.range
    if bounds and not bounds[0] <= low <= high <= bounds[1]:
        span = f"[{bounds[0]:g}, {bounds[1]:g}]"
        raise PackageError(
            f"{output.name!r} holds values from {low:g} to {high:g}; its config says {span}.",
            "Scale or clip them, or correct the config's `range`.",
        )


def _row(columns: Columns, i: int) -> Columns:
    return {name: values[i] for name, values in columns.items()}


def _extremes(option: Option) -> list[Any]:
    """The values of an option to try."""
    if option.type in LIST_TYPES:  # how many numbers the package takes is not stated
        return [[choice] for choice in option.choices]
    if option.choices:
        return list(option.choices)
    if option.type == "bool":
        return [False, True]
    kind = OPTION_TYPES[option.type]
    return [kind(bound) for bound in (option.minimum, option.maximum) if bound is not None]


def _shapes(version: Version) -> str:
    return ", ".join(
        f"{o.name} {'x'.join(map(str, o.shape)) or 'one'} {o.dtype}"
        for o in version.outputs.values()
    )
