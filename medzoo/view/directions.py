"""Leading directions of what the latent vector does to the picture, named by what they change most.

A few hundred samples of one seed are compared with their latents. The directions are those that
explain most of the pictures' differences by a linear map (a ridge regression of the pictures on the
latents, and its singular vectors). Then a few samples are moved along each direction, and the
property that changes most gives it its name. No two directions have the same name.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, files, seeds, settings
from ..config.columns import unit_range
from ..errors import InputError
from ..generation.model import Model
from ..samples import Samples
from ..samples.shown import names_of, picture_column
from .inputs import first_inputs

SEED = 0
SAMPLES = 256  # that the directions are fitted to
MOST = 8  # directions
BASES = 6  # samples that are moved to measure what a direction changes
NEEDED = SAMPLES + 2 * BASES * MOST  # samples in all
REACH = 2.0  # how far they are moved to both sides, in standard deviations of a latent
SIDE = 32  # most pixels of a side of the pictures that are compared
CLEAR = 0.5  # least change, in standard deviations of a property over samples, that gives a name
# A bright region that grows also changes contrast and texture: the plainer name is preferred.
SIDE_EFFECT = {"contrast": 0.8, "texture": 0.8}
QUICK = 30.0  # seconds that finding them may take before an explorer opens
FORMAT = 1  # of the file in the cache

Properties = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in the space of latents.

    Parameters
    ----------
    name
        The property that it changes most, such as ``brightness``; ``direction 3`` if none is clear.
        The property becomes larger to the right.
    vector
        Of length 1, shape (latent size,), float32. Directions are at right angles to each other.
    change
        How much the property changes from the left end to the right one, in standard deviations of
        the property over samples; 0 without a property.
    """

    name: str
    vector: NDArray[np.float32]
    change: float

    def position(self, latents: NDArray[np.float32]) -> float:
        """Where latents are on this direction."""
        return float(latents.astype(np.float64) @ self.vector.astype(np.float64))

    def moved(self, latents: NDArray[np.float32], position: float) -> NDArray[np.float32]:
        """Latents (size,) moved to a position on this direction, and nowhere else."""
        away = position - self.position(latents)
        moved: NDArray[np.float32] = (latents + away * self.vector).astype(np.float32)
        return moved


def directions_of(model: Model, *, progress: bool | None = None) -> list[Direction]:
    """The leading directions of a model, from the cache or found now, which takes 350 samples.

    A model without latents has none.
    """
    size = model.version.settable_latents
    if not size:
        return []
    picture_column(model.version.outputs)
    path = _cache_path(model)
    with suppress(OSError, ValueError, KeyError):
        return _read(path, size)
    found = _find(model, progress=progress)
    with suppress(OSError):  # a read-only home: they are found again the next time
        _write(path, found)
    return found


def cached_directions(model: Model) -> list[Direction] | None:
    """The leading directions of a model if they are in the cache, or if it has none."""
    size = model.version.settable_latents
    if not size:
        return []
    with suppress(OSError, ValueError, KeyError):
        return _read(_cache_path(model), size)
    return None


def directions_if_quick(model: Model) -> None:
    """Find the leading directions if they are not known and if that is quick."""
    if not model.version.settable_latents or cached_directions(model) is not None:
        return
    began = time.monotonic()
    model.generate(4, seed=0, progress=False)
    if (time.monotonic() - began) / 4 * NEEDED > QUICK:
        return
    print(f"Finding the leading directions of {model.config.id} (once for this version) ...")
    directions_of(model)


def choose(found: Sequence[Direction], direction: int | str) -> Direction:
    """A direction by its number or its name.

    Raises
    ------
    InputError
        There is no such direction.
    """
    if isinstance(direction, str):
        for candidate in found:
            if candidate.name == direction:
                return candidate
    elif type(direction) is int and 0 <= direction < len(found):
        return found[direction]
    names = ", ".join(f"{k} ({d.name})" for k, d in enumerate(found)) or "none"
    raise InputError(f"There is no direction {checks.shown(direction)}.", f"There are {names}.")


# -------------------------------------------------------------------------------------------------
# finding
def _find(model: Model, *, progress: bool | None) -> list[Direction]:
    size = model.version.settable_latents
    inputs = first_inputs(model.version)
    latents = seeds.latents(SEED, range(SAMPLES), size)  # (N, L)
    small, parts = [], []
    for batch in model.stream(SAMPLES, seed=SEED, progress=progress, **inputs):
        small.append(_small(batch))
        parts.append(properties(batch))
    natural = _joined(parts)
    vectors = leading(latents, np.concatenate(small))
    changes = np.zeros((len(vectors), len(natural)))
    spread = np.array([values.std() for values in natural.values()])
    bases = latents[:BASES]
    for k, vector in enumerate(vectors):
        direction = Direction("", vector, 0.0)
        ends = []
        for sign in (-1, 1):
            moved = np.stack([direction.moved(base, sign * REACH) for base in bases])
            samples = model.generate(BASES, seed=SEED, latents=moved, progress=False, **inputs)
            ends.append(np.stack(list(properties(samples).values()), axis=1))  # (BASES, K)
        with np.errstate(invalid="ignore"):
            mean = np.nanmean(ends[1] - ends[0], axis=0)
        changes[k] = np.where(spread > 1e-9, np.nan_to_num(mean) / np.maximum(spread, 1e-9), 0.0)
    return named(vectors, changes, list(natural))


