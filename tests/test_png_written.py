"""The PNG files that medzoo writes are valid, and other libraries read the same values from them."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from medzoo.config import Output
from medzoo.datasets.formats import as_json
from medzoo.datasets.png import png, unpng


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Output, np.ndarray]:
    """A picture or a mask that PNG can hold."""
    kind = draw(st.sampled_from(["image", "mask"]))
    channels, dtype = draw(st.sampled_from([(1, "uint8"), (1, "uint16"), (3, "uint8")]))
    shape = (channels, draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    values = draw(hnp.arrays(dtype, shape))
    if draw(st.booleans()):  # noise; the arrays of hypothesis are mostly of one value
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        values = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return Output("x", kind, dtype, shape), values


@settings(max_examples=150, deadline=None)
@given(pictures(), st.text(max_size=20))
def test_any_picture_is_read_back_by_every_library(
    picture: tuple[Output, np.ndarray], label: str
) -> None:
    output, values = picture
    metadata = {"index": 3, "label": label}
    encoded = png(values, output, as_json(metadata))
    rows = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)  # (H, W[, 3])
    with Image.open(io.BytesIO(encoded)) as image:
        assert np.array_equal(np.array(image), rows)
        assert json.loads(image.text["medzoo"]) == metadata
        assert "Not for diagnosis" in image.text["Comment"]
    found = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found.dtype == values.dtype
    assert np.array_equal(found if found.ndim == 2 else found[..., ::-1], rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.png")
        path.write_bytes(encoded)
        by_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert by_itk.dtype == values.dtype
    assert np.array_equal(by_itk, rows)
    assert np.array_equal(unpng(io.BytesIO(encoded), output), values)


@settings(max_examples=40, deadline=None)
@given(pictures())
def test_the_parts_of_a_file_are_as_the_standard_says(picture: tuple[Output, np.ndarray]) -> None:
    output, values = picture
    encoded, at, names = png(values, output, "{}"), 8, []
    assert encoded[:at] == b"\x89PNG\r\n\x1a\n"
    while at < len(encoded):
        (length,) = struct.unpack_from(">I", encoded, at)
        part = encoded[at + 4 : at + 8 + length]
        assert struct.unpack_from(">I", encoded, at + 8 + length) == (zlib.crc32(part),)
        names.append(part[:4])
        if part[:4] == b"IDAT":
            rows = np.frombuffer(zlib.decompress(part[4:]), np.uint8).reshape(len(values[0]), -1)
            assert set(rows[:, 0]) == {3 if output.kind == "image" else 0}  # the filters
        at += 12 + length
    assert names == [b"IHDR", b"tEXt", b"tEXt", b"IDAT", b"IEND"]


def test_noise_in_the_lower_bits_takes_no_more_than_pillow_needs() -> None:
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(96), np.arange(96))[None]
    for dtype, step in (("uint8", 1), ("uint16", 256)):
        values = (ramp * step + rng.integers(0, 8 * step, ramp.shape)).astype(dtype)
        by_pillow = io.BytesIO()
        Image.fromarray(values[0]).save(by_pillow, "PNG", compress_level=1)
        ours = png(values, Output("x", "image", dtype, values.shape), "{}")
        assert len(ours) < len(by_pillow.getvalue())
