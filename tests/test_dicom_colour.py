"""DICOM in colour: red, green and blue where colour is wanted, refused where one channel is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from scan_files import save, series

from medzoo import medical
from medzoo.config.model import Input
from medzoo.errors import InputError
from medzoo.inputs import Inputs

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)


def inputs(what: Any, about: Input) -> np.ndarray:
    """All pictures (n, C, H, W) that a package gets."""
    version: Any = SimpleNamespace(inputs={about.name: about}, outputs={}, call=None)
    found = Inputs.of("it", version, what)
    assert found is not None
    return np.asarray(found.batch(np.arange(found.count))[about.name])


def secondary(path: Path, **elements: Any) -> Path:
    ds = Dataset()
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.7", "US"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored = 6, 5, 8, 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return save(ds, path)


def rgb(path: Path, pixels: np.ndarray = PIXELS, **more: Any) -> Path:
    return secondary(
        path,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        PixelData=pixels.tobytes(),
        **more,
    )


def palette(path: Path, numbers: np.ndarray, bits: int, shift: int = 0) -> tuple[Path, np.ndarray]:
    """A picture with a palette, and its colours."""
    table = np.random.default_rng(1).integers(0, 2**bits, (256, 3)) << shift
    entry, size = ("<u1", 8) if bits + shift <= 8 else ("<u2", 16)
    tables = {
        f"{colour}PaletteColorLookupTableData": table[:, k].astype(entry).tobytes()
        for k, colour in enumerate(("Red", "Green", "Blue"))
    }
    described = {
        f"{colour}PaletteColorLookupTableDescriptor": [256, 0, size]
        for colour in ("Red", "Green", "Blue")
    }
    secondary(
        path,
        SamplesPerPixel=1,
        PhotometricInterpretation="PALETTE COLOR",
        PixelData=numbers.astype(np.uint8).tobytes(),
        **tables,
        **described,
    )
    return path, table[numbers]


@pytest.mark.parametrize(("bits", "shift"), [(8, 0), (8, 8), (16, 0)])
def test_a_palette_is_colours(tmp_path: Path, bits: int, shift: int) -> None:
    numbers = np.arange(30).reshape(6, 5) * 8
    path, colours = palette(tmp_path / "a.dcm", numbers, bits, shift)
    found = medical.read_colour(path)
    assert found.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert np.array_equal(found, colours >> shift)
    with pytest.raises(InputError, match=r"has colours \(PALETTE COLOR\), and grey levels are"):
        medical.read_picture(path)
    given = inputs(path, Input("image", "image", "US.", (3, 6, 5)))
    assert np.array_equal(given[0], np.moveaxis(found, -1, 0))
    assert given.dtype == found.dtype


def test_colours_are_given_where_colour_is_wanted(tmp_path: Path) -> None:
    path = rgb(tmp_path / "a.dcm")
    first = np.moveaxis(PIXELS, -1, 0)
    for about in (
        Input("image", "image", "US.", (3, 6, 5)),
        Input("image", "image", "US."),
        Input("image", "image", "US.", (3, 6, 5), range=(0, 255)),
    ):
        given = inputs([path, path], about)
        assert given.dtype == np.uint8
        assert np.array_equal(given, [first, first])
    signed = inputs(path, Input("image", "image", "US.", (3, 6, 5), range=(-1, 1)))
    np.testing.assert_allclose(signed[0], first / 127.5 - 1, atol=1e-6)


def test_colours_are_refused_where_one_channel_is_wanted(tmp_path: Path) -> None:
    path = rgb(tmp_path / "a.dcm")
    wanted = {
        "one channel is needed": Input("image", "image", "US.", (1, 6, 5)),
        "a mask is needed": Input("mask", "mask", "A mask."),
        "has colours, not HU": Input("image", "image", "CT.", range=(0, 9), unit="HU"),
    }
    for says, about in wanted.items():
        with pytest.raises(InputError, match=says):
            inputs(path, about)
    with pytest.raises(InputError, match=r"has colours \(RGB\), and grey levels are wanted"):
        medical.read_picture(path)
    grey = np.repeat(PIXELS[..., :1], 3, -1)  # grey saved in colour
    given = inputs(rgb(tmp_path / "b.dcm", grey), Input("image", "image", "US.", (1, 6, 5)))
    assert np.array_equal(given[0, 0], PIXELS[..., 0])
    (ct,) = series(tmp_path / "ct", np.zeros((1, 6, 5)))
    with pytest.raises(InputError, match="is MONOCHROME2, which is not read as colours"):
        medical.read_colour(ct)


def test_a_frame_of_a_colour_film_is_chosen(tmp_path: Path) -> None:
    film = np.stack([PIXELS, 255 - PIXELS])
    path = rgb(tmp_path / "a.dcm", film, NumberOfFrames=2)
    assert np.array_equal(medical.read_colour(path, frame=1), film[1])
    about = Input("image", "image", "US.", (3, 6, 5))
    assert np.array_equal(inputs(f"{path}#frame=1", about)[0], np.moveaxis(film[1], -1, 0))
    with pytest.raises(InputError, match=r"holds 2 frames.\nChoose .*As an input: '.*#frame=0'"):
        inputs(path, about)


def test_a_broken_palette_is_refused(tmp_path: Path) -> None:
    path = secondary(
        tmp_path / "a.dcm",
        SamplesPerPixel=1,
        PhotometricInterpretation="PALETTE COLOR",
        PixelData=bytes(30),
    )
    with pytest.raises(InputError, match=r"a.dcm has a broken palette"):
        medical.read_colour(path)


def test_colours_of_16_bits_have_the_byte_order_of_this_machine(tmp_path: Path) -> None:
    stored = np.random.default_rng(2).integers(0, 2**16, (6, 5, 3)).astype(np.uint16)
    path = rgb(tmp_path / "a.dcm", stored, BitsAllocated=16, BitsStored=16, HighBit=15)
    ds = pydicom.dcmread(path)
    ds.PixelData = stored.astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=False, enforce_file_format=True)
    colours = medical.read_colour(path)
    assert colours.dtype.isnative
    assert np.array_equal(colours, stored)
