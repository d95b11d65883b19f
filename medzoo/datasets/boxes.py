"""Pictures with boxes, as detectors are trained on them: COCO and YOLO.

Both are the files of PNG, with the boxes in ``samples.csv``, and beside them the same boxes as the
tools of COCO and YOLO read them. A box has the class of its sample if the config names a label
column as its ``classes``. Otherwise there is one class, with the name of the column of boxes.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import count
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..config import BOX, Output
from ..config.columns import boxed_column, corners_of, names_of_kind, present_boxes
from .csv import TABLE, table_names
from .formats import Line, labels_of
from .journal import PROVENANCE
from .png import Png

ANNOTATIONS = "annotations.json"
CLASSES_FILE = "data.yaml"
IMAGES = "images"  # the folder of pictures in which YOLO's tools replace the name by ``labels``


class Boxed(Png):
    """What COCO and YOLO share."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._boxes = self._outputs[names_of_kind(self._outputs, "boxes")[0]]
        self._picture = boxed_column(self._outputs)
        names: Mapping[str, Mapping[str, str]] = self._provenance.get("label_names", {})
        of_label = names.get(self._boxes.classes, {})
        codes = sorted(of_label, key=int)
        self._classes = [of_label[code] for code in codes] or [self._boxes.name]

    @classmethod
    def unfit(cls, outputs: Mapping[str, Output]) -> list[str]:
        """What PNG cannot hold; several columns of boxes, or none."""
        boxes = names_of_kind(outputs, "boxes")
        return super().unfit(outputs) or boxes[1:] or ([] if boxes else ["samples without boxes"])

    def _class_of(self, labels: Mapping[str, Any]) -> int:
        """The number of the class, from 0, of a sample with these labels."""
        column = self._boxes.classes
        return self._classes.index(labels[column]) if column else 0

    def _whole(self, name: str) -> Line:
        """The manifest's line for a file that holds something of all samples."""
        return {
            "file": name,
            "sha256": files.sha256_of(self._folder / name),
            "samples": self._n,
            "columns": [self._boxes.name],
        }


class Yolo(Boxed):
    """``labels/000007_glioma.txt`` has a row for each box of ``images/000007_glioma.png``."""

    @classmethod
    def unfit(cls, outputs: Mapping[str, Output]) -> list[str]:
        """Pictures with another name too: YOLO's tools look for ``labels`` beside ``images``."""
        unfit = super().unfit(outputs)
        if unfit or boxed_column(outputs).name == IMAGES:
            return unfit
        return [f"{boxed_column(outputs).name}, which is not called {IMAGES}"]

    @classmethod
    def listed(cls, outputs: Mapping[str, Output]) -> list[str]:
        """The boxes have their own files, too."""
        return [*super().listed(outputs), *names_of_kind(outputs, "boxes")]

    def _files(self, columns: Mapping[str, NDArray[Any]], row: int, index: int) -> list[Line]:
        """The picture's files, and the text file of its boxes."""
        lines = super()._files(columns, row, index)
        (picture,) = [line for line in lines if line["column"] == self._picture.name]
        labels = labels_of(columns, row, self._outputs, self._provenance)
        number = self._class_of(labels)
        text = ""
        for box in present_boxes(columns[self._boxes.name][row]):
            text += " ".join([str(number), *(f"{value:.9g}" for value in box)]) + "\n"
        name = picture["file"].partition("/")[2]
        path = f"labels/{name.removesuffix('.png')}.txt"
        (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
        with files.atomic(self._folder / path) as file:
            file.write(text.encode())
        digest = hashlib.sha256(text.encode()).hexdigest()
        entry = {key: picture[key] for key in picture.keys() - {"column", "file", "sha256"}}
        return [
            *lines,
            {**entry, "column": self._boxes.name, "file": path, "sha256": digest},
        ]

    def finish(self) -> list[Line]:
        """The names of the classes."""
        text = (
            "# Synthetic, made by a generative model: see provenance.json. Not for diagnosis.\n"
            "# Give a folder of real images as `val`: synthetic ones do not measure a detector.\n"
            f"train: {self._picture.name}\nval: {self._picture.name}\nnames:\n"
        )
        for number, name in enumerate(self._classes):
            text += f"  {number}: {json.dumps(name, ensure_ascii=False)}\n"
        with files.atomic(self._folder / CLASSES_FILE) as file:
            file.write(text.encode())
        return [*super().finish(), self._whole(CLASSES_FILE)]


class Coco(Boxed):
    """``annotations.json`` has all boxes, in pixels."""

    def finish(self) -> list[Line]:
        """Write ``annotations.json`` from the rows of ``samples.csv``."""
        lines = super().finish()
        with files.atomic(self._folder / ANNOTATIONS) as file:
            self._write_annotations(file)
        return [*lines, self._whole(ANNOTATIONS)]

    def _write_annotations(self, file: IO[bytes]) -> None:
        """Write the file piece by piece, since it may be larger than memory."""
        info = {"description": "Synthetic images. Not for diagnosis.", "see": PROVENANCE}
        info |= {
            key: self._provenance[key] for key in ("model", "version") if key in self._provenance
        }
        categories = []
        for number, name in enumerate(self._classes, start=1):
            categories.append({"id": number, "name": name})
        head = json.dumps({"info": info, "licenses": [], "categories": categories})
        file.write(f'{head[:-1]}, "images": ['.encode())
        height, width = self._picture.shape[-2:]
        before = "\n"
        for index, labels, _ in self._rows():
            name = f"{self._picture.name}/{self._stem(index, labels)}.png"
            image = {"id": index, "file_name": name, "width": width, "height": height}
            file.write(f"{before}{json.dumps(image)}".encode())
            before = ",\n"
        file.write(b'],\n"annotations": [')
        before, numbers = "\n", count(1)
        for index, labels, boxes in self._rows():
            category = 1 + self._class_of(labels)
            for left, top, right, bottom in corners_of(
                present_boxes(boxes), self._picture
            ).tolist():
                wide, high = right - left, bottom - top
                annotation = {
                    "id": next(numbers),
                    "image_id": index,
                    "category_id": category,
                    "bbox": [left, top, wide, high],
                    "area": wide * high,
                    "iscrowd": 0,
                }
                file.write(f"{before}{json.dumps(annotation)}".encode())
                before = ",\n"
        file.write(b"]}\n")

    def _rows(self) -> Iterator[tuple[int, dict[str, str], NDArray[np.float32]]]:
        """Index, labels and boxes of each sample, from ``samples.csv``."""
        names = names_of_kind(self._outputs, "label")
        heads = table_names(self._outputs)[self._boxes.name]
        with (self._folder / TABLE).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                boxes = np.array([row[head] for head in heads], dtype=np.float32)
                labels = {name: row[name] for name in names}
                yield int(row["index"]), labels, boxes.reshape(-1, len(BOX))
