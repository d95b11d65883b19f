"""Train a small classifier of masses (benign or malignant) on real patches, synthetic ones, and
both; print the three AUCs.

    python examples/train_with_synthetic.py --data masses.zip --steps 400 -n 1104 --repeats 3

The data is a folder or a zip with ``{train,val}/is_benign_{true,false}/*.png``, 128x128 pixels. The
first part is trained on, the second is held back: all three AUCs are of its real patches. Without
data, patches of other seeds of model 8 replace the real ones, so that the example runs anywhere;
the figures then say nothing.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset

import medzoo


class RealMasses(Dataset[dict[str, torch.Tensor]]):
    """Patches of a folder or zip, in the form that medzoo's samples have: ``images`` (1, 128, 128),
    ``labels`` ().
    """

    def __init__(self, data: Path, part: str) -> None:
        root = zipfile.Path(data) if data.is_file() else data
        classes = [
            (label, root / part / f"is_benign_{name}")
            for label, name in enumerate(("true", "false"))
        ]
        files = [
            (label, file)
            for label, folder in classes
            if folder.is_dir()
            for file in sorted(folder.iterdir(), key=str)
        ]
        self.patches = [(label, read(file)) for label, file in files if file.name.endswith(".png")]
        if len({label for label, _ in self.patches}) < 2:
            raise SystemExit(
                f"{data} lacks {part}/is_benign_true/*.png or {part}/is_benign_false/*.png"
            )

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        label, pixels = self.patches[index]
        return {
            "images": torch.from_numpy(pixels)[None].float() / 255,
            "labels": torch.tensor(label),
        }


def read(file: Path | zipfile.Path) -> np.ndarray:
    """The gray values of a picture, (H, W), uint8."""
    with file.open("rb") as opened, Image.open(opened) as picture:
        return np.array(picture.convert("L"))


def classifier() -> nn.Module:
    """A small convolutional network: (N, 1, 128, 128) -> (N,) logits of malignancy."""

    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()
        )

    body = [nn.AvgPool2d(2), block(1, 16), block(16, 32), block(32, 64), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*body, nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 1), nn.Flatten(0))


def train(data: Dataset[Any], steps: int, seed: int) -> nn.Module:
    """Train on shuffled batches of 32 for a number of steps."""
    torch.manual_seed(seed)
    net = classifier()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    loader = DataLoader(data, batch_size=32, shuffle=True, drop_last=True)
    if not len(loader):
        raise SystemExit("Fewer than 32 patches to train on: give more, or a larger -n.")
    for _, batch in zip(range(steps), forever(loader), strict=False):
        images = batch["images"].flip(3) if torch.rand(()) < 0.5 else batch["images"]
        loss = nn.functional.binary_cross_entropy_with_logits(
            net(images * 2 - 1), batch["labels"].float()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


@torch.inference_mode()
def auc(net: nn.Module, data: Dataset[Any]) -> float:
    """Area under the ROC curve: how often a malignant mass scores above a benign one."""
    batches = list(DataLoader(data, batch_size=64))
    scores = torch.cat([net(b["images"] * 2 - 1) for b in batches])
    labels = torch.cat([b["labels"] for b in batches])
    above = scores[labels == 1][:, None] - scores[labels == 0][None]
    return float((above > 0).float().mean() + 0.5 * (above == 0).float().mean())


def main() -> None:
    """Train three times, print three AUCs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder or zip with train/ and val/")
    parser.add_argument(
        "--steps", type=int, default=400, help="of training, each on 32 patches (default: 400)"
    )
    parser.add_argument("-n", type=int, default=1024, help="synthetic patches (default: 1024)")
    parser.add_argument(
        "--repeats",
        type=int,
        default=1,
        help="trainings of each, with other first weights (default: 1)",
    )
    a = parser.parse_args()
    synthetic = medzoo.dataset(8, a.n, seed=1, keep=a.n)
    if a.data:
        real, held_back = RealMasses(a.data, "train"), RealMasses(a.data, "val")
    else:
        print("no real patches given: model 8 with other seeds replaces them")
        real, held_back = (medzoo.dataset(8, a.n // 2, seed=s, keep=a.n // 2) for s in (2, 3))
    for name, data in {
        "real": real,
        "synthetic": synthetic,
        "both": ConcatDataset([real, synthetic]),
    }.items():
        found = [auc(train(data, a.steps, seed), held_back) for seed in range(a.repeats)]
        spread = f"  ({min(found):.3f} to {max(found):.3f})" if len(found) > 1 else ""
        print(f"trained on {name:9s}  AUC {sum(found) / len(found):.3f}{spread}", flush=True)


if __name__ == "__main__":
    main()