def leading(
    latents: NDArray[np.float32], pictures: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Up to ``MOST`` directions of latents (N, L) that explain most of pictures (N, P)."""
    z = latents.astype(np.float64)
    y = pictures.astype(np.float64) - pictures.mean(axis=0, dtype=np.float64)
    n, size = z.shape
    # The ridge keeps directions that these few samples do not determine from being blown up.
    weights = np.linalg.solve(z @ z.T + size * np.eye(n), y)  # (N, P)
    left, strength, _ = np.linalg.svd(z.T @ weights, full_matrices=False)
    kept = strength > 1e-6 * max(float(strength[0]), 1e-12)
    return [left[:, k].astype(np.float32) for k in range(min(MOST, int(kept.sum())))]


def named(
    vectors: Sequence[NDArray[np.float32]], changes: NDArray[np.float64], names: Sequence[str]
) -> list[Direction]:
    """Give each direction the property that it changes most, the clearest pairs first.

    ``changes`` (directions, properties) are in standard deviations of the properties.
    """
    chosen: dict[int, int] = {}
    left = np.abs(changes) * [SIDE_EFFECT.get(name, 1.0) for name in names]
    for _ in vectors:
        if not left.size or left.max() < CLEAR:
            break
        k, p = divmod(int(left.argmax()), left.shape[1])
        chosen[k] = p
        left[k, :] = left[:, p] = 0
    found = []
    for number, vector in enumerate(vectors):
        if number not in chosen:
            found.append(Direction(f"direction {number}", vector, 0.0))
            continue
        change = float(changes[number, chosen[number]])
        upright = vector if change > 0 else -vector
        found.append(Direction(names[chosen[number]], upright, abs(change)))
    return found


# -------------------------------------------------------------------------------------------------
# measuring
def properties(samples: Samples) -> dict[str, NDArray[np.float64]]:
    """What is measured of each picture or volume, (N,) each.

    Size and position are those of the mask if there is one, and otherwise those of what is brighter
    than half way between dark and bright.
    """
    name = picture_column(samples.outputs, samples.columns)
    values = _gray(samples)
    axes = tuple(range(1, values.ndim))
    mean, spread = values.mean(axis=axes), values.std(axis=axes)
    steps = [np.abs(np.diff(values, axis=axis)).mean(axis=axes) for axis in axes[-2:]]
    measured = {
        "brightness": mean,
        "contrast": spread,
        "texture": sum(steps) / np.maximum(spread, 1e-6),
    }
    masks = [mask for mask in names_of("mask", samples) if mask != name]
    if masks:
        region = np.asarray(samples.columns[masks[0]][:]).max(axis=1) > 0
        measured["size"] = region.mean(axis=axes)
    else:
        low, high = (np.quantile(values, q, axis=axes, keepdims=True) for q in (0.05, 0.95))
        region = values > (low + high) / 2
        measured["size"] = region.mean(axis=axes)
    whole = region.astype(np.float64)
    weight = whole.sum(axis=axes)
    places = ("position, left to right", "position, top to bottom", "position, slice to slice")
    for place, axis in zip(places, reversed(axes), strict=False):
        shape = [1] * values.ndim
        shape[axis] = values.shape[axis]
        at = np.linspace(-0.5, 0.5, values.shape[axis]).reshape(shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            measured[place] = (whole * at).sum(axis=axes) / weight
    return {key: np.asarray(value, np.float64) for key, value in measured.items()}


def _gray(samples: Samples) -> NDArray[np.float64]:
    """Pictures (N, H, W) or volumes (N, D, H, W) in [0, 1], the mean of their channels."""
    name = picture_column(samples.outputs, samples.columns)
    output, values = samples.outputs[name], np.asarray(samples.columns[name][:])
    if output.kind == "mask" or output.value_range is None:
        unit = values.astype(np.float64)  # only differences between samples matter
    else:
        unit = unit_range(values, output).astype(np.float64)
    return unit.mean(axis=1) if values.shape[1] in {1, 3} else unit[:, 0]


def _small(samples: Samples) -> NDArray[np.float32]:
    """Pictures with few pixels, as rows (N, P)."""
    values = _gray(samples)
    for axis in range(1, values.ndim):
        size = values.shape[axis]
        starts = np.arange(0, size, -(-size // SIDE))
        values = np.add.reduceat(values, starts, axis=axis)
    return values.reshape(len(values), -1).astype(np.float32)


def _joined(parts: Sequence[Properties]) -> dict[str, NDArray[np.float64]]:
    joined = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        joined[name] = values[np.isfinite(values)]
    return {name: values if len(values) else np.zeros(1) for name, values in joined.items()}


# -------------------------------------------------------------------------------------------------
# the cache
def _cache_path(model: Model) -> Path:
    """The file of a model version: the same for the same files of its package."""
    sample = model.generate(1, seed=SEED, progress=False, **first_inputs(model.version))
    keys = ("model", "version", "source", "sha256", "weights")
    content = [FORMAT, *(sample.provenance.get(key) for key in keys)]
    text = json.dumps(content, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    name = f"{model.config.id}-{model.version.name}-{digest}.json"
    return settings.cache_folder() / "directions" / name


def _read(path: Path, size: int) -> list[Direction]:
    found = []
    for entry in json.loads(path.read_text(encoding="utf-8"))["directions"]:
        vector = np.array(entry["vector"], np.float32)
        if vector.shape != (size,) or not np.isfinite(vector).all():
            raise ValueError("another model's directions")
        found.append(Direction(str(entry["name"]), vector, float(entry["change"])))
    return found


def _write(path: Path, found: Sequence[Direction]) -> None:
    files.write_json(path, {"directions": list(_entries(found))})


def _entries(found: Sequence[Direction]) -> Iterator[dict[str, Any]]:
    for direction in found:
        yield {
            "name": direction.name,
            "change": round(direction.change, 4),
            "vector": list(map(float, direction.vector)),
        }
