"""Samples on disk: a folder with the samples, ``manifest.jsonl`` (one line per file) and
``provenance.json``.

`writer` fills a folder batch by batch, `journal` notes how far it is good so that a stopped run can
continue, and `reader` reads it back; `verification` compares it with its digests. How samples
become files is a `formats.Format`; `medzoo.plugins` names the class of each.
"""

from __future__ import annotations

# name -> what it holds; the first of `formats.DEFAULTS` that fits is taken where
# none is named
FORMATS = {
    "png": "flat pictures of 8 or 16 bits, floats with 8",
    "png16": "the same, floats with 16 bits (8-bit pictures stay so)",
    "nifti": "pictures and volumes, one .nii.gz per picture or volume",
    "dicom": "pictures and volumes, one file or one series each",
    "csv": "tables, one row per sample",
    "npz": "anything, in one file of arrays",
    "webdataset": "anything, in tar shards for a great many samples",
}
