"""Traces of padding: what stands out in the outermost rows and columns of pictures.

Networks can tell where their padding is, and may hide there what they cannot do.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 127.5  # grey levels of 255 in one unit of pictures in [-1, 1]
# A dot is BRIGHTER grey levels above the row that is DEEPER rows further in.
BRIGHTER, DEEPER = 15, 3
# Rows between those that are compared, and the ratio from which an edge stands out.
STEP, STANDS_OUT = 2, 2.5
FEWEST_ROWS = 5  # of a picture, and columns, that its edges can be compared with


def sides(x: Tensor) -> dict[str, Tensor]:
    """Pictures (N, C, H, W) seen from each side: (N * C, rows, columns), the edge as row 0."""
    x = x.flatten(0, 1)
    turned = x.transpose(1, 2)
    return {"top": x, "bottom": x.flip(1), "left": turned, "right": turned.flip(1)}


def dots(side: Tensor) -> Tensor:
    """Which pictures (N, H, W) have a dot in row 0.

    A dot is a pixel more than 15 grey levels above the row three deeper, after the median of that
    difference along the row is taken off.
    """
    rise = (side[:, 0] - side[:, DEEPER]) * LEVELS
    middle = torch.quantile(rise, 0.5, dim=1, keepdim=True)
    return (rise - middle > BRIGHTER + 1e-3).any(dim=1)  # levels are whole numbers up to rounding


def edge_ratio(x: Tensor) -> Tensor:
    """Mean absolute difference between an edge row and the row two deeper, divided by the same
    figure inside; of the worst of four sides, (N * C,).
    """
    ratios = []
    for side in sides(x).values():
        edge = (side[:, 0] - side[:, STEP]).abs().mean(dim=1)
        inside = (side[:, 1 : -STEP - 1] - side[:, STEP + 1 : -1]).abs().mean(dim=(1, 2))
        ratios.append(edge / inside.clamp(min=1e-6))
    return torch.stack(ratios).amax(dim=0)


def edges(x: Tensor) -> Tensor:
    """Which pictures have an edge that stands out, (N * C,)."""
    return edge_ratio(x) > STANDS_OUT


def border(x: Tensor) -> dict[str, float]:
    """Shares of pictures (N, C, H, W) in [-1, 1] with dots at the top and at the bottom, and with
    an edge that stands out; NaN for volumes.
    """
    if x.ndim != 4:
        return dict.fromkeys(("dots top", "dots low", "edge"), float("nan"))
    seen = sides(x)
    return {
        "dots top": float(dots(seen["top"]).float().mean()),
        "dots low": float(dots(seen["bottom"]).float().mean()),
        "edge": float(edges(x).float().mean()),
    }
