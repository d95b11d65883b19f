"""Whether two sides can be compared: refusals and warnings before anything is measured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import BOX, Output
from ..config.columns import known_range, spacing_of
from ..errors import InputError
from .columns import one_of_each
from .data import Array, Data, warn
from .detector import rows_of

FEWEST = 12  # samples of a side; with fewer no figure means anything
PICTURES = ("image", "volume")
GREY = "grey levels"
UNUSED = 0.3  # the share of the other side's brightest pixel below which a side is called dark
TRIES = 20  # of a split into halves
FEW_PATIENTS = 5  # of a side; with fewer, draws of patients hardly differ
LEVELS = re.compile(r"gr[ae]y[ -]?(level|value)s?", re.IGNORECASE)


@dataclass(frozen=True)
class Sides:
    """Three sides that can be compared: synthetic, real, and real ones that were held out."""

    synthetic: Data
    real: Data
    held_out: Data
    notes: tuple[str, ...] = ()
    identical: tuple[tuple[int, int], ...] = ()  # rows of synthetic and real with equal pixels

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of columns that all sides have: picture, mask, boxes, table, label."""
        groups = {"picture": PICTURES, "mask": ("mask",), "boxes": ("boxes",)}
        groups |= {"table": ("table",), "label": ("label",)}
        return tuple(name for name, kinds in groups.items() if self.common(*kinds))

    def common(self, *kinds: str) -> bool:
        """Whether all sides have a column of these kinds."""
        return all(side.column(*kinds) for side in (self.synthetic, self.real, self.held_out))


def matched(
    synthetic: Data, real: Data, held_out: Data | None, patient: str | None = None, seed: int = 0
) -> Sides:
    """Check the sides; split ``real`` if nothing was held out.

    Raises
    ------
    InputError
        They cannot be compared, or the figures would mean nothing.
    """
    notes: list[str] = []
    if held_out is None and real.held_out is not None:
        held_out = real.held_out
        notes.append(f"held out: {held_out.name}, which lies beside {real.name}")
    given = {"synthetic": synthetic, "real": real}
    if held_out is not None:
        given["held_out"] = held_out
    given = one_of_each(given, notes)
    synthetic, real, held_out = given["synthetic"], given["real"], given.get("held_out")
    real_sides = [(role, side) for role, side in given.items() if role != "synthetic"]
    for role, side in given.items():
        if len(side) < FEWEST:
            raise InputError(
                f"{role} has {len(side)} samples.", f"At least {FEWEST} of each side are needed."
            )
        _require_finite(role, side)
        _require_marks_of_pictures(role, side)
    for role, side in real_sides:
        _require_comparable(synthetic, side, role, notes)
        _require_patients(role, side, patient)
    if held_out is None:
        real, held_out = _halves(real, patient, seed, notes)
    else:
        _require_apart(real, held_out, patient)
    if real.patients(patient) is None:
        notes.append(
            "Patients are not known, so intervals treat pictures as independent and are too narrow "
            "if patients have several. `patient` names the column or the part of the file name."
        )
    _note_few_patients({"real": real, "held_out": held_out}, patient, notes)
    _compare_classes(synthetic, real, held_out, notes)
    identical = _identical(synthetic, real, notes)
    return Sides(synthetic, real, held_out, tuple(notes), identical)


def _require_finite(role: str, side: Data) -> None:
    for name, output in side.samples.outputs.items():
        values = getattr(side.samples, name)
        if output.kind == "boxes":
            _require_boxes(role, name, values, side)
            continue
        if values.dtype.kind != "f":
            continue
        if output.kind == "table":
            _require_numbers(role, name, values, output)
            continue
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
        if bad.any():
            raise InputError(
                f"{role}: {name!r} has NaN or infinite values in {int(bad.sum())} of {len(bad)} "
                f"samples, first in {side.row_name(int(np.flatnonzero(bad)[0]))}.",
                "Remove these samples or repair them.",
            )


def _require_numbers(role: str, name: str, values: Array, output: Output) -> None:
    """Raise InputError if a table has infinite values, or a column without any number."""
    table = values.reshape(len(values), -1)
    for problem, is_bad in (
        ("has infinite values", np.isinf(table).any(0)),
        ("has no numbers", np.isnan(table).all(0)),
    ):
        if is_bad.any():
            number = int(np.flatnonzero(is_bad)[0])
            column = output.columns[number] if output.columns else f"{number} of {name!r}"
            raise InputError(
                f"{role}: column {column} {problem}.",
                "Leave the column out on all sides, or leave cells empty where a value is missing.",
            )


