"""Samples on disk: a folder with the samples, ``manifest.jsonl`` (one line per file) and
``provenance.json``.

`writer` fills a folder batch by batch, `journal` notes how far it is good so that a stopped run can
continue, and `reader` reads it back; `medzoo.audit` compares it with its digests. How samples
become files is a `formats.Format`; each has a module.
"""

from __future__ import annotations

# name -> its class, and what it holds; the first of `formats.DEFAULTS` that fits is taken where
# none is named
FORMATS = {
    "png": ("png.Png", "flat pictures of 8 or 16 bits, floats with 8"),
    "png16": ("png.Png16", "the same, floats with 16 bits (8-bit pictures stay so)"),
    "nifti": ("nifti.Nifti", "pictures and volumes, one .nii.gz per picture or volume"),
    "dicom": ("dicom.Dicom", "pictures and volumes, one file or one series each"),
    "csv": ("csv.Csv", "tables, one row per sample"),
    "npz": ("npz.Npz", "anything, in one file of arrays"),
    "webdataset": ("webdataset.WebDataset", "anything, in tar shards for a great many samples"),
}
