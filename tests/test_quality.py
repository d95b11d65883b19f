"""The judge of quality: real against real is near, noise and copies are found out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import medzoo
from medzoo.errors import InputError
from medzoo.evaluation.classifiers import skill

sys.path.insert(0, str(ROOT))
from benchmarks import quality


def patches(n: int, seed: int, *, noise: float = 0.0) -> quality.Pictures:
    """Blurred blobs on a flat ground, 32x32, of two sizes; more or less grain."""
    rng = np.random.default_rng(seed)
    grid = np.mgrid[0:32, 0:32].astype(float)
    labels = np.arange(n) % 2
    images = []
    for label in labels:
        y, x = rng.uniform(10, 22, 2)
        blob = np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / (2 * (2 + 3 * label) ** 2))
        images.append(rng.uniform(60, 120) + 80 * blob + rng.normal(0, 3 + noise, (32, 32)))
    return quality.Pictures(np.clip(images, 0, 255).astype(np.uint8)[:, None], labels)


def test_tstr_is_the_mean_of_as_many_networks_as_asked() -> None:
    train, held = patches(24, 0), patches(12, 1)
    one, other, both = (
        quality.judge(train, held, steps=2, seeds=n)(patches(24, 2))["accuracy"] for n in (1, 2, 3)
    )
    x, y = patches(24, 2).tensor(), patches(24, 2).labels
    each = [skill(x, y, held.tensor(), held.labels, seed=seed, steps=2)[1] for seed in range(3)]
    assert one == pytest.approx(each[0])
    assert other == pytest.approx(np.mean(each[:2]))
    assert both == pytest.approx(np.mean(each))


@pytest.mark.slow
def test_judge_tells_alike_noisy_and_copied_sets_apart() -> None:
    train, split = patches(160, 0), patches(60, 1)
    figures = quality.judge(train, split, steps=50)
    alike, noisy, copied = (
        figures(patches(160, 2)),
        figures(patches(160, 3, noise=12)),
        figures(quality.Pictures(train.images[:80], train.labels[:80])),
    )
    assert alike["SWD"] < noisy["SWD"]
    assert alike["C2ST"] < 0.8 < noisy["C2ST"]
    assert alike["TSTR"] > 0.9
    assert copied["copy"] == 1 > alike["copy"]
    assert alike["precision"] > 0.5
    assert alike["tails"] < 0.1


def folders(root: Path, names: Sequence[str], count: int) -> Path:
    """Pictures of 8x8 in a folder for each class, numbered; a picture's gray level is its number."""
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(1, count + 1):
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(root / name / f"{number}.png")
    return root


def test_split_by_blocks_keeps_neighbours_apart(tmp_path: Path) -> None:
    data = folders(tmp_path, ["glioma", "pituitary"], 200)
    train, held = quality.real(data, (8, 8), {"pituitary": 0, "glioma": 1})
    for label in (0, 1):
        seen = train.images[train.labels == label][:, 0, 0, 0].astype(int)
        unseen = held.images[held.labels == label][:, 0, 0, 0].astype(int)
        assert list(unseen) == [n for start in (21, 71, 121, 171) for n in range(start, start + 10)]
        assert np.abs(seen[:, None] - unseen).min() == 5  # four are left out at each side
        assert len(seen) == 200 - 40 - 4 * 8