def _require_boxes(role: str, name: str, values: Array, side: Data) -> None:
    """Raise InputError unless each row is a box inside the picture, or NaN, which is none."""
    if values.shape[-1] != len(BOX):
        raise InputError(
            f"{role}: {name!r} has shape {values.shape}.", "Boxes are (N, 4) or (N, most, 4)."
        )
    rows = rows_of(values)
    is_none = np.isnan(rows).all(2)
    low, high = rows.min(2) >= 0, rows.max(2) <= 1
    wrong = ~is_none & ~(low & high & (rows[..., 2:].min(2) > 0))
    if wrong.any():
        row, number = np.argwhere(wrong)[0]
        raise InputError(
            f"{role}: {name!r} has {int(wrong.any(1).sum())} samples with an invalid box, "
            f"first {side.row_name(row)}: {rows[row, number].tolist()}.",
            "A box is centre x, centre y, width and height, as fractions of the picture from 0 to "
            "1; a row of NaN stands for no box.",
        )


def _require_marks_of_pictures(role: str, side: Data) -> None:
    """Raise InputError if masks and pictures differ in size."""
    mask, picture = side.column("mask"), side.column(*PICTURES)
    if not (mask and picture):
        return
    shapes = [getattr(side.samples, name).shape[2:] for name in (mask, picture)]
    if shapes[0] != shapes[1]:
        sizes = ["x".join(map(str, shape)) for shape in shapes]
        raise InputError(
            f"{role}: masks are {sizes[0]}, {picture} {sizes[1]}.", "Bring both to one size."
        )


def _require_comparable(synthetic: Data, real: Data, role: str, notes: list[str]) -> None:
    """Raise InputError unless at least one kind of column can be compared."""
    one, other = synthetic.column(*PICTURES), real.column(*PICTURES)
    if one and other:
        require_same_pictures(
            synthetic.samples.outputs[one], real.samples.outputs[other], role, notes
        )
        _warn_of_unused_bits(synthetic, real, role, notes)
    table, other_table = synthetic.column("table"), real.column("table")
    both_tables = table is not None and other_table is not None
    if table and other_table:
        shapes = synthetic.samples.outputs[table].shape, real.samples.outputs[other_table].shape
        names = (
            synthetic.samples.outputs[table].columns,
            real.samples.outputs[other_table].columns,
        )
        if shapes[0] != shapes[1] or (all(names) and names[0] != names[1]):
            raise InputError(
                f"The tables differ: synthetic has {names[0] or shapes[0]}, {role} "
                f"{names[1] or shapes[1]}.",
                "Give the same columns in the same order.",
            )
    _require_same_axes(synthetic, real, role)
    both_marked = False
    for kind in ("mask", "boxes"):
        both_marked |= bool(synthetic.column(kind) and real.column(kind))
    if not (one and other) and not both_tables and not both_marked:
        raise InputError(
            f"synthetic has {', '.join(synthetic.samples.outputs)}, {role} has "
            f"{', '.join(real.samples.outputs)}: nothing can be compared.",
            "Both need pictures, a table, masks or boxes.",
        )


def _require_same_axes(synthetic: Data, real: Data, role: str) -> None:
    """Raise InputError if one side has masks of pictures, and the other masks of volumes."""
    axes = {}
    for name, side in (("synthetic", synthetic), (role, real)):
        mask = side.column("mask")
        if mask:
            axes[name] = len(side.samples.outputs[mask].shape) - 1
    if len(set(axes.values())) > 1:
        raise InputError(
            f"synthetic has masks of {axes['synthetic']} axes, {role} of {axes[role]}.",
            "Both must be masks of pictures, or both masks of volumes.",
        )


def unit_of(output: Output) -> str:
    """The unit of a column; configs write grey levels in several ways, or leave them out."""
    unit = output.unit.strip()
    return GREY if not unit or LEVELS.fullmatch(unit) else unit


def require_same_pictures(one: Output, other: Output, role: str, notes: list[str]) -> None:
    """Raise InputError unless two columns have the same kind, channels, size and unit."""
    if one.kind != other.kind or one.shape[0] != other.shape[0]:
        raise InputError(
            f"synthetic has {one.kind}s of {one.shape[0]} channels, {role} has {other.kind}s of "
            f"{other.shape[0]}.",
            "Both must be pictures or both volumes, with the same channels.",
        )
    if one.shape != other.shape:
        sizes = ["x".join(map(str, output.shape[1:])) for output in (one, other)]
        raise InputError(
            f"synthetic has {one.kind}s of {sizes[0]}, {role} of {sizes[1]}.",
            "resize=True (--resize) brings real pictures to the size of the synthetic ones.",
        )
    if unit_of(one) != unit_of(other):
        raise InputError(
            f"synthetic is in {unit_of(one)}, {role} in {unit_of(other)}.",
            "Convert one of them: values of different units cannot be compared.",
        )
    spacings = spacing_of(one), spacing_of(other)
    if one.spacing and other.spacing and not np.allclose(*spacings, rtol=0.05):
        warn(
            f"The pixels differ in size: synthetic {one.spacing} mm, {role} {other.spacing} mm. "
            "Distances compare pixels, not millimetres.",
            notes,
        )


