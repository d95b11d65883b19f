"""The geometry of the user's scans, for the columns that have it too: the size of their pictures,
their spacing, and their place in the patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..config import Output, Version
from ..errors import InputError
from ..medical.grids import Place

Array = NDArray[Any]
ALIKE = 1e-4  # of a millimetre: the rounding of spacings in headers


class Pictures(Protocol):
    """The pictures of one input, in files or in an array."""

    @property
    def places(self) -> Sequence[Place | None]:
        """The place of each picture of a scan; empty if there are none but other pictures."""

    def sizes(self) -> list[tuple[int, ...]]:
        """The different sizes of the pictures, without channels."""


class Geometry:
    """The places of the scans whose geometry outputs or other inputs have.

    Parameters
    ----------
    version
        The version, whose config says which these are.
    pictures
        Input -> the user's pictures.

    Raises
    ------
    InputError
        The pictures of such an input have several sizes, or a scan does not state its place. Two
        inputs that go together lie on different grids, or one of them is missing.
    """

    def __init__(self, version: Version, pictures: Mapping[str, Pictures]) -> None:
        geometries = {output.geometry for output in version.outputs.values()}
        geometries |= {partner.geometry for partner in version.inputs.values()}
        self._places: dict[str, Sequence[Place | None]] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}
        for name in sorted(geometries & set(pictures)):
            places = pictures[name].places
            self._sizes[name] = _one_size(name, pictures[name])
            _require_places(name, places)
            self._places[name] = places
        for name, source in pictures.items():
            partner = version.inputs[name].geometry
            if partner and partner not in pictures:
                raise InputError(
                    f"inputs: {name} goes with {partner}, which is missing.",
                    f"Give {partner} too. {version.inputs[partner].help}",
                )
            if partner:
                _require_same(name, source, partner, pictures[partner])

    def grids(self, name: str) -> list[dict[str, Any]]:
        """What the provenance holds of an input: the grid of each picture. None of other inputs."""
        return [place.own.record() for place in self._places.get(name, ()) if place]

    def outputs(self, outputs: Mapping[str, Output]) -> dict[str, Output]:
        """The columns with the size and spacing that they have for these pictures."""
        resolved = {}
        for name, output in outputs.items():
            resolved[name] = output
            if output.geometry in self._sizes:
                resolved[name] = self._resolved(output)
        return resolved

    def _resolved(self, output: Output) -> Output:
        size = self._sizes[output.geometry]
        places = self._places[output.geometry]
        spacing = output.spacing
        if places:
            spacings = np.array([place.own.spacing[-len(size) :] for place in places if place])
            same = np.ptp(spacings, axis=0).max() < ALIKE
            spacing = tuple(spacings[0].tolist()) if same else None
        return replace(output, shape=(output.shape[0], *size), spacing=spacing)

    def back(
        self, columns: dict[str, Array], outputs: Mapping[str, Output], numbers: Array
    ) -> dict[str, Array]:
        """The columns of the samples ``numbers``, each on the grid of the scan's own files."""
        returned = dict(columns)
        for name, output in outputs.items():
            places = self._places.get(output.geometry)
            if not places:
                continue
            rows = []
            for number, values in zip(numbers.tolist(), columns[name], strict=True):
                place = places[number % len(places)]
                assert place is not None  # noqa: S101  (`_require_places`)
                rows.append(place.back(values, labels=output.kind == "mask"))
            returned[name] = np.stack(rows)
        return returned


def _one_size(name: str, pictures: Pictures) -> tuple[int, ...]:
    sizes: set[tuple[int, ...]] = {place.own.shape for place in pictures.places if place}
    sizes = sizes or set(pictures.sizes())
    if len(sizes) > 1:
        shown = [" x ".join(map(str, size)) for size in sorted(sizes)]
        raise InputError(
            f"inputs: {name} has pictures of {' and '.join(shown[:3])}, and the samples have the "
            "size of the pictures.",
            "Generate from those of one size at a time.",
        )
    size = next(iter(sizes))
    axes = len(pictures.sizes()[0])
    return size[-axes:]


def _require_places(name: str, places: Sequence[Place | None]) -> None:
    if any(place is None for place in places):
        raise InputError(
            f"inputs: the place of {name} in the patient is not known, and the samples are to have "
            "it.",
            "Give scans that state position, orientation and spacing, and name no structure (#). "
            "Without a place, give them as an array.",
        )


def _require_same(name: str, source: Pictures, partner: str, other: Pictures) -> None:
    """An error if the pictures of two inputs that go together are on different grids."""
    if bool(source.places) != bool(other.places):
        placed, plain = (name, partner) if source.places else (partner, name)
        raise InputError(
            f"inputs: the place of {placed} in the patient is known, and that of {plain} is not.",
            "Give both as scans (DICOM or NIfTI), or both as arrays.",
        )
    if not source.places and source.sizes() != other.sizes():
        raise InputError(
            f"inputs: {name} has the size {source.sizes()[0]}, and {partner} {other.sizes()[0]}.",
            f"Give {name} on the grid of {partner}.",
        )
    _require_places(name, source.places)
    pairs = zip(source.places, other.places, strict=True)
    for number, (one, two) in enumerate(pairs):
        if one and two and not one.own.is_at(two.own):
            raise InputError(
                f"inputs: picture {number} of {name} lies elsewhere than that of {partner}: "
                f"{_shown(one)}, and {_shown(two)}.",
                f"Resample {name} to the grid of {partner} first.",
            )


def _shown(place: Place) -> str:
    """A grid in words, in millimetres."""
    size = " x ".join(map(str, place.own.shape))
    spacing = " x ".join(f"{mm:.4g}" for mm in place.own.spacing)
    corner = ", ".join(f"{mm:.4g}" for mm in place.own.affine[:3, 3])
    return f"{size} voxels of {spacing} mm with the first one at ({corner})"
