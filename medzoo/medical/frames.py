"""Frames, the single pictures of DICOM files, and the choice of a time, echo or b-value.

A file of one picture is one frame. A multi-frame file has one frame per picture, and states the
position and the scaling of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .files import DIFFERENCES, FRAME, numbers

if TYPE_CHECKING:
    from pydicom import Dataset

Z_ROUNDING = 0.01  # millimetres by which two statements of one z may differ
STACK = "StackID"  # distinguishes stacks of slices in one file, which may differ in position


@dataclass(frozen=True)
class Frame:
    """One picture of a file.

    Parameters
    ----------
    header
        The elements that describe this picture. In a multi-frame file: those of the file, of the
        shared functional groups and of the functional groups of this frame.
    file, index
        The file that holds its pixels, and the number of the frame in it, from 0.
    """

    header: Dataset
    file: Path
    index: int = 0

    @property
    def name(self) -> str:
        """The name of the frame in errors."""
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
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
    shared = ds.get("SharedFunctionalGroupsSequence") or []
    if count == 1 and not per_frame and not shared:
        return [Frame(ds, file)]
    if per_frame and len(per_frame) != count:
        raise InputError(
            f"{file} has {count} frames, and says where {len(per_frame)} of them lie.",
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
        for group in (*shared[:1], *per_frame[k : k + 1]):
            _copy_group(group, header)
        if offsets is not None:
            _move(header, offsets[k])
        elif count > 1 and not per_frame and "ImagePositionPatient" in header:
            del header.ImagePositionPatient  # it is not the position of every frame
        frames.append(Frame(header, file, k))
    return frames


def _copy_group(group: Dataset, header: Dataset) -> None:
    """Copy the elements of a functional group, such as the position of a plane, into a header."""
    for element in group:
        if element.VR != "SQ" or element.tag.is_private or not element.value:
            continue
        for inner in element.value[0]:
            header[inner.tag] = inner
            if inner.keyword == "DiffusionGradientDirectionSequence" and inner.value:
                header.update(inner.value[0])


def _offsets(ds: Dataset, count: int) -> list[float] | None:
    """How far the frames of a dose lie from the first, in mm along the normal.

    A file states offsets along the normal, from 0; or the z of each frame, of which the first is
    that of its position (PS3.3, C.8.8.3.2). Where the normal leads to the feet, these two differ.
    """
    offsets = numbers(ds, "GridFrameOffsetVector")
    if len(offsets) != count or count == 1:
        return None
    position = numbers(ds, "ImagePositionPatient")
    direction = 1.0
    if offsets[0] and len(position) == 3 and _normal(ds)[2] < 0:
        if abs(offsets[0] - position[2]) > Z_ROUNDING:
            raise InputError(
                f"{ds.filename} has a GridFrameOffsetVector that begins with {offsets[0]:g}, which "
                f"is neither 0 nor the z of its position, {position[2]:g}.",
                "Export or copy it again.",
            )
        direction = -1.0
    return [direction * (offset - offsets[0]) for offset in offsets]


def _normal(ds: Dataset) -> NDArray[np.float64]:
    """The direction at right angles to rows and columns; zeros if a header does not state these."""
    orientation = numbers(ds, "ImageOrientationPatient")
    if len(orientation) != 6:
        return np.zeros(3)
    return np.cross(orientation[:3], orientation[3:])


def _move(header: Dataset, offset: float) -> None:
    position, normal = numbers(header, "ImagePositionPatient"), _normal(header)
    if len(position) == 3 and normal.any():
        moved = (np.array(position) + offset * normal).tolist()
        header.add_new("ImagePositionPatient", "DS", moved)  # frames share the element of the file


def choose(frames: list[Frame], which: str, frame: int | None) -> list[Frame]:
    """The frames of one time, echo or b-value, of a series that has several at each position.

    Parameters
    ----------
    frames
        All frames of the series.
    which
        The name of the series in errors.
    frame
        Which of the choices, from 0.

    Raises
    ------
    InputError
        There are several choices and ``frame`` is None, or there is no such choice. The error lists
        them.
    """
    choices = _choices(frames)
    if len(choices) == 1 and frame in {None, 0}:
        return frames
    descriptions = []
    for k, (label, members) in enumerate(choices.items()):
        descriptions.append(f"frame={k}: {label} ({len(members)} slices)")
    listed = "; ".join(descriptions)
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
    """Groups of frames that each have one picture of every position, by their differences."""
    all_frames = {"all": frames}
    places = list(map(_place, frames))
    if None in places or (_are_unique(places) and not _varies(frames, STACK)):
        return all_frames
    varying = [name for name in DIFFERENCES if _varies(frames, name)]
    for count in (1, 2, 3):
        for names in combinations(varying, count):
            groups = _grouped(frames, names)
            if _each_is_whole(groups, STACK in names):
                return _labelled(groups, varying)
    return all_frames  # the functions that sort the slices raise the error


def _grouped(frames: list[Frame], names: tuple[str, ...]) -> list[list[Frame]]:
    """Frames by their values of some elements."""
    groups: dict[tuple[str, ...], list[Frame]] = {}
    for frame in frames:
        groups.setdefault(_values(frame, names), []).append(frame)
    return list(groups.values())


def _labelled(groups: list[list[Frame]], varying: list[str]) -> dict[str, list[Frame]]:
    """Groups by what is the same within each and differs between them, sorted by that."""
    names = [name for name in varying if _is_constant_in_each(groups, name)][:3]
    labelled = {}
    for group in sorted(groups, key=lambda group: _sort_key(_values(group[0], names))):
        values = _values(group[0], names)
        parts = [f"{name} {value or '-'}" for name, value in zip(names, values, strict=True)]
        labelled[", ".join(parts)] = group
    return labelled


def _is_constant_in_each(groups: list[list[Frame]], name: str) -> bool:
    return not any(_varies(group, name) for group in groups)


def _each_is_whole(groups: list[list[Frame]], stacks: bool) -> bool:
    """Whether each group has every position once; for ``stacks``, no position twice."""
    everywhere = set(map(_place, groups[0]))
    for group in groups:
        places = list(map(_place, group))
        if not _are_unique(places):
            return False
        if not stacks and set(places) != everywhere:
            return False
    return True


def _are_unique(places: Sequence[tuple[float, ...] | None]) -> bool:
    return len(set(places)) == len(places)


def _place(frame: Frame) -> tuple[float, ...] | None:
    """Position and direction, rounded so that two pictures of one position have equal ones."""
    position = numbers(frame.header, "ImagePositionPatient")
    orientation = numbers(frame.header, "ImageOrientationPatient")
    if len(position) != 3 or len(orientation) != 6:
        return None
    # Adding 0.0 turns -0.0 into 0.0.
    return (*(np.round(position, 2) + 0.0).tolist(), *(np.round(orientation, 3) + 0.0).tolist())


def _varies(frames: Sequence[Frame], name: str) -> bool:
    return len({_value(frame, name) for frame in frames}) > 1


def _values(frame: Frame, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_value(frame, name) for name in names)


def _value(frame: Frame, name: str) -> str:
    """The text of an element; empty if there is none."""
    value = frame.header.get(name)
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    return "\\".join(map(str, value))


def _sort_key(values: tuple[str, ...]) -> list[tuple[float, str]]:
    """Sorts numbers by their size, and before them texts that are not numbers."""
    key = []
    for text in values:
        try:
            number = float(text)
        except ValueError:
            number = -np.inf
        key.append((number, text))
    return key