def _warn_of_unused_bits(synthetic: Data, real: Data, role: str, notes: list[str]) -> None:
    """Warn if the numbers of one side fill their range, and those of the other a part of it.

    Pictures of 12 bits in files of 16 bits are nearly black beside pictures of 8 bits.
    """
    shares, tops = {}, {}
    for name, side in (("synthetic", synthetic), (role, real)):
        column = str(side.column(*PICTURES))
        values, (low, high) = (
            getattr(side.samples, column),
            known_range(side.samples.outputs[column]),
        )
        if unit_of(side.samples.outputs[column]) != GREY or low != 0:
            return
        tops[name] = float(values.max()), high
        shares[name] = tops[name][0] / high
    dark = min(shares, key=lambda name: shares[name])
    if shares[dark] < UNUSED * max(shares.values()):
        top, high = tops[dark]
        warn(
            f"{dark}: no pixel is above {top:g}, and {high:g} is white, so its pictures are much "
            "darker than those of the other side. Scale them, or give medzoo.Samples with a "
            "`range`.",
            notes,
        )


def _halves(real: Data, patient: str | None, seed: int, notes: list[str]) -> tuple[Data, Data]:
    """Two halves of the real data, patient-wise if patients are known."""
    if len(real) < 2 * FEWEST:
        raise InputError(
            f"real has {len(real)} samples, too few to hold half of them out.",
            f"Give at least {2 * FEWEST}, or held_out as well.",
        )
    patients = real.patients(patient)
    is_known = patients is not None
    if patients is None:
        patients = _first_equal_rows(real)
        warn(
            "Nothing was held out, so half of the real data is, at random. If a patient has "
            "several pictures, they are in both halves, and copies are harder to see.",
            notes,
        )
    else:
        notes.append("Nothing was held out, so half of the real patients are, at random.")
    names, codes = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        one, other = _split(real, codes, rng)
        if min(len(one), len(other)) >= FEWEST and not _new_classes(one, other):
            break
    if min(len(one), len(other)) < FEWEST:
        units = "patients" if is_known else "different pictures"
        raise InputError(
            f"real has {len(real)} samples of {len(names)} {units}, and cannot be split into two "
            f"halves of at least {FEWEST} samples.",
            "Give held_out as well.",
        )
    if both := _equal_rows(one, other):
        raise InputError(
            f"{len(both)} pictures of real occur with two patients, first "
            f"{one.row_name(both[0][0])} and {other.row_name(both[0][1])}.",
            "Remove one of each: a picture that is held out must be new.",
        )
    return one, other


def _split(real: Data, codes: NDArray[np.int64], rng: np.random.Generator) -> tuple[Data, Data]:
    """Two halves at random; samples with the same code stay together."""
    sizes = np.bincount(codes)
    order = rng.permutation(len(sizes))
    counts = np.cumsum(sizes[order])
    kept = order[: int(np.searchsorted(counts, len(real) / 2)) + 1]
    is_kept = np.isin(codes, kept)
    return real.at(np.flatnonzero(is_kept)), real.at(np.flatnonzero(~is_kept))


def _new_classes(real: Data, held_out: Data) -> list[str]:
    """The classes of held-out data that real data do not have."""
    known, held = real.column("label"), held_out.column("label")
    if known is None or held is None:
        return []
    return sorted(set(held_out.texts[held].tolist()) - set(real.texts[known].tolist()))


def _note_few_patients(sides: Mapping[str, Data], patient: str | None, notes: list[str]) -> None:
    for role, side in sides.items():
        patients = side.patients(patient)
        if patients is None:
            continue
        count = len(np.unique(patients))
        if count < FEW_PATIENTS:
            notes.append(
                f"{role} is of {count} patients: with fewer than {FEW_PATIENTS}, intervals are too "
                "narrow."
            )


def _first_equal_rows(side: Data) -> NDArray[np.str_]:
    """For each sample the number of the first one with the same pixels.

    A picture that occurs twice must not be in both halves: copies of it would look like new ones.
    """
    name = side.column(*PICTURES)
    if name is None:
        return np.array([str(row) for row in range(len(side))])
    first: dict[bytes, int] = {}
    digests = _digests(getattr(side.samples, name))
    return np.array([str(first.setdefault(key, row)) for row, key in enumerate(digests)])


def _require_patients(role: str, side: Data, patient: str | None) -> None:
    """Raise InputError if patients are named by a column that a side does not have."""
    if patient is not None and side.patients(patient) is None:
        raise InputError(
            f"patient={patient!r} is not a column of {role}; it has "
            f"{', '.join(side.texts) or 'none'}.",
            "Name the column that tells patients apart; in a folder of pictures, also a regular "
            "expression for their paths.",
        )


