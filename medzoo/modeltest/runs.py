"""Run the model and compare its samples with the config."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import combinations, starmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import OPTION_TYPES, Option, Version
from ..errors import PackageError, TrustError
from ..generation.model import Model
from .recorded import compare, distance
from .report import OK, WARNING, WRONG, Finding, failure, judge

Columns = Mapping[str, NDArray[Any]]
N, FEW = 5, 2  # samples of a run; of one of many runs
SEED, OTHER = 1, 2
MANY = 16  # values of a condition that are tried


def about_samples(
    load: Callable[[], Model], *, inputs: Any = None, recorded: Path | None = None
) -> Iterator[Finding]:
    """Load a model and generate from it; what breaks ends the trial or, later on, its own check.

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
        yield (seed := attempt("seed", partial(trial.seed, load)))
        if seed.bars:  # then no comparison of two runs tells anything
            return
        version = model.version
        checks: list[tuple[str, Callable[[], Finding]]] = [
            ("variety", trial.variety),
            ("batch size", trial.batch_size),
            *((f"{name} =", partial(trial.condition, name)) for name in version.conditions),
            *((f"{o.name} =", partial(trial.option, o)) for o in version.options.values()),
            *([("latents", trial.latents)] if version.settable_latents else []),
            *([("recorded", partial(compare, model, recorded, inputs))] if recorded else []),
            ("speed", trial.speed),
        ]
        yield from starmap(attempt, checks)


def attempt(name: str, check: Callable[[], Finding]) -> Finding:
    """What a check finds, be it that the model fails under it."""
    try:
        return check()
    except Exception as error:
        return failure(name, error)


class Trial:
    """Checks on a loaded model."""

    first: Columns  # N samples of SEED, in one batch

    def __init__(self, model: Model, inputs: Any = None) -> None:
        self.model, self.version, self.inputs = model, model.version, inputs
        own = (
            model.version.call is None and inputs is None
        )  # a native package draws where it may do without pictures
        self.works_on_pictures = bool(model.version.inputs) and not own

    def run(
        self,
        n: int,
        options: Mapping[str, Any] | None = None,
        *,
        model: Model | None = None,
        seed: int = SEED,
        batch_size: int | None = None,
    ) -> Columns:
        """What the package made: the columns, each (n, ...), that do not just repeat a condition.

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
                columns[name] = values = getattr(samples, name)
                low, high = (values.min(), values.max()) if values.size else (0, 0)
                scaled = output.kind in {"image", "volume"}
                bounds = output.value_range if scaled else output.range
                if bounds and not bounds[0] <= low <= high <= bounds[1]:
                    span = f"[{bounds[0]:g}, {bounds[1]:g}]"
                    raise PackageError(
                        f"{name!r} holds values from {low:g} to {high:g}; its config says {span}.",
                        "Scale or clip them, or correct the config's `range`.",
                    )
        return columns

    def seed(self, load: Callable[[], Model]) -> Finding:
        """One seed, one set of samples, in a second run and in a model that is loaded again;
        another seed, another set.
        """
        ours = "Draw only from batch.latents and batch.rng(i)."
        if self.furthest(self.first, self.run(N, batch_size=N), exact=True):
            return Finding("seed", WRONG, "the same seed gives other samples in a second run", ours)
        with load() as anew:
            if self.furthest(self.first, self.run(N, model=anew, batch_size=N), exact=True):
                return Finding(
                    "seed",
                    WRONG,
                    "the same seed gives other samples when the model is loaded again",
                    ours,
                )
        same = not self.furthest(self.first, self.run(N, seed=OTHER, batch_size=N))
        if same and self.works_on_pictures:
            return Finding(
                "seed", OK, "decides nothing: the samples depend only on the input pictures"
            )
        return judge(
            "seed",
            "another seed gives the same samples" if same else "",
            "decides the samples",
            ours,
        )

    def variety(self) -> Finding:
        """Samples of one run and one condition differ."""
        if self.works_on_pictures:
            return Finding("variety", OK, "as the input pictures, which repeat when there are few")
        fixed = {name: next(iter(c.values)) for name, c in self.version.conditions.items()}
        found = self.run(N, fixed)
        twins = next(
            (
                f"samples {i} and {k} are the same"
                for i, k in combinations(range(N), 2)
                if not self.furthest(_row(found, i), _row(found, k))
            ),
            "",
        )
        return judge(
            "variety",
            twins,
            "samples differ from each other",
            "Use batch.latents[i] and batch.rng(i) for sample i.",
        )

    def batch_size(self) -> Finding:
        """Sample i is the same, within the tolerance, in any batch."""
        if not self.version.per_sample:
            return Finding(
                "batch size", OK, "decides the samples, as its package draws them by the batch"
            )
        hint = "Sample i may depend on row i of the batch alone; for rounding errors, state the output's `tolerance`."
        for size in (1, 2):
            if far := self.furthest(self.first, self.run(N, batch_size=size)):
                return Finding("batch size", WRONG, f"in batches of {size}, {far}", hint)
        return Finding("batch size", OK, "1, 2 and 5 give the same samples")

    def condition(self, name: str) -> Finding:
        """Every two values of a condition make other samples of the same seed."""
        values = list(self.version.conditions[name].values)[:MANY]
        found = {v: self.run(FEW, {name: v}) for v in values}
        same = next(
            (
                f"{a} and {b} give the same samples"
                for a, b in combinations(values, 2)
                if not self.furthest(found[a], found[b])
            ),
            "",
        )
        return judge(
            f"{name} =",
            same,
            f"{', '.join(values)} make a difference",
            f'Use batch.conditions["{name}"], (n,).',
        )

    def option(self, option: Option) -> Finding:
        """The model runs at the bounds of an option, and they make a difference."""
        title = f"{option.name} ="
        values = _extremes(option)
        found = [self.run(FEW, {option.name: v}) for v in values]
        if option.type in {"int", "float"} and not option.choices and len(values) < 2:
            return Finding(
                title,
                WARNING,
                "has no bounds",
                "State `minimum` and `maximum`, so that users cannot give values that do not work.",
            )
        if len(values) > 1 and not any(self.furthest(a, b) for a, b in combinations(found, 2)):
            return Finding(
                title,
                WARNING,
                f"{values} all give the same samples",
                f'Use batch.options["{option.name}"].',
            )
        return Finding(title, OK, f"works at {', '.join(map(str, values)) or 'its default'}")

    def latents(self) -> Finding:
        """Other latents make other samples of the same seed."""
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
        """Which values differ most beyond their tolerance, in words; empty where none do."""
        for name, output in self.version.outputs.items():
            if name in a and (far := distance(a[name], b[name])) > (
                0.0 if exact else output.tolerance
            ):
                return f"{name} differ by up to {far:g}, and the tolerance is {output.tolerance:g}"
        return ""


def _row(columns: Columns, i: int) -> Columns:
    return {name: values[i] for name, values in columns.items()}


def _extremes(option: Option) -> list[Any]:
    """The values of an option that are worth a run."""
    if option.choices:
        return list(option.choices)
    if option.type == "bool":
        return [False, True]
    return [OPTION_TYPES[option.type](v) for v in (option.minimum, option.maximum) if v is not None]


def _shapes(version: Version) -> str:
    return ", ".join(
        f"{o.name} {'x'.join(map(str, o.shape)) or 'one'} {o.dtype}"
        for o in version.outputs.values()
    )
