"""What stands out in the outermost rows and columns of pictures: networks know where their padding
is, and may hide what they cannot do there.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 127.5  # gray levels of 255 in a unit of pictures in [-1, 1]
BRIGHTER, DEEPER = 15, 3  # a dot is so many gray levels above the row so much deeper
STEP, STANDS_OUT = (
    2,
    2.5,
)  # rows between those compared, and the ratio from which an edge stands out


def sides(x: Tensor) -> dict[str, Tensor]:
    """Pictures (N, C, H, W) seen from each side, the edge as row 0, channels as more pictures."""
    x = x.flatten(0, 1)
    turned = x.transpose(1, 2)
    return {"top": x, "bottom": x.flip(1), "left": turned, "right": turned.flip(1)}


def dots(side: Tensor) -> Tensor:
    """Which pictures (N, H, W) have a dot in row 0, in gray levels.

    A dot is a pixel more than 15 levels above the row three deeper, after the median of that
    difference along the row is taken off.
    """
    rise = (side[:, 0] - side[:, DEEPER]) * LEVELS
    middle = torch.quantile(rise, 0.5, dim=1, keepdim=True)
    return (rise - middle > BRIGHTER + 1e-3).any(dim=1)  # levels are whole numbers but for rounding


def edge_ratio(x: Tensor) -> Tensor:
    """Mean absolute difference of an edge row and the row two deeper, over the same of all rows
    (all columns for the edges left and right); of the worst of four sides, (N * C,).
    """
    ratios = []
    for side in sides(x).values():
        edge = (side[:, 0] - side[:, STEP]).abs().mean(dim=1)
        inside = (side[:, 1 : -STEP - 1] - side[:, STEP + 1 : -1]).abs().mean(dim=(1, 2))
        ratios.append(edge / inside.clamp(min=1e-6))
    return torch.stack(ratios).amax(dim=0)


def border(x: Tensor) -> dict[str, float]:
    """Shares of pictures (N, C, H, W) in [-1, 1] with dots above and below, and of those with an
    edge that stands out; NaN for volumes.
    """
    if x.ndim != 4:
        return dict.fromkeys(("dots top", "dots low", "edge"), float("nan"))
    seen = sides(x)
    return {
        "dots top": float(dots(seen["top"]).float().mean()),
        "dots low": float(dots(seen["bottom"]).float().mean()),
        "edge": float((edge_ratio(x) > STANDS_OUT).float().mean()),
    }