def test_split_by_folder_takes_the_one_asked_for(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        folders(tmp_path / part, ["is_benign_true", "is_benign_false"], count)
    for split, count in (("val", 2), ("test", 1)):
        train, held = quality.real(tmp_path, (4, 4), {"benign": 0, "malignant": 1}, split)
        assert train.images.shape == (6, 1, 4, 4)
        assert list(held.labels) == [0] * count + [1] * count


def test_class_that_the_set_does_not_know_is_named(tmp_path: Path) -> None:
    data = folders(tmp_path, ["glioma", "abscess"], 3)
    with pytest.raises(InputError, match="abscess"):
        quality.real(data, (8, 8), {"glioma": 0, "pituitary": 1})


@pytest.mark.slow
def test_volumes_of_three_classes_in_an_npz(tmp_path: Path) -> None:
    def volumes(n: int, seed: int, noise: float) -> quality.Pictures:
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 3
        images = rng.normal(0, noise, (n, 1, 16, 16, 16)).astype(np.float32)
        for image, label in zip(images, labels, strict=True):
            corner = rng.integers(0, 4, 3)
            image[0, corner[0] :, corner[1] :, corner[2] :][tuple([slice(4 + 4 * label)] * 3)] += 1
        return quality.Pictures(images, labels, (-2.0, 2.0))

    found = volumes(240, 0, 0.2)
    np.savez(tmp_path / "real.npz", images=found.images, labels=found.labels)
    train, held = quality.real(tmp_path / "real.npz", (16, 16, 16), {})
    assert len(held.labels) == 48
    train, held = (quality.Pictures(p.images, p.labels, (-2.0, 2.0)) for p in (train, held))
    figures = quality.judge(train, held, steps=40)
    alike, noisy = figures(volumes(150, 1, 0.2)), figures(volumes(150, 2, 0.4))
    assert alike["SWD"] < noisy["SWD"]
    assert alike["C2ST"] < 0.85 < noisy["C2ST"]
    assert alike["TSTR"] > 0.9
    assert alike["accuracy"] > 0.7


GRAIN = """
import numpy as np

class Model:
    def sample(self, batch):
        return {"images": np.stack([batch.rng(i).bytes(1024).reshape(1, 32, 32) for i in range(batch.n)])}

def load(weights_dir, device):
    return Model()
"""


def test_command_judges_a_model_beside_real_pictures(
    toy: Callable[..., int], tmp_path: Path
) -> None:
    """As a user types it, with grain for real pictures and the very same grain from a model: copies are found out."""
    images = {"kind": "image", "dtype": "uint8", "shape": [1, 32, 32], "range": [0, 255]}
    model = toy(
        GRAIN,
        latent=0,
        options=None,
        outputs={"images": images, "labels": {"kind": "label", "condition": "condition"}},
    )
    samples = medzoo.generate(model, 120, seed=1)
    for name, label in (("benign", 0), ("malignant", 1)):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(samples.images[samples.labels == label, 0]):
            Image.fromarray(picture).save(tmp_path / name / f"{number}.png")
    command = [
        sys.executable,
        "-m",
        "benchmarks.quality",
        tmp_path,
        "--model",
        str(model),
        "-n",
        "120",
        "--seed",
        "1",
        "--steps",
        "10",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    header, floor, judged = (line.split() for line in run.stdout.splitlines())
    assert header[2:] == " ".join((*quality.FIGURES, *quality.BORDER)).split()
    assert floor[:3] == ["real", "train", "32"]
    assert judged[:3] == ["model", str(model), "120"]
    # 32 of the 120 are what it calls training pictures; the others it had held back, or left out beside those.
    assert 0.25 < float(judged[3 + quality.FIGURES.index("copy")]) < 0.4


# ---------------------------------------------------------------------------------- the border
def test_border_figures_count_dots_and_edges() -> None:
    torch = pytest.importorskip("torch")
    from medzoo.evaluation.border import border, edge_ratio

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 4, (40, 1, 64, 64)).clip(-6, 6) / 127.5).float()
    assert border(x) == {"dots top": 0, "dots low": 0, "edge": 0}
    x[:10, :, 0, 5] = x[:10, :, 3, 5] + 30 / 127.5  # a dot in the first row of a quarter
    x[:4, :, -1, 9] = x[:4, :, -4, 9] + 30 / 127.5
    assert border(x)["dots top"] == 0.25
    assert border(x)["dots low"] == pytest.approx(0.1)
    x[:, :, 0] = x[:, :, 3] + 40 / 127.5  # a whole brighter row is an edge and no dot
    assert border(x)["dots top"] == 0
    assert border(x)["edge"] == 1
    for turned in (x.flip(2), x.transpose(2, 3), x.transpose(2, 3).flip(3)):
        assert torch.allclose(edge_ratio(turned), edge_ratio(x), rtol=1e-4)
    assert np.isnan(border(torch.zeros(2, 1, 8, 8, 8))["edge"])


def test_patches_of_the_texture_figure_reach_every_row_and_column() -> None:
    torch = pytest.importorskip("torch")
    from medzoo.evaluation.texture import patches as cut

    rows = torch.arange(16.0).expand(1, 1, 16, 16)
    columns = cut(rows.repeat(30, 1, 1, 1), torch.Generator().manual_seed(0))
    lines = cut(rows.transpose(2, 3).repeat(30, 1, 1, 1), torch.Generator().manual_seed(0))
    for values in (columns, lines):
        assert set(values.unique().int().tolist()) == set(range(16))
