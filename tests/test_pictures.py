"""Picture files, read as their formats mean them, and compared with readers that are not Pillow; and what becomes of more bits than a package reads."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scan_files
import SimpleITK as sitk
import tifffile
from PIL import Image

import medzoo
from medzoo.errors import InputError, MedzooWarning
from medzoo.inputs import Inputs
from medzoo.inputs import pictures as readers
from medzoo.registry import resolve

Toy = Callable[..., int]
GREY = (np.arange(24).reshape(4, 6) * 10).astype(np.uint8)
GREY16 = (np.arange(24).reshape(4, 6) * 2849).astype(np.uint16)  # 0 to 65527
COLOUR16 = np.stack([GREY16, GREY16[::-1], GREY16 // 3], -1)


def by_opencv(path: Path) -> np.ndarray:
    """Channels first, turned as EXIF says, in the file's own depth."""
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    picture = cv2.imread(str(path), flags)
    return picture[None] if picture.ndim == 2 else np.moveaxis(picture[..., ::-1], -1, 0)


def by_itk(path: Path) -> np.ndarray:
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return picture[None] if picture.ndim == 2 else np.moveaxis(picture, -1, 0)


def png(path: Path, picture: np.ndarray, colour: int, bits: int = 16) -> Path:
    """A PNG by hand, since Pillow writes no colours of 16 bits."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    kind = ">u2" if bits == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in picture)
    height, width = picture.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def tiff(path: Path, picture: np.ndarray, **how: Any) -> Path:
    how.setdefault("photometric", "minisblack")
    tifffile.imwrite(path, picture, **how)
    return path


# ---- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exif_turns_pictures_as_opencv_turns_them(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[readers.ORIENTATION] = orientation
    path = tmp_path / f"a{suffix}"
    smooth = np.kron(GREY, np.ones((8, 8), np.uint8))  # which JPEG keeps nearly as it is
    Image.fromarray(smooth).save(path, exif=exif, quality=100)
    picture = readers.read(path)
    assert np.abs(picture.astype(int) - by_opencv(path)).max() <= 1  # of two JPEG decoders
    assert readers.shape(path) == picture.shape
    assert picture.shape == ((1, 32, 48) if orientation < 5 else (1, 48, 32))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("picture", [GREY, COLOUR16], ids=["grey", "deep colour"])
def test_the_orientation_of_a_tiff_turns_it(
    tmp_path: Path, orientation: int, compression: str | None, picture: np.ndarray
) -> None:
    how = {"photometric": "rgb"} if picture.ndim == 3 else {}
    tag = [(readers.ORIENTATION, "H", 1, orientation, True)]
    path = tiff(tmp_path / "a.tif", picture, extratags=tag, compression=compression, **how)
    turns: list[Callable[[np.ndarray], np.ndarray]] = [  # the eight of the TIFF standard
        lambda a: a,
        np.fliplr,
        lambda a: np.rot90(a, 2),
        np.flipud,
        lambda a: a.swapaxes(0, 1),
        lambda a: np.rot90(a, -1),
        lambda a: np.rot90(a, 2).swapaxes(0, 1),
        np.rot90,
    ]
    expected = turns[orientation - 1](picture)
    expected = expected[None] if expected.ndim == 2 else np.moveaxis(expected, -1, 0)
    assert np.array_equal(readers.read(path), expected)
    assert readers.shape(path) == expected.shape


# ---- depth


@pytest.mark.parametrize(
    ("colour", "stored"),
    [
        (2, COLOUR16),
        (6, np.concatenate([COLOUR16, np.full((4, 6, 1), 65535, np.uint16)], -1)),
        (4, np.stack([GREY16, np.full_like(GREY16, 65535)], -1)),
    ],
    ids=["RGB", "RGBA", "grey and alpha"],
)
def test_a_png_of_16_bits_keeps_them(tmp_path: Path, colour: int, stored: np.ndarray) -> None:
    path = png(tmp_path / "a.png", stored, colour)
    picture = readers.read(path)
    assert picture.dtype == np.uint16
    expected = stored[..., :1] if colour == 4 else stored[..., :3]
    assert np.array_equal(picture, np.moveaxis(expected, -1, 0))
    if colour != 4:
        assert np.array_equal(by_itk(path)[:3], picture)
    assert readers.header(path).deep


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_a_tiff_of_16_bit_colours_keeps_them(
    tmp_path: Path, order: str, planes: str, compression: str | None
) -> None:
    stored = COLOUR16 if planes == "contig" else np.moveaxis(COLOUR16, -1, 0)
    how = {"photometric": "rgb", "planarconfig": planes, "byteorder": order}
    path = tiff(tmp_path / "a.tif", stored, compression=compression, **how)
    picture = readers.read(path)
    assert picture.dtype.itemsize == 2
    assert np.array_equal(picture, np.moveaxis(COLOUR16, -1, 0))
    if planes == "contig":  # OpenCV 5.0 takes planes for interleaved pixels
        assert np.array_equal(picture, by_opencv(path))
    assert readers.header(path)[:2] == ((3, 4, 6), True)


@pytest.mark.parametrize("kind", ["a.png", "a.tif"])
def test_without_the_extra_16_bit_colours_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / kind
    png(path, COLOUR16, 2) if kind == "a.png" else tiff(path, COLOUR16, photometric="rgb")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ValueError, match=r"pip install medzoo\[medical\]"):
        readers.read(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize(
    "kind",
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"],
)
def test_a_grey_tiff_of_any_type_keeps_its_values(
    tmp_path: Path, kind: str, compression: str | None, order: str
) -> None:
    top = 1.0 if kind[0] == "f" else np.iinfo(kind).max
    low = -1.0 if kind[0] == "f" else np.iinfo(kind).min
    values = np.linspace(low, top, 24).reshape(4, 6).astype(kind)
    path = tiff(tmp_path / "a.tif", values, compression=compression, byteorder=order)
    assert np.array_equal(readers.read(path)[0], values)
    if kind not in {"float16", "float64"}:  # ITK reads neither
        assert np.array_equal(by_itk(path)[0], values)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_white_is_zero_is_turned_into_black_is_zero(
    tmp_path: Path, kind: str, compression: str | None
) -> None:
    values = GREY if kind == "uint8" else GREY16
    path = tiff(tmp_path / "a.tif", values, photometric="miniswhite", compression=compression)
    picture = readers.read(path)
    assert np.array_equal(picture[0], np.iinfo(kind).max - values)
    if kind == "uint8":
        assert np.array_equal(picture, by_opencv(path))
    with pytest.raises(ValueError, match="0 is white in it, so its numbers are not labels"):
        readers.read(path, mask=True)


@pytest.mark.parametrize("kind", ["int16", "float32", "float64"])
def test_white_is_zero_is_refused_where_it_has_no_meaning(tmp_path: Path, kind: str) -> None:
    path = tiff(tmp_path / "a.tif", GREY.astype(kind), photometric="miniswhite")
    with pytest.raises(ValueError, match=r"0 is white|miniswhite"):
        readers.read(path)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit_is_black_and_white_in_an_image_and_a_number_in_a_mask(
    tmp_path: Path, photometric: str
) -> None:
    bits = GREY % 20 == 0
    path = tiff(tmp_path / "a.tif", bits, photometric=photometric)
    shown = bits if photometric == "minisblack" else ~bits
    assert np.array_equal(readers.read(path)[0], shown * np.uint8(255))
    assert np.array_equal(readers.read(path, mask=True)[0], shown)
    assert np.array_equal(readers.read(path), by_opencv(path))


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_in_a_png_of_2_or_4_bits_stay_what_they_are(tmp_path: Path, bits: int) -> None:
    labels = (np.arange(24).reshape(3, 8) % 2**bits).astype(np.uint8)
    each = 8 // bits
    shifts = np.arange(each)[::-1] * bits
    packed = (labels.reshape(3, -1, each) << shifts).sum(-1).astype(np.uint8)
    path = png(tmp_path / "a.png", packed, 0, 8)
    content = bytearray(path.read_bytes())
    content[16:25] = struct.pack(">IIB", 8, 3, bits)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    assert np.array_equal(readers.read(path, mask=True)[0], labels)
    assert np.array_equal(readers.read(path)[0], labels * (255 // (2**bits - 1)))
    assert np.array_equal(readers.read(path), by_opencv(path))


# ---- pages, colours, transparency


def test_of_an_mpo_the_first_picture_is_read(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.full((8, 8, 3), k, np.uint8)) for k in (200, 10))
    path = tmp_path / "a.jpg"
    first.save(path, format="MPO", save_all=True, append_images=[second])
    assert readers.shape(path) == (3, 8, 8)
    assert (readers.read(path) == 200).all()
    assert (by_opencv(path) == 200).all()


@pytest.mark.parametrize(
    ("name", "sizes", "says"),
    [
        ("a.tif", [(4, 6), (4, 6)], "it holds 2 pages. Give one picture per file"),
        ("a.png", [(4, 6), (4, 6)], "it is an animation"),
    ],
)
def test_several_pictures_in_one_file_are_refused_where_one_is_wanted(
    tmp_path: Path, toy: Toy, name: str, sizes: list[tuple[int, int]], says: str
) -> None:
    pages = [Image.fromarray(np.full(size, k, np.uint8)) for k, size in enumerate(sizes)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    version = resolve(toy(inputs={"image": {"kind": "image", "help": "Any."}})).default
    with pytest.raises(InputError, match=says):
        Inputs.of("it", version, tmp_path / name)


def test_pages_of_different_sizes_make_no_volume(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.zeros(size, np.uint8)) for size in ((4, 6), (2, 6))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match="its 2 pages differ in size"):
        readers.read(tmp_path / "a.tif")


def transparent(kind: str) -> Image.Image:
    """A picture of which one pixel is hidden."""
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[0, 0] = 254
    if kind == "RGBA":
        return Image.fromarray(np.dstack([GREY] * 3 + [alpha]))
    if kind == "LA":
        return Image.fromarray(np.dstack([GREY, alpha]))
    picture = Image.fromarray(GREY // 10, "P")
    picture.putpalette([k for k in range(24) for _ in range(3)])
    return picture


@pytest.mark.parametrize(
    ("kind", "how"), [("RGBA", {}), ("LA", {}), ("P", {"transparency": 7})], ids=str
)
def test_transparent_parts_are_refused_as_they_have_no_grey_level(
    tmp_path: Path, kind: str, how: dict[str, Any]
) -> None:
    path = tmp_path / "a.png"
    transparent(kind).save(path, **how)
    with pytest.raises(ValueError, match="parts of it are transparent"):
        readers.read(path)


@pytest.mark.parametrize("values", [GREY, GREY16], ids=["8 bits", "16 bits"])
def test_a_transparent_grey_level_is_refused_where_it_occurs(
    tmp_path: Path, values: np.ndarray
) -> None:
    for hidden, refused in ((int(values[2, 2]), True), (1, False)):
        Image.fromarray(values).save(tmp_path / "a.png", transparency=hidden)
        if refused:
            with pytest.raises(ValueError, match="parts of it are transparent"):
                readers.read(tmp_path / "a.png")
        else:
            assert np.array_equal(readers.read(tmp_path / "a.png")[0], values)


@pytest.mark.parametrize("how", ["CMYK", "more channels"])
def test_channels_that_are_no_grey_or_rgb_are_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.tif"
    if how == "CMYK":
        Image.new("CMYK", (6, 4)).save(path)
    else:
        tiff(path, np.zeros((4, 6, 4), np.uint8), photometric="rgb", extrasamples=["unspecified"])
    with pytest.raises(ValueError, match=r"its colours are CMYK|channels beside its colours"):
        readers.read(path)


def test_a_mask_in_a_jpeg_is_refused_once_its_numbers_were_changed(tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[5:11, 7:20] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=60)
    with pytest.raises(ValueError, match="JPEG has changed the numbers of a mask"):
        readers.read(tmp_path / "a.jpg", mask=True)
    Image.fromarray(mask[5:13, 7:15]).save(tmp_path / "b.jpg", quality=100)
    assert readers.read(tmp_path / "a.jpg").shape == (1, 32, 32)  # an image may be a JPEG
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "c.jpg")
    assert (readers.read(tmp_path / "c.jpg", mask=True) == 255).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Log in</body></html>", "is a web page"),
        (b"nothing of the kind", "cannot identify its format"),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_what_lies_in_place_of_a_picture_is_named(
    tmp_path: Path, content: bytes, says: str, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    if name == "a.npy" and says.startswith("cannot"):
        says = "cannot be read"
    with pytest.raises(ValueError, match=says):
        readers.read(tmp_path / name)


# ---- what a package reads


@pytest.fixture
def version(toy: Toy) -> Callable[..., Any]:
    """``version(kind, contract, **input)``: the version of a model that takes one input."""

    def make(contract: str = "medigan", kind: str = "image", **more: Any) -> Any:
        call = {"call": {"weights": "w", "returns": "images"}} if contract == "medigan" else {}
        inputs = {"image": {"kind": kind, "help": "A mammogram.", **more}}
        return resolve(toy(inputs=inputs, contract=contract, **call)).default

    return make


def handed_over(inputs: Inputs | None) -> np.ndarray:
    """The pictures that the package gets, as OpenCV reads its files."""
    assert inputs is not None
    given = inputs.batch(np.arange(inputs.count))["image"]
    return given if isinstance(given, np.ndarray) else np.stack([by_opencv(Path(p)) for p in given])


def ways_to_give(folder: Path, values: np.ndarray) -> list[Any]:
    np.save(folder / "a.npy", values)
    Image.fromarray(values).save(folder / "a.png")
    tiff(folder / "a.tif", values)
    return [values, values.astype(np.int64), *(folder / f"a.{s}" for s in ("npy", "png", "tif"))]


@pytest.mark.parametrize("contract", ["medigan", "native"])
@pytest.mark.parametrize("top", [4095, 1000, 65535, 256])
def test_16_bits_are_scaled_for_a_package_that_reads_8_and_recorded(
    tmp_path: Path, version: Callable[..., Any], contract: str, top: int
) -> None:
    values = np.linspace(0, top, 24).reshape(4, 6).astype(np.uint16)
    most = 2 ** top.bit_length() - 1
    expected = np.array([round(int(v) * 255 / most) for v in values.ravel()]).reshape(4, 6)
    for way in ways_to_give(tmp_path, values):
        with pytest.warns(MedzooWarning, match=f"image: 0 to {most} was scaled to 0 to 255"):
            inputs = Inputs.of("it", version(contract, bits=8), way)
        assert inputs is not None
        assert inputs.record["image"]["scaled"] == {"from": [0, most], "to": [0, 255]}
        assert (handed_over(inputs)[0, 0] == expected).all()


def test_all_pictures_of_an_input_have_one_scale(version: Callable[..., Any]) -> None:
    dark, bright = np.full((4, 6), 1000, np.uint16), np.full((4, 6), 4095, np.uint16)
    with pytest.warns(MedzooWarning, match="0 to 4095"):
        inputs = Inputs.of("it", version(bits=8), [dark, bright])
    assert handed_over(inputs)[:, 0, 0, 0].tolist() == [62, 255]


def test_numbers_up_to_255_stay_what_they_are_in_any_type(
    tmp_path: Path, version: Callable[..., Any]
) -> None:
    for way in ways_to_give(tmp_path, GREY.astype(np.uint16)):
        inputs = Inputs.of("it", version(bits=8), way)
        assert inputs is not None
        assert "scaled" not in inputs.record["image"]
        assert np.array_equal(handed_over(inputs)[0, 0], GREY)


def test_one_bright_pixel_that_darkens_all_others_is_told(version: Callable[..., Any]) -> None:
    values = np.full((1, 100, 100), 1500, np.uint16)
    values[0, 0, 0] = 65535
    with pytest.warns(
        MedzooWarning, match=r"All but 0.010% of the pixels are among the 16 darkest"
    ):
        Inputs.of("it", version(bits=8), values)


@pytest.mark.parametrize("way", ["array", "file"])
def test_more_bits_are_refused_where_nothing_is_known_of_the_package(
    tmp_path: Path, version: Callable[..., Any], way: str
) -> None:
    Image.fromarray(GREY16).save(tmp_path / "a.png")
    given = GREY16 if way == "array" else tmp_path / "a.png"
    with pytest.raises(
        InputError,
        match=r"image holds whole numbers of 16 bits, and its config does not say(.|\n)*Scale",
    ):
        Inputs.of("it", version(), given)


def test_a_package_that_reads_16_bits_gets_them(
    tmp_path: Path, version: Callable[..., Any]
) -> None:
    for way in ways_to_give(tmp_path, GREY16):
        inputs = Inputs.of("it", version(bits=16), way)
        assert inputs is not None
        assert np.array_equal(handed_over(inputs)[0, 0], GREY16)
        assert "scaled" not in inputs.record["image"]
    with pytest.raises(InputError, match="image holds whole numbers of 17 bits, but this model"):
        Inputs.of("it", version(bits=16), np.full((4, 6), 70000))


def test_a_native_package_that_says_nothing_gets_what_was_given(
    version: Callable[..., Any],
) -> None:
    given = handed_over(Inputs.of("it", version("native"), GREY16))
    assert given.dtype == np.uint16
    assert np.array_equal(given[0, 0], GREY16)


def test_labels_are_never_scaled(version: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="labels that this model reads end at 255"):
        Inputs.of("it", version(kind="mask", bits=8), GREY16)


def test_8_and_16_bits_beside_each_other_have_no_one_scale(
    tmp_path: Path, version: Callable[..., Any]
) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(GREY16).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="beside others of 8 bits or floats"):
        Inputs.of("it", version(bits=8), tmp_path)


def test_floats_from_0_to_1_are_scaled_and_recorded(version: Callable[..., Any]) -> None:
    inputs = Inputs.of("it", version("native", bits=8), GREY / np.float32(255))
    assert inputs is not None
    assert inputs.record["image"]["scaled"] == {"from": [0, 1], "to": [0, 255]}
    assert np.array_equal(handed_over(inputs)[0, 0], GREY)
    with pytest.raises(
        InputError, match=r"it holds 0 to 230\. Give 0 to 255, or floats from 0 to 1"
    ):
        handed_over(Inputs.of("it", version("native", bits=8), GREY.astype(np.float32)))


def test_a_file_that_programs_read_differently_is_handed_over_as_plain_png(
    tmp_path: Path, version: Callable[..., Any]
) -> None:
    exif = Image.Exif()
    exif[readers.ORIENTATION] = 6
    palette = Image.fromarray(GREY // 10, "P")
    palette.putpalette([k for k in range(24) for _ in range(3)])
    mpo = Image.fromarray(np.full((8, 8), 9, np.uint8))
    for name, picture, how in (
        ("turned.jpg", Image.fromarray(GREY), {"exif": exif}),
        ("turned.png", Image.fromarray(GREY), {"exif": exif}),
        ("palette.png", palette, {}),
        ("bits.png", Image.fromarray(GREY > 90), {}),
        ("two.jpg", mpo, {"format": "MPO", "save_all": True, "append_images": [mpo]}),
    ):
        picture.save(tmp_path / name, **how)
        inputs = Inputs.of("it", version(bits=8), tmp_path / name)
        assert inputs is not None
        (path,) = inputs.batch(np.arange(1))["image"]
        assert path != str(tmp_path / name)
        with Image.open(path) as written:
            assert (written.format, written.getexif().get(readers.ORIENTATION)) == ("PNG", None)
            assert written.mode in {"L", "RGB"}
        assert np.array_equal(handed_over(inputs)[0], readers.read(tmp_path / name))


def test_the_published_models_that_read_8_bits_say_so() -> None:
    said = {}
    for config in medzoo.list_models():
        for version in config.versions.values():
            if version.contract == "medigan" and version.inputs:
                said[config.number] = {i.bits for i in version.inputs.values()}
    eight = {number: {8} for number in (3, 13, 14, 15, 16, 21, 23)}
    assert said == eight | {number: {0} for number in (4, 7, 22)}  # their code is not published


# ---- folders


def volume(path: Path, voxels: np.ndarray) -> Path:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)  # type: ignore[attr-defined]
    return path


MRI = np.random.default_rng(0).integers(0, 900, (12, 12, 8)).astype(np.int16)
LABELS = (MRI > 600).astype(np.int16)


def put(kind: str, folder: Path) -> str:
    """Add a picture, a NIfTI file or a series to a folder, the latter in a subfolder."""
    if kind == "pictures":
        Image.fromarray(GREY).save(folder / "preview.png")
    elif kind == "NIfTI":
        volume(folder / "t1.nii.gz", MRI)
    else:
        scan_files.series(folder / "series", np.zeros((2, 4, 6)))
    return kind


@pytest.mark.parametrize(
    ("first", "second"), [("pictures", "DICOM"), ("pictures", "NIfTI"), ("NIfTI", "DICOM")]
)
def test_a_folder_of_two_kinds_is_asked_about(
    tmp_path: Path, version: Callable[..., Any], first: str, second: str
) -> None:
    put(first, tmp_path)
    Inputs.of("it", version(bits=8), tmp_path)  # one kind is taken
    put(second, tmp_path)
    with pytest.raises(InputError, match=rf"holds {first} \(.*\) and {second} \(.*\).\nGive the"):
        Inputs.of("it", version(bits=8), tmp_path)


@pytest.mark.parametrize("kind", ["image", "mask"])
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("case1.nii.gz", "case1_seg.nii.gz"),
        ("a.nii", "b.nii"),  # of these only the content tells
        ("image.nii", "Label.nii"),
        ("benign (1).png", "benign (1)_mask.png"),
    ],
)
def test_an_image_beside_its_segmentation_is_asked_about(
    tmp_path: Path, version: Callable[..., Any], kind: str, image: str, mask: str
) -> None:
    for name, values in ((image, MRI), (mask, LABELS)):
        if name.endswith(".png"):
            Image.fromarray(values[..., 0].astype(np.uint8)).save(tmp_path / name)
        else:
            volume(tmp_path / name, values)
    with pytest.raises(InputError, match="holds images and segmentations, such as") as said:
        Inputs.of("it", version("native", kind), tmp_path)
    assert image in str(said.value)
    assert mask in str(said.value)
    given = tmp_path / (image if kind == "image" else mask)
    assert Inputs.of("it", version("native", kind), [given]) is not None


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("T1.nii.gz", "T2.nii.gz"), "T1 scans and T2 scans, such as T1.nii.gz and T2.nii.gz"),
        (("b_t1n.nii", "b_t2f.nii"), "FLAIR scans and T1 scans, such as b_t2f.nii and b_t1n.nii"),
        (
            ("icbm_t1_09a.nii", "icbm_gm_09a.nii"),
            "images and maps of tissue, such as icbm_t1_09a.nii",
        ),
        (("scan.nii", "shares.nii"), "images and maps of values from 0 to 1, such as scan.nii and"),
    ],
)
def test_contrasts_and_maps_of_tissue_in_one_folder_are_asked_about(
    tmp_path: Path, version: Callable[..., Any], names: tuple[str, str], problem: str
) -> None:
    patient = tmp_path / "data" / "patient1"
    patient.mkdir(parents=True)
    for name in names:
        volume(patient / name, MRI / MRI.max() if name == "shares.nii" else MRI)
    with pytest.raises(InputError, match=problem):
        Inputs.of("it", version("native", "image"), patient)
    assert Inputs.of("it", version("native", "image"), [patient / names[0]]) is not None
    with pytest.raises(InputError, match="NIfTI lies in its subfolders, such as patient1"):
        Inputs.of("it", version("native", "image"), tmp_path / "data")


@pytest.mark.parametrize(
    ("kind", "values", "names"),
    [
        ("image", MRI, ("T2_FLAIR.nii", "b_flair.nii")),  # the last word is the contrast
        ("image", MRI / MRI.max(), ("a.nii", "b.nii")),
        ("image", MRI, ("a.nii", "b.nii")),
        ("mask", LABELS, ("a_seg.nii", "b_seg.nii")),
    ],
)
def test_a_folder_of_images_or_of_segmentations_is_read(
    tmp_path: Path,
    version: Callable[..., Any],
    kind: str,
    values: np.ndarray,
    names: tuple[str, str],
) -> None:
    for name in names:
        volume(tmp_path / name, values)
    inputs = Inputs.of("it", version("native", kind), tmp_path)
    assert inputs is not None
    assert inputs.count == 2 * values.shape[2]


def test_pictures_that_are_not_read_are_named(tmp_path: Path, version: Callable[..., Any]) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "b.webp")
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    with pytest.warns(
        MedzooWarning, match=r"a kind that is not read: b\.webp\. They were left out"
    ):
        inputs = Inputs.of("it", version(bits=8), tmp_path)
    assert inputs is not None
    assert inputs.count == 1


def test_a_mask_of_a_package_that_reads_files_is_checked_too(
    tmp_path: Path, version: Callable[..., Any]
) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[5:11, 7:20] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=60)
    Image.fromarray(mask).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="JPEG has changed the numbers of a mask"):
        handed_over(Inputs.of("it", version(kind="mask"), tmp_path / "a.jpg"))
    inputs = Inputs.of("it", version(kind="mask"), tmp_path / "a.png")
    assert np.array_equal(handed_over(inputs)[0, 0], mask)