def _require_apart(real: Data, held_out: Data, patient: str | None) -> None:
    """Raise InputError if a picture or a patient is on both sides."""
    both = _equal_rows(real, held_out)
    if both:
        raise InputError(
            f"{len(both)} pictures are in real and in held_out, first "
            f"{real.row_name(both[0][0])} and {held_out.row_name(both[0][1])}.",
            "Held-out pictures must be new: remove them from one side.",
        )
    one, other = real.patients(patient), held_out.patients(patient)
    if one is None or other is None:
        return
    if common := sorted(set(one.tolist()) & set(other.tolist())):
        raise InputError(
            f"{len(common)} patients are in real and in held_out, first {common[0]}.",
            "Split by patient: pictures of one patient resemble each other.",
        )


def _equal_rows(one: Data, other: Data) -> list[tuple[int, int]]:
    """Rows with the same pixels."""
    names = one.column(*PICTURES), other.column(*PICTURES)
    if None in names:
        return []
    numbers: dict[bytes, int] = {}
    for row, key in enumerate(_digests(getattr(other.samples, str(names[1])))):
        numbers.setdefault(key, row)
    pairs = []
    for row, key in enumerate(_digests(getattr(one.samples, str(names[0])))):
        if key in numbers:
            pairs.append((row, numbers[key]))
    return pairs


def _digests(values: Array) -> Iterator[bytes]:
    for value in values:
        pixels = np.ascontiguousarray(value).tobytes()
        yield hashlib.sha256(str(value.dtype).encode() + pixels).digest()


def _identical(synthetic: Data, real: Data, notes: list[str]) -> tuple[tuple[int, int], ...]:
    """Synthetic pictures that are equal to a real one: a finding, not an error."""
    pairs = _equal_rows(synthetic, real)
    if pairs:
        warn(
            f"{len(pairs)} synthetic pictures equal a real one pixel for pixel, first "
            f"{synthetic.row_name(pairs[0][0])} and {real.row_name(pairs[0][1])}.",
            notes,
        )
    name = synthetic.column(*PICTURES)
    if name:
        keys = list(_digests(getattr(synthetic.samples, name)))
        if len(set(keys)) < len(keys):
            warn(
                f"{len(keys) - len(set(keys))} synthetic pictures repeat another one exactly. "
                "Figures of neighbours (precision, density, nnaa) then mean little.",
                notes,
            )
    return tuple(pairs)


def _compare_classes(synthetic: Data, real: Data, held_out: Data, notes: list[str]) -> None:
    """Compare the names of classes: a class that real lacks is an error, the reverse a finding."""
    if new := _new_classes(real, held_out):
        raise InputError(
            f"held_out has the class {new[0]!r}, which real does not have.",
            "Both must have the same classes.",
        )
    one, other = synthetic.column("label"), real.column("label")
    if one is None or other is None:
        return
    made, known = set(synthetic.texts[one].tolist()), set(real.texts[other].tolist())
    if unknown := sorted(made - known):
        raise InputError(
            f"synthetic has the classes {_listed(sorted(made))}, real has "
            f"{_listed(sorted(known))}: {unknown[0]!r} is not in real.",
            "classes={'name in real': 'name in synthetic'} (--class A=B) renames them.",
        )
    if missing := sorted(known - made):
        warn(f"synthetic lacks {_listed(missing)}, which real has.", notes)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown + (", ..." if len(names) > 6 else "")


def range_of(side: Data, sides: Sides) -> tuple[float, float]:
    """The values that become -1 and 1 in the pictures of a side.

    They are the side's own range for grey levels. HU and other units have one range for all sides,
    so that a number means the same on each.

    Raises
    ------
    InputError
        A column has no value range.
    """
    if unit_of(_pictures_of(side)) == GREY:
        return known_range(_pictures_of(side))
    together = sides.synthetic, sides.real, sides.held_out
    lows, highs = zip(*(known_range(_pictures_of(one)) for one in together), strict=True)
    return min(lows), max(highs)


def _pictures_of(side: Data) -> Output:
    """The column of pictures of a side that has one."""
    return side.samples.outputs[str(side.column(*PICTURES))]


def unit_values(side: Data, sides: Sides) -> NDArray[np.float32]:
    """The pictures of a side, scaled to [-1, 1] by `range_of`."""
    low, high = range_of(side, sides)
    name = str(side.column(*PICTURES))
    values = getattr(side.samples, name).astype(np.float32)
    scaled: NDArray[np.float32] = (values - np.float32(low)) / np.float32((high - low) / 2) - 1
    return scaled
