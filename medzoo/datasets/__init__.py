"""Samples on disk: a folder with the samples, ``manifest.jsonl`` (one line per file) and
``provenance.json``.

`writer` fills a folder batch by batch. `journal` records how much of it is complete, so that a
stopped run can continue. `reader` reads the folder back, and `verification` compares it with its
digests. Each format is a class, a `formats.Format`; `medzoo.plugins` lists them.
"""

from __future__ import annotations

# Name -> what the format holds. By default the first of `formats.DEFAULTS` that fits is used.
FORMATS = {
    "png": "flat pictures of 8 or 16 bits, floats with 8",
    "png16": "the same, floats with 16 bits (8-bit pictures stay so)",
    "coco": "flat pictures with boxes: png, and annotations.json",
    "yolo": "flat pictures with boxes: png, and one text file each",
    "nifti": "pictures and volumes, one .nii.gz per picture or volume",
    "dicom": "pictures and volumes, one file or one series each",
    "csv": "tables, one row per sample",
    "npz": "anything, in one file of arrays",
    "webdataset": "anything, in tar shards for a great many samples",
}
