"""Train a small classifier of masses on real patches, synthetic ones, and both, and print the three AUCs.

    python examples/train_with_synthetic.py REAL --steps 400

REAL holds ``{train,val}/is_benign_{true,false}/*.png``. Without it, patches of another seed of model 8 stand in for
real ones, so that the example runs anywhere; the figures then say nothing.
"""

from __future__ import annotations

import argparse
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
    """Patches of a folder, in the form that medzoo's samples have: ``images`` (1, 128, 128), ``labels`` ()."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("is_benign_*/*.png"))
        if not self.files:
            raise SystemExit(f"{folder} holds no is_benign_{{true,false}}/*.png")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pixels = np.asarray(Image.open(self.files[index]).convert("L"), dtype=np.float32) / 255
        malignant = self.files[index].parent.name == "is_benign_false"
        return {"images": torch.from_numpy(pixels)[None], "labels": torch.tensor(int(malignant))}


def classifier() -> nn.Module:
    """A small convolutional network: (N, 1, 128, 128) -> (N,) logits of malignancy."""

    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

    body = [nn.AvgPool2d(2), block(1, 16), block(16, 32), block(32, 64), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*body, nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 1), nn.Flatten(0))


def train(data: Dataset[Any], steps: int) -> nn.Module:
    """Train on shuffled batches of 32 for a number of steps."""
    torch.manual_seed(0)
    net = classifier()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    loader = DataLoader(data, batch_size=32, shuffle=True, drop_last=True)
    for _, batch in zip(range(steps), forever(loader), strict=False):
        images = batch["images"].flip(3) if torch.rand(()) < 0.5 else batch["images"]
        loss = nn.functional.binary_cross_entropy_with_logits(net(images * 2 - 1), batch["labels"].float())
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path, nargs="?", help="folder with train/ and val/")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("-n", type=int, default=1024, help="synthetic samples")
    a = parser.parse_args()
    synthetic = medzoo.dataset(8, a.n, seed=1, keep=a.n)
    if a.real:
        real, held_back = RealMasses(a.real / "train"), RealMasses(a.real / "val")
    else:
        print("no real patches given: model 8 with other seeds stands in for them")
        real, held_back = (medzoo.dataset(8, a.n // 2, seed=s, keep=a.n // 2) for s in (2, 3))
    for name, data in {"real": real, "synthetic": synthetic, "both": ConcatDataset([real, synthetic])}.items():
        print(f"trained on {name:9s}  AUC {auc(train(data, a.steps), held_back):.3f}", flush=True)


if __name__ == "__main__":
    main()
