"""Frames: the single pictures of DICOM files, and the choice among several times, echoes or b-values.

A file of one picture is one frame. A multi-frame file has one frame per picture, and says of each
where it lies and how its values are scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .files import DIFFERENCES, FRAME, numbers

if TYPE_CHECKING:
    from pydicom import Dataset

STACK = "StackID"  # tells apart stacks of slices in one file, which may lie in different places


@dataclass(frozen=True)
class Frame:
    """One picture of a file.

    Parameters
    ----------
    header
        What is true of this picture: of a multi-frame file, the elements of the file with those of
        the shared and of its own functional groups.
    file, index
        Where its pixels are; 0 in a file of one picture.
    """

    header: Dataset
    file: Path
    index: int = 0

    @property
    def name(self) -> str:
        """As an error names it."""
        several = "PerFrameFunctionalGroupsSequence" in self.header or self.index
        return f"{self.file.name} (frame {self.index})" if several else self.file.name


def frame_count(ds: Dataset) -> int:
    """The number of frames of a file, at least 1."""
    count = (numbers(ds, "NumberOfFrames") or [1])[0]
    if count != int(count) or count < 1:
        raise InputError(
            f"{ds.filename} has {count:g} for NumberOfFrames.",
            "Correct the element, or leave the file out.",
        )
    return int(count)


def frames_of(ds: Dataset) -> list[Frame]:
    """The frames of a file, in the order in which they are stored."""
    from pydicom import Dataset

    file, count = Path(ds.filename), frame_count(ds)
    own = ds.get("PerFrameFunctionalGroupsSequence") or []
    shared = ds.get("SharedFunctionalGroupsSequence") or []
    if count == 1 and not own and not shared:
        return [Frame(ds, file)]
    if own and len(own) != count:
        raise InputError(
            f"{file} has {count} frames, and says where {len(own)} of them lie.",
            "Export or copy it again.",
        )
    offsets = _offsets(ds, count)
    frames = []
    for k in range(count):
        header = Dataset()
        header.filename = ds.filename
        for keyword in FRAME:
            if keyword in ds:
                header[keyword] = ds.get_item(keyword)
        for group in (*shared[:1], *own[k : k + 1]):
            _copy_group(group, header)
        if offsets is not None:
            _move(header, offsets[k])
        elif count > 1 and not own and "ImagePositionPatient" in header:
            del header.ImagePositionPatient  # of the first frame, or of none
        frames.append(Frame(header, file, k))
    return frames


def _copy_group(group: Dataset, header: Dataset) -> None:
    """Copy what a functional group says, such as the position of a plane, into a flat header."""
    for element in group:
        if element.VR != "SQ" or element.tag.is_private or not element.value:
            continue
        for inner in element.value[0]:
            header[inner.tag] = inner
            if inner.keyword == "DiffusionGradientDirectionSequence" and inner.value:
                header.update(inner.value[0])


def _offsets(ds: Dataset, count: int) -> list[float] | None:
    """How far the frames of a dose lie from the first, in mm along the normal."""
    offsets = numbers(ds, "GridFrameOffsetVector")
    if len(offsets) != count or count == 1:
        return None
    return [offset - offsets[0] for offset in offsets]


def _move(header: Dataset, offset: float) -> None:
    position = numbers(header, "ImagePositionPatient")
    orientation = numbers(header, "ImageOrientationPatient")
    if len(position) == 3 and len(orientation) == 6:
        normal = np.cross(orientation[:3], orientation[3:])
        header.ImagePositionPatient = (np.array(position) + offset * normal).tolist()


def choose(frames: list[Frame], which: str, frame: int | None) -> list[Frame]:
    """The frames of one time, echo or b-value, of a series that has several at each place.

    Parameters
    ----------
    frames
        All of the series.
    which
        The series, as an error names it.
    frame
        Which of the choices, from 0.

    Raises
    ------
    InputError
        There are several, and none was chosen; or there is no such choice. Lists them.
    """
    choices = _choices(frames)
    if len(choices) == 1 and frame in {None, 0}:
        return frames
    listed = "; ".join(
        f"frame={k}: {label} ({len(members)} slices)"
        for k, (label, members) in enumerate(choices.items())
    )
    if frame is None:
        raise InputError(
            f"{which} has {len(choices)} pictures of each place.", f"Choose one: {listed}."
        )
    if not 0 <= frame < len(choices):
        one = "one picture of each place" if len(choices) == 1 else f"{len(choices)} of each place"
        raise InputError(
            f"{which} has no frame={frame}: it has {one}.",
            f"Choose one of: {listed}." if len(choices) > 1 else "Leave frame= out.",
        )
    return list(choices.values())[frame]


def _choices(frames: list[Frame]) -> dict[str, list[Frame]]:
    """The groups of frames that each have one picture of every place, by what tells them apart."""
    whole = {"all": frames}
    places = [_place(frame) for frame in frames]
    if None in places or (len(set(places)) == len(places) and not _varies(frames, STACK)):
        return whole
    varying = [name for name in DIFFERENCES if _varies(frames, name)]
    for count in (1, 2, 3):
        for names in combinations(varying, count):
            groups: dict[tuple[str, ...], list[Frame]] = {}
            for frame in frames:
                groups.setdefault(tuple(_value(frame, name) for name in names), []).append(frame)
            if _each_is_whole(list(groups.values()), STACK in names):
                return _labelled(list(groups.values()), varying)
    return whole  # what is wrong with it is said by who puts it in order


def _labelled(groups: list[list[Frame]], varying: list[str]) -> dict[str, list[Frame]]:
    """Groups by what is the same within each and differs between them, sorted by that."""
    telling = [name for name in varying if not any(_varies(group, name) for group in groups)][:3]
    keys = [tuple(_value(group[0], name) for name in telling) for group in groups]
    order = sorted(range(len(groups)), key=lambda k: _sortable(keys[k]))
    return {
        ", ".join(f"{n} {v or '-'}" for n, v in zip(telling, keys[k], strict=True)): groups[k]
        for k in order
    }


def _each_is_whole(groups: list[list[Frame]], stacks: bool) -> bool:
    """Whether each group has every place once; for ``stacks``, no place twice."""
    places = [[_place(frame) for frame in group] for group in groups]
    once = all(len(set(of_one)) == len(of_one) for of_one in places)
    return once and (stacks or all(set(of_one) == set(places[0]) for of_one in places))


def _place(frame: Frame) -> tuple[float, ...] | None:
    """Position and direction, rounded so that two pictures of one place are found."""
    position = numbers(frame.header, "ImagePositionPatient")
    orientation = numbers(frame.header, "ImageOrientationPatient")
    if len(position) != 3 or len(orientation) != 6:
        return None
    return tuple(round(v, 2) + 0.0 for v in position) + tuple(
        round(v, 3) + 0.0 for v in orientation
    )


def _varies(frames: Sequence[Frame], name: str) -> bool:
    return len({_value(frame, name) for frame in frames}) > 1


def _value(frame: Frame, name: str) -> str:
    """The text of an element; empty where there is none."""
    value = frame.header.get(name)
    if value is None or isinstance(value, (str, int, float)):
        return "" if value is None else str(value)
    return "\\".join(str(v) for v in value)


def _sortable(key: tuple[str, ...]) -> list[tuple[float, str]]:
    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return -np.inf

    return [(number(text), text) for text in key]
