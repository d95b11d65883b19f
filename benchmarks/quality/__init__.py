"""Judge a set of synthetic pictures or volumes against real ones, without any pretrained network.

    python -m benchmarks.quality REAL --model 8 -n 3000 --seed 0
    python -m benchmarks.quality REAL --set name=FOLDER [--set ...] [--split val]

A set is what `medzoo generate` writes. REAL is one of

- a zip or a folder of pictures, ``train/CLASS/*.png`` and ``val/CLASS/*.png``: made on ``train``,
judged on ``val``;
- the same without the two: of each class, in order of the file's number, every fifth of twenty
blocks is held back and
  four pictures next to it are left out, since neighbours are often of one patient;
- an ``.npz`` with ``images`` (N, C, H, W) or (N, C, D, H, W) and ``labels`` (N,), held back in the
same way.

Real pictures are brought to the set's size. The figures are necessary, not sufficient: look at the
pictures as well.

    SWD        sliced Wasserstein distance of patches of a Laplacian pyramid, x1e3, mean over its bands: of 7x7 pixels
               down to a side of 16, or 5x5x5 voxels down to a side of 8 (Karras et al.,
               arXiv:1710.10196)
    FDpca      Frechet distance in the first 64 principal components of the real training pictures
    precision, recall   of k = 5 nearest-neighbour manifolds there (Kynkaanniemi et al., arXiv:1904.06991)
    tails      mean absolute difference of log kurtosis in the Laplacian bands; 0 is real
    copy       share of samples nearer to a training picture, or a flip of one, than 1 % of those held back are
    C2ST       AUC of a small network told to separate the set from real training pictures; 0.5 is best
    TSTR       AUC of a small network trained on the set and tested on what is held back, mean of five or of
               --seeds networks; of more than two classes the mean of each against the others
    accuracy   of that network, mean over classes
    dots top, dots low   share of pictures with a pixel of the first, or the last, row more than 15 gray levels above the
               row three deeper, after the median of that difference is taken off
    edge       share of pictures in which the mean difference of an edge row and the row two deeper is over 2.5 times the
               same inside, at the worst of four sides

The first row of the table is the floor: real training pictures in place of a set.
"""

from __future__ import annotations

from .figures import BORDER, FIGURES, judge
from .pictures import Pictures, real, synthetic

__all__ = ["BORDER", "FIGURES", "Pictures", "judge", "real", "synthetic"]
