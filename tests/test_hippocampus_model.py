"""Model 105: shapes of the volumes that their latents ask for, masks of a user painted where they lie, wrong masks refused,
a training that goes on where it was killed, and its judge."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from conftest import ROOT
from safetensors.torch import save_file
from scipy.ndimage import distance_transform_edt, label

import medzoo
from benchmarks import hippocampus as judge
from medzoo._worker.imports import import_package
from medzoo.errors import InputError
from medzoo.registry import resolve
from medzoo.seeds import Stream
from medzoo.view.inputs import choices_of

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = ROOT / "starter_models" / "00105_GAN_MRI_HIPPOCAMPUS"
D, H, W = np.mgrid[:48, :64, :48] - np.array([24, 32, 24])[:, None, None, None]
WIDTHS = (2, 2, 2)


@pytest.fixture(scope="module")
def code() -> ModuleType:
    return import_package(FOLDER)


def ellipsoid(width: float = 6, length: float = 18, height: float = 7) -> np.ndarray:
    """Labels 1 (front) and 2 (back) in a frame of 48 x 64 x 48 voxels to the right, front and head."""
    inside = (D / width) ** 2 + (H / length) ** 2 + (W / height) ** 2 < 1
    return np.where(inside, np.where(H >= 0, 1, 2), 0).astype(np.uint8)


@pytest.fixture(scope="module")
def tensors(code: ModuleType) -> dict[str, torch.Tensor]:
    """Weights of the form that training gives, of shapes near an ellipsoid and a painter that has not learned."""
    generator = torch.Generator().manual_seed(1)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    mean = torch.from_numpy(code.shape_field(ellipsoid())).flatten().float()
    wider = torch.from_numpy(code.shape_field(ellipsoid(8))).flatten().float() - mean
    volumes = np.log([(ellipsoid() == part).sum() for part in (1, 2)])
    painter = code.Painter(WIDTHS)
    for values in painter.parameters():
        values.data = 0.3 * some(*values.shape)
    fitted = {
        "shape.mean": mean,
        "shape.components": torch.cat([wider[None] / wider.norm(), 0.01 * some(63, len(mean))]),
        "shape.scales": torch.cat([wider.norm()[None], torch.ones(63)]),
        "parts.mean": torch.tensor(volumes),
        "parts.slope": torch.cat([torch.full((1, 2), 0.1), torch.zeros(63, 2)]),
        "parts.factor": 0.1 * torch.eye(2),
        "stretch": torch.ones(3),
        "rough": torch.tensor([0.2, 0.2]),
        "detail": torch.ones(2),
        "tone": torch.tensor([[0.0, 1.0], [0.0, 1.0]]),
        "grey.mean": torch.zeros(12 * 16 * 12),
        "grey.slope": 0.01 * some(64, 12 * 16 * 12),
        "grey.components": 0.02 * some(132, 12 * 16 * 12),
        "grey.scales": torch.ones(132),
        "texture.slope": 0.01 * some(132, 2),
        "texture.factor": torch.eye(2),
        "margins": torch.randint(3, 9, (20, 6), generator=generator).byte(),
    }
    state = {f"painter.{k}": v for k, v in painter.state_dict().items() if "num_b" not in k}
    return {k: v.float() if v.is_floating_point() else v for k, v in (fitted | state).items()}


@pytest.fixture(scope="module")
def model(
    code: ModuleType, tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    folder = tmp_path_factory.mktemp("weights")
    save_file(tensors, folder / "weights.safetensors")
    return code.load(folder, "cpu")


def request(indices: list[int], masks: np.ndarray | None = None, **options: Any) -> SimpleNamespace:
    """A batch as medzoo hands it over."""
    streams = [Stream(5, index) for index in indices]
    latents = np.stack([np.random.default_rng(i).normal(size=200) for i in indices])
    return SimpleNamespace(
        n=len(indices),
        latents=latents.astype(np.float32),
        rng=lambda row: streams[row],
        inputs={} if masks is None else {"masks": masks},
        options=options,
    )


# ---------------------------------------------------------------------------------------------- samples
def test_masks_are_one_piece_of_the_volume_that_the_latents_state(
    model: Any, code: ModuleType
) -> None:
    batch = request([0, 1, 2, 3])
    made = model.sample(batch)
    scores = torch.from_numpy(batch.latents).double()
    t = model.space.tensors
    logs = t["parts.mean"] + scores[:, :64] @ t["parts.slope"]
    expected = (logs + scores[:, 64:66] @ t["parts.factor"].T).exp().numpy()
    for mask, volumes in zip(made["masks"][:, 0], expected, strict=True):
        assert label(mask > 0)[1] == 1
        assert abs((mask > 0).sum() - volumes.sum()) < 2
        parts = [(mask == part).sum() for part in (1, 2)]
        assert np.abs(parts - volumes).max() < 110  # half a coronal slice
        rows = [np.unique(np.nonzero(mask == part)[1]) for part in (1, 2)]
        assert rows[0].max() < rows[1].min()  # rows count from front to back: anterior first


def test_volumes_are_known_in_their_field_and_zero_elsewhere(model: Any) -> None:
    made = model.sample(request([0, 1]))
    assert made["volumes"].shape == made["masks"].shape == (2, 1, 64, 64, 64)
    for volume, mask, box in zip(
        made["volumes"][:, 0], made["masks"][:, 0], made["fields"].astype(int), strict=True
    ):
        field = np.zeros(volume.shape, bool)
        field[tuple(slice(a, b) for a, b in zip(box[:3], box[3:], strict=True))] = True
        assert not volume[~field].any()
        assert (volume[field] > 0).mean() > 0.9
        ends = [(at.min(), at.max() + 1) for at in np.nonzero(mask)]
        margins = [
            (low - a, b - high) for (low, high), a, b in zip(ends, box[:3], box[3:], strict=True)
        ]
        assert min(map(min, margins)) >= 3
        assert max(map(max, margins)) <= 8


def test_a_sample_is_the_same_in_any_batch(model: Any) -> None:
    together, alone = model.sample(request([3, 8, 5])), model.sample(request([8]))
    assert np.array_equal(together["masks"][1], alone["masks"][0])
    assert np.array_equal(together["fields"][1], alone["fields"][0])
    levels = [made.astype(int) for made in (together["volumes"][1], alone["volumes"][0])]
    assert np.abs(levels[0] - levels[1]).max() <= 1


def test_zoom_halves_the_voxels_and_keeps_what_is_where(model: Any) -> None:
    once, twice = model.sample(request([2])), model.sample(request([2], zoom=2))
    assert twice["volumes"].shape == twice["masks"].shape == (1, 1, 128, 128, 128)
    assert np.array_equal(twice["fields"], 2 * once["fields"])
    cells = twice["masks"].reshape(64, 2, 64, 2, 64, 2)
    assert (cells == once["masks"].reshape(64, 1, 64, 1, 64, 1)).mean() > 0.995
    for part in (1, 2):
        share = (twice["masks"] == part).sum() / 8 / (once["masks"] == part).sum()
        assert share == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_zoomed_files_lie_on_those_that_are_not(kind: str, tmp_path: Path) -> None:
    images, sets = [], []
    for zoom in (1, 2):
        out = tmp_path / str(zoom)
        medzoo.generate(105, 1, seed=3, zoom=zoom, out=out, format=kind, progress=False)
        sets.append(medzoo.read(out))
        paths = sorted((out / "volumes").rglob("*.nii.gz" if kind == "nifti" else "*.dcm"))
        given = [str(path) for path in paths]
        images.append(SimpleITK.ReadImage(given if kind == "dicom" else given[0]))
    for image, zoom in zip(images, (1, 2), strict=True):
        assert image.GetSize() == (64 * zoom,) * 3
        np.testing.assert_allclose(image.GetSpacing(), 1 / zoom, atol=1e-6)
        corner = image.TransformContinuousIndexToPhysicalPoint((-0.5,) * 3)
        np.testing.assert_allclose(corner, -0.5, atol=1e-6)
    small, large = (np.asarray(made.volumes[:]) for made in sets)
    assert sets[1].outputs["masks"].spacing == (0.5, 0.5, 0.5)
    assert np.array_equal(large, medzoo.generate(105, 1, seed=3, zoom=2, progress=False).volumes)
    cells = large.reshape(64, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(cells.ravel(), small.ravel())[0, 1] > 0.99


def test_zoom_of_others_is_refused_and_an_explorer_leaves_it_out() -> None:
    with pytest.raises(InputError, match=r"zoom=3 is not allowed"):
        medzoo.generate(105, 1, zoom=3)
    assert "zoom" not in choices_of(resolve(105).default)


def test_a_stretched_mask_is_longer_and_holds_as_many_voxels(
    code: ModuleType, tensors: dict[str, torch.Tensor]
) -> None:
    latents, noise = torch.zeros(1, 200), torch.zeros(1, 48, 64, 48)
    longer = tensors | {"stretch": torch.tensor([1.0, 1.25, 1.0])}
    masks = [code.Space(t).labels(latents, noise)[0].numpy() for t in (tensors, longer)]
    lengths = [np.ptp(np.argwhere(mask), axis=0) + 1 for mask in masks]
    assert abs(int((masks[0] > 0).sum()) - int((masks[1] > 0).sum())) < 2
    assert lengths[1][1] > 1.1 * lengths[0][1]
    assert masks[1].any(axis=1).sum() < masks[0].any(axis=1).sum()  # and thinner


def test_the_last_touch_gives_detail_and_grey_values_of_scans(
    code: ModuleType, script: Callable[..., ModuleType], tensors: dict[str, torch.Tensor]
) -> None:
    train = script(FOLDER)
    generator = torch.Generator().manual_seed(2)
    scans = torch.randn(6, 1, *code.FRAME, generator=generator)
    scans = (0.25 * code.smooth(torch.nn.functional.avg_pool3d(scans, 2), 2)).tanh() + 0.1
    frames = {"grey": scans, "known": torch.ones_like(scans)}
    train.FINISH = 4
    made = train.finished(tensors, frames)
    before, after = made["tone"]
    assert (before.diff() > 0).all()
    torch.testing.assert_close(after, train.quantiles((scans + 1) / 2, frames["known"]))
    curve = made["tone"].double().numpy()
    assert code.toned(before[-1:] + 1, curve)[0] == pytest.approx(float(after[-1]) + 1, abs=1e-4)
    x = torch.randn(1, 1, 8, 8, 8, generator=generator)
    torch.testing.assert_close(code.sharpened(x, [1.0, 1.0]), x)
    assert code.sharpened(x, [2.0, 1.0]).std() > 1.5 * x.std()


def test_folded_painter_paints_the_same(code: ModuleType) -> None:
    painter = code.Painter(WIDTHS).eval()
    for norm in painter.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    given = (torch.randn(1, 1, 12, 12, 12), torch.rand(1, 2, 12, 12, 12), torch.randn(1, 2))
    noise = [torch.randn(1, 1, 12, 12, 12), torch.randn(1, 1, 6, 6, 6)]
    with torch.inference_mode():
        before = painter(*given, noise)
        code.fold(painter)
        after = painter(*given, noise)
    assert not any(isinstance(part, torch.nn.BatchNorm3d) for part in painter.modules())
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------------------------------------- masks
def whole(frame: np.ndarray, begin: tuple[int, int, int] = (8, 0, 8)) -> np.ndarray:
    volume = np.zeros((64, 64, 64), np.float32)
    volume[tuple(slice(b, b + n) for b, n in zip(begin, frame.shape, strict=True))] = frame
    return volume


def test_a_users_mask_comes_back_where_it_was(model: Any, code: ModuleType) -> None:
    masks = np.stack([whole(ellipsoid()), whole(ellipsoid(), (3, 0, 14))])
    given = code.axial(masks)[:, None]
    made = model.sample(request([1, 1], given))
    assert np.array_equal(made["masks"], given)
    moved = made["fields"][1] - made["fields"][0]
    assert moved.tolist() == [6, 0, 5, 6, 0, 5]  # slices to the head, columns from right to left
    first, second = made["volumes"][:, 0]
    assert np.array_equal(first[:-6, :, :-5], second[6:, :, 5:])


def test_masks_of_odd_sizes_are_moved_by_whole_voxels(code: ModuleType, tmp_path: Path) -> None:
    """Sizes of the data, one that is cut, and a spacing that was rounded in float32."""
    sizes, paths, given = [(35, 51, 35), (34, 52, 36), (33, 65, 67)], [], []
    for number, size in enumerate(sizes):
        labels = np.zeros(size, np.uint8)
        labels[5:30, 6:46, 8:28] = ellipsoid()[12:37, 12:52, 14:34]
        affine = np.diag([1.000001 if number == 1 else 1.0] * 3 + [1])
        paths.append(tmp_path / f"{number}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), paths[-1])
        given.append(labels)
    made = medzoo.generate(105, 3, seed=1, inputs={"masks": paths}, progress=False)
    for mask, labels in zip(code.from_axial(made.masks[:, 0]), given, strict=True):
        own, kept = np.argwhere(labels), np.argwhere(mask)
        assert len({tuple(step) for step in kept - own}) == 1  # all voxels by the same step
        assert np.array_equal(mask[tuple(kept.T)], labels[tuple(own.T)])
        assert np.abs(kept[0] - own[0] - (64 - np.array(labels.shape)) / 2).max() <= 0.5


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda mask: mask * 0, "empty"),
        (lambda mask: mask * 3, r"holds 3, 6; only 0, 1 \(anterior\) and 2"),
        (lambda mask: mask / 2, "(?s)0.5.*another spacing than 1 mm"),
        (np.ones_like, "64 x 64 x 64 mm, larger"),
        (lambda mask: np.roll(mask, 25, axis=2), "reaches the border of 64 x 64 x 64 mm"),
    ],
)
def test_other_masks_are_refused(
    model: Any, code: ModuleType, change: Callable[[np.ndarray], np.ndarray], problem: str
) -> None:
    mask = change(whole(ellipsoid()))
    with pytest.raises(InputError, match=problem):
        model.sample(request([0], code.axial(mask[None])[:, None]))


def test_axial_slices_are_those_of_a_nifti_reader(code: ModuleType, tmp_path: Path) -> None:
    from medzoo.medical import read_nifti

    frame = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    nib.save(nib.Nifti1Image(frame, np.eye(4)), tmp_path / "a.nii.gz")
    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz").voxels, code.axial(frame[None])[0])
    assert np.array_equal(code.from_axial(code.axial(frame[None]))[0], frame)


def test_distances_are_those_of_scipy(code: ModuleType) -> None:
    mask = np.random.default_rng(0).random((9, 12, 10)) < 0.02
    np.testing.assert_allclose(code.distance_to(mask), distance_transform_edt(~mask), atol=1e-9)


def test_the_scores_of_a_mask_find_the_component_that_it_varies_in(model: Any) -> None:
    usual, wide = (float(model.space.scores(ellipsoid(w))[0]) for w in (6, 8))
    assert usual == pytest.approx(0, abs=0.01)
    assert wide == pytest.approx(1, abs=0.01)


# --------------------------------------------------------------------------------- training and the judge
@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ellipsoids in noise, four for training and two of the numbers that are held back."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in (1, 2, 3, 4, 5, 15):
        labels = ellipsoid(*rng.uniform((5, 16, 6), (7, 19, 8)))[12:36, 8:56, 12:36]
        grey = 60 + 20 * (labels > 0) + rng.normal(0, 8, labels.shape)
        for part, values in (("images", grey.astype(np.float32)), ("labels", labels)):
            image = nib.Nifti1Image(values, np.eye(4))
            nib.save(image, folder / part / f"hippocampus_{number:03}.nii.gz")
    return folder


def test_volumes_held_back_are_never_read_for_training(
    data: Path, script: Callable[..., ModuleType]
) -> None:
    train = script(FOLDER)
    assert len(train.HELD_BACK) == len(set(train.HELD_BACK)) == 40
    assert train.read(data)["numbers"].tolist() == [1, 2, 3, 5]
    held_back = train.read(data, held_back=True)
    assert held_back["numbers"].tolist() == [4, 15]
    grey, labels = held_back["grey"][0], held_back["labels"][0]
    assert np.isnan(grey).sum() == 64**3 - 24 * 48 * 24
    assert np.abs(np.argwhere(labels).mean(axis=0) - 32).max() <= 0.5
    assert np.nanpercentile(grey, 99.5) == pytest.approx(1)


def test_training_goes_on_where_it_was_killed(
    data: Path,
    tmp_path: Path,
    script: Callable[..., ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = script(FOLDER)
    monkeypatch.setattr(train, "CROP", 16)
    monkeypatch.setattr(train, "OWN_FROM", 1)
    monkeypatch.setattr(train, "roughness", lambda *_: torch.tensor([0.2, 0.2]))
    monkeypatch.setattr(train, "FINISH", 2)
    painter = train.m.Painter
    monkeypatch.setattr(train.m, "Painter", lambda *_: painter(WIDTHS))
    monkeypatch.setattr(train, "Critic", partial(train.Critic, 2))
    step = train.one_step

    def run(out: Path, last: int) -> None:
        def limited(*given: Any) -> Any:
            if given[5] > last:
                raise KeyboardInterrupt
            return step(*given)

        monkeypatch.setattr(train, "one_step", limited)
        options = f"train.py --data {data} --out {out} --steps 2 --every 0 --bank 2".split()
        monkeypatch.setattr(sys, "argv", options)
        train.main()

    run(tmp_path / "once", 9)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "twice", 0)
    run(tmp_path / "twice", 9)
    once, twice = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("once", "twice"))
    assert once == twice
    made = import_package(FOLDER).load(tmp_path / "once", "cpu").sample(request([0]))
    assert (made["masks"] == 1).sum() > 100


def test_the_judge_prints_every_figure_of_each_set(
    data: Path,
    model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = model.sample(request([0, 1]))
    samples = judge.Volumes(made["volumes"][:, 0], made["masks"][:, 0])
    monkeypatch.setattr(judge, "synthetic", lambda *_: samples)
    monkeypatch.setattr(judge, "OFFSETS", (0,))
    judge.main([str(data), "--quick", "--out", str(tmp_path / "figures.json")])
    table = json.loads((tmp_path / "figures.json").read_text())
    assert len(table) == 4
    for figures in table.values():
        assert list(figures) == list(judge.FIGURES)
        assert 0 <= figures["volume"] <= 1
    assert "filled and noise" in capsys.readouterr().out


def test_the_judges_figures_are_best_for_the_volumes_held_back_themselves() -> None:
    rng = np.random.default_rng(0)
    labels = np.stack([whole(ellipsoid(w)) for w in (5, 6, 7)]).astype(np.uint8)
    grey = (80 + 40 * labels + rng.normal(0, 9, labels.shape)).clip(1, 255).astype(np.uint8)
    real = judge.Volumes(grey, labels)
    other = judge.Volumes(255 - grey, labels[::-1] * 0)
    figures = judge.judge(real, real, 0)
    own, wrong = figures(judge.Volumes(grey, labels)), figures(other)
    assert own["volume"] == own["surface"] == own["tails"] == 0
    assert own["SWD"] < 0.2 * wrong["SWD"]  # patches are drawn at random, so it is not 0
    assert wrong["volume"] == 1
    assert judge.statistic(np.arange(4), np.arange(4) + 2) == 0.5
