"""Which grey levels scans become as inputs of a model: one window per series, without padding."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_files import series

import medzoo
from medzoo import medical
from medzoo.config.model import Input
from medzoo.errors import InputError, MedzooWarning
from medzoo.inputs import Inputs

GREY = Input("image", "image", "MR.", range=(0, 255))
CODE = """
class Model:
    def sample(self, batch):
        return {'images': batch.inputs['image']}

def load(weights_dir, device):
    return Model()
"""


def pictures(what: Any, about: Input = GREY) -> np.ndarray:
    """All pictures (n, H, W) that a package gets."""
    inputs = read(what, about)
    return np.asarray(inputs.batch(np.arange(inputs.count))[about.name])[:, 0]


def read(what: Any, about: Input = GREY) -> Inputs:
    inputs = Inputs.of(
        "it", SimpleNamespace(inputs={about.name: about}, outputs={}, call=None), what
    )  # type: ignore[arg-type]
    assert inputs is not None
    return inputs


def mr(folder: Path, values: np.ndarray, **changes: Any) -> list[Path]:
    """An MR series whose stored numbers are its values."""
    plain: dict[str, Any] = {"Modality": "MR", "RescaleSlope": 1, "RescaleIntercept": 0}
    stored: Callable[[int], bytes] = lambda k: values[k].astype("<i2").tobytes()  # noqa: E731
    return series(folder, values, **{**plain, "PixelData": stored, **changes})


def noise(low: int, high: int, shape: tuple[int, ...] = (4, 40, 30)) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, shape).astype(float)


def test_slices_that_state_different_windows_get_one_window(tmp_path: Path) -> None:
    values = noise(0, 900)
    values[0] = noise(0, 8)[0]  # nearly empty: its console chose another window for it
    files = mr(
        tmp_path,
        values,
        WindowCenter=lambda k: 450 if k else 4,
        WindowWidth=lambda k: 900 if k else 8,
    )
    with pytest.warns(MedzooWarning, match=r"the slices state different windows; percentiles"):
        folder = pictures(tmp_path)
    low, high = (
        np.percentile(values, 0.5, method="higher"),
        np.percentile(values, 99.5, method="lower"),
    )
    expected = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    assert np.array_equal(folder, expected)
    assert (folder == 255).mean((1, 2)).max() < 0.01
    with pytest.warns(MedzooWarning, match="different windows"):
        assert np.array_equal(pictures(files), folder)
    with pytest.warns(MedzooWarning, match="different windows"):
        volume = pictures(tmp_path, Input("ct", "volume", "MR.", range=(0, 255)))
    assert np.array_equal(volume[0], folder)


@pytest.mark.parametrize("stated", [{}, {"WindowCenter": 450, "WindowWidth": 300}])
def test_folder_list_and_volume_have_the_same_greys(tmp_path: Path, stated: dict[str, int]) -> None:
    values = noise(0, 900)
    files = mr(tmp_path / "a", values, **stated)
    other = mr(tmp_path / "b", values * 10, uid="1.2.4", **stated)
    folder = pictures(tmp_path / "a")
    assert np.array_equal(pictures(files), folder)
    assert np.array_equal(pictures(files[::-1]), folder[::-1])
    mixed = [path for pair in zip(files, other, strict=True) for path in pair]
    assert np.array_equal(pictures(mixed)[::2], folder)  # a window for each of two series
    assert np.array_equal(pictures(mixed)[1::2], pictures(tmp_path / "b"))


def test_the_provenance_says_the_window_and_where_it_comes_from(
    toy: Callable[..., int], tmp_path: Path
) -> None:
    inputs = {"image": {"kind": "image", "help": "MR.", "shape": [1, 40, 30], "range": [0, 255]}}
    outputs = {
        "images": {"kind": "image", "dtype": "uint8", "shape": [1, 40, 30], "range": [0, 255]}
    }
    number = toy(CODE, inputs=inputs, outputs=outputs, conditions=None, options=None)
    values = noise(0, 901)
    mr(tmp_path / "a", values)
    mr(tmp_path / "b", values, WindowCenter=[450, 20], WindowWidth=[300, 10])
    made = medzoo.generate(number, 2, inputs=str(tmp_path / "a")).provenance
    low, high = (float(np.percentile(values, p, method="nearest")) for p in (0.5, 99.5))
    assert made["options"]["inputs"]["image"]["windows"] == [
        {
            "centre": (low + high) / 2,
            "width": high - low,
            "source": "percentiles 0.5 and 99.5 of the tissue",
            "count": 4,
        }
    ]
    stated = medzoo.generate(number, 2, inputs=str(tmp_path / "b")).provenance
    assert stated["options"]["inputs"]["image"]["windows"] == [
        {"centre": 450.0, "width": 300.0, "source": "stated by the files", "count": 4}
    ]


@pytest.mark.parametrize(
    ("centre", "width"), [(10, 0), (10, -1), (10, None), (None, 20), ([], []), (10, float("nan"))]
)
def test_a_window_without_width_is_ignored(tmp_path: Path, centre: Any, width: Any) -> None:
    values = noise(0, 900)
    mr(tmp_path, values, WindowCenter=centre, WindowWidth=width)
    assert medical.read_series(tmp_path).window is None
    greys = pictures(tmp_path)
    assert (greys.min(), greys.max()) == (0, 255)
    assert 120 < greys.mean() < 135


@pytest.mark.parametrize(
    "padded",
    [
        {"PixelPaddingValue": -32768},
        {"PixelPaddingValue": -32768, "PixelPaddingRangeLimit": -32000},
        {"PixelPaddingValue": -32000, "PixelPaddingRangeLimit": -32768},
    ],
)
@pytest.mark.parametrize("spacing", [(), (1.0, 1.5)])
def test_padding_never_takes_part_in_scaling(
    tmp_path: Path, padded: dict[str, int], spacing: tuple[float, ...]
) -> None:
    values = noise(1000, 1100)
    mr(tmp_path / "whole", values)
    size = (1, 20, 15) if spacing else ()
    about = Input("image", "image", "MR.", size, range=(0, 255), spacing=spacing)
    values[:, :, :10] = -32768
    if "PixelPaddingRangeLimit" in padded:
        values[:, :5, :10] = -32100
    mr(tmp_path / "padded", values, **padded)
    volume = medical.read_series(tmp_path / "padded")
    assert volume.padding is not None
    assert np.array_equal(volume.padding, values < 0)
    assert np.array_equal(volume.voxels, values)  # as stored
    whole, around = pictures(tmp_path / "whole", about), pictures(tmp_path / "padded", about)
    inside = 6 if spacing else 10  # columns of tissue that no padding is averaged into
    assert (around[:, :, : 4 if spacing else 10] == 0).all()
    difference = around[:, :, inside:].astype(int) - whole[:, :, inside:]
    assert np.abs(difference).max() <= 4  # the percentiles are those of fewer pixels
    assert len(np.unique(around)) > 50


def test_padding_is_found_where_its_sign_was_written_wrongly(tmp_path: Path) -> None:
    values = noise(-900, 900)
    values[:, :9] = -2000
    mr(tmp_path, values, PixelPaddingValue=-2000)
    for path in tmp_path.iterdir():  # as scanners do: 63536, the same bits without a sign
        raw = path.read_bytes()
        at = raw.index(b"\x28\x00\x20\x01SS")
        path.write_bytes(raw[: at + 4] + b"US" + raw[at + 6 :])
    padding = medical.read_series(tmp_path).padding
    assert padding is not None
    assert np.array_equal(padding, values == -2000)


def test_monochrome1_is_inverted_alike_in_all_slices(tmp_path: Path) -> None:
    values = np.zeros((4, 12, 10))
    values[:, 0, 0] = [100, 200, 300, 400]
    values[:, 1, 1] = 50
    dark = {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": 0, "BitsStored": 12}
    files = mr(tmp_path, values, HighBit=11, WindowCenter=60, WindowWidth=100, **dark)
    volume = medical.read_series(tmp_path)
    assert np.array_equal(volume.voxels, 4095 - values)
    assert volume.window == (4095 - 60, 100)
    for k, path in enumerate(files):
        assert np.array_equal(medical.read_picture(path).voxels[0], 4095 - values[k])
    assert np.array_equal(pictures(files), pictures(tmp_path))
    assert pictures(tmp_path)[:, 1, 1].tolist() == [round(60 / 100 * 255)] * 4
    # two slopes in one series: still one inversion, so that equal values stay equal
    slopes: Any = {"RescaleSlope": lambda k: 1 + k % 2, "RescaleIntercept": 0}
    halves = lambda k: (values[k] / (1 + k % 2)).astype("<u2").tobytes()  # noqa: E731
    other = mr(tmp_path / "b", values, HighBit=11, uid="1.7", PixelData=halves, **slopes, **dark)
    assert np.array_equal(medical.read_series(tmp_path / "b").voxels, 8190 - values)
    each = medical.read_pictures(other)
    assert np.array_equal(np.concatenate([v.voxels for v in each]), 8190 - values)


def test_mammograms_of_one_series_are_windowed_one_by_one(tmp_path: Path) -> None:
    values = noise(0, 900, (2, 40, 30))
    alone: dict[str, Any] = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    files = mr(tmp_path, values, WindowCenter=lambda k: 450 + 100 * k, WindowWidth=300, **alone)
    expected = [np.clip((v - 300 - 100 * k) / 300, 0, 1) * 255 for k, v in enumerate(values)]
    assert np.array_equal(pictures(files), np.rint(expected))


def nifti(path: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), np.diag([-1, -1, 2, 1])), path)
    return path


def test_one_hot_voxel_does_not_make_a_picture_black(tmp_path: Path) -> None:
    values = noise(100, 200).astype(np.float32)
    values[0, 0, 0] = 1e6
    assert len(np.unique(pictures(nifti(tmp_path / "a.nii", values))[1:])) > 90
    tiny = values[:1, :4, :3].copy()
    tiny[0, 0, 0] = 1e6
    assert len(np.unique(pictures(nifti(tmp_path / "b.nii", tiny)))) > 5


def test_nan_is_padding_and_infinite_is_refused(tmp_path: Path) -> None:
    values = noise(0, 1000).astype(np.float32)
    values[:, :10] = np.nan
    hu = Input("image", "image", "CT.", range=(100, 900), unit="HU")
    path = nifti(tmp_path / "a.nii", values)
    greys = pictures(path)
    assert (greys[:, :10] == 0).all()
    assert (greys[:, 10:].min(), greys[:, 10:].max()) == (0, 255)
    assert (pictures(path, hu)[:, :10] == 100).all()
    values[0, 0, 0] = -np.inf
    path = nifti(tmp_path / "b.nii", values)
    for about in (GREY, hu):
        with pytest.raises(InputError, match=r"b.nii holds infinite values, in 1 of 4800 voxels"):
            pictures(path, about)
    with pytest.raises(InputError, match=r"a.nii holds no numbers at all"):
        pictures(nifti(tmp_path / "a.nii", np.full((2, 3, 4), np.nan, np.float32)))


def test_a_window_that_leaves_few_greys_is_warned_of(tmp_path: Path) -> None:
    values = noise(0, 900)
    mr(tmp_path / "a", values, WindowCenter=-500, WindowWidth=200)
    with pytest.warns(MedzooWarning, match=r"100.0% of the pixels, with 896 different values"):
        assert (pictures(tmp_path / "a") == 255).all()
    with warnings.catch_warnings():  # a picture of few values has few greys
        warnings.simplefilter("error")
        mr(tmp_path / "b", values // 300, WindowCenter=1, WindowWidth=2)
        assert np.unique(pictures(tmp_path / "b")).tolist() == [0, 128, 255]


def test_constant_pictures_are_scaled_without_a_division_by_nothing(tmp_path: Path) -> None:
    mr(tmp_path, np.full((3, 6, 5), 7.0))
    assert (pictures(tmp_path) == 0).all()


WINDOWS = st.sampled_from([None, (450, 300), (20, 0), (100, 900)])


@settings(max_examples=12, deadline=None)
@given(
    shown=st.lists(WINDOWS, min_size=3, max_size=3),
    padding=st.sampled_from([None, (-32768, -32768), (-32000, -32768), (32767, 32767)]),
    dark=st.booleans(),
    seed=st.integers(0, 9),
)
def test_however_a_series_is_given_its_pictures_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, shown: list[Any], padding: Any, dark: bool, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("series")
    values = np.random.default_rng(seed).integers(0, 900, (3, 12, 10)).astype(float)
    outside = np.zeros(values.shape, bool)
    more: dict[str, Any] = {}
    if padding is not None:
        outside[:, :3] = True
        values[outside] = padding[1]
        more = {"PixelPaddingValue": padding[0], "PixelPaddingRangeLimit": padding[1]}
    files = mr(
        folder,
        values,
        WindowCenter=lambda k: shown[k] and shown[k][0],
        WindowWidth=lambda k: shown[k] and shown[k][1],
        PhotometricInterpretation="MONOCHROME1" if dark else "MONOCHROME2",
        **more,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MedzooWarning)
        given = read(folder)
        result = pictures(folder)
        assert np.array_equal(pictures(files), result)
        whole = pictures(folder, Input("ct", "volume", "MR.", range=(0, 255)))
        assert read(files).record["image"]["windows"] == given.record["image"]["windows"]
    assert np.array_equal(whole[0], result)
    # the right value, worked out here: windows that have no width do not count
    stated = {w if w and w[1] > 0 else None for w in shown}
    upright = (-1 - values) if dark else values  # signed 16 bits: -32768 + 32767
    tissue = upright[~outside]
    if len(stated) == 1 and None not in stated:
        centre, width = stated.pop()
        low, high = centre - width / 2, centre + width / 2
        low, high = (-1 - high, -1 - low) if dark else (low, high)
    else:
        low = np.percentile(tissue, 0.5, method="higher")
        high = np.percentile(tissue, 99.5, method="lower")
    expected = np.clip((upright - low) / (high - low), 0, 1) * 255
    expected[outside] = 0
    assert np.abs(result - expected).max() <= 0.51


def test_a_folder_of_two_series_says_what_an_input_can_be(tmp_path: Path) -> None:
    for k in range(2):
        mr(tmp_path / str(k), np.arange(30.0).reshape(1, 5, 6), SeriesInstanceUID=f"1.2.{k}")
    with pytest.raises(InputError, match=r"2 series[^.]*\.\nChoose .* a list of the files of one"):
        pictures(tmp_path)
