"""medigan's torch data set: samples in memory, under medigan's keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset


class SyntheticDataset(Dataset[dict[str, Any]]):
    """Samples that were made, as dicts of ``sample`` and, where there are such, ``label``, ``mask``
    and ``other_imaging_output``.

    Parameters
    ----------
    samples : list of numpy.ndarray
        Pictures (H, W) or (H, W, C), as the package has them: not scaled.
    masks, other_imaging_output : list of numpy.ndarray or None
        Further pictures of the same samples.
    labels : list of str or None
        The names of their classes.
    transform : function or None
        Called with all pictures of a sample, in the order above; returns as many.

    Examples
    --------
    >>> import numpy as np
    >>> from medzoo.medigan import SyntheticDataset
    >>> dataset = SyntheticDataset([np.zeros((4, 4))], labels=["benign"])
    >>> sorted(dataset[0])
    ['label', 'sample']
    """

    def __init__(
        self,
        samples: Sequence[Any],
        masks: Sequence[Any] | None = None,
        other_imaging_output: Sequence[Any] | None = None,
        labels: Sequence[str] | None = None,
        transform: Callable[..., Any] | None = None,
    ) -> None:
        self.samples, self.masks = samples, masks
        self.other_imaging_output, self.labels = other_imaging_output, labels
        self.transform = transform

    def __getitem__(self, index: int) -> dict[str, Any]:
        columns = {
            "sample": self.samples,
            "mask": self.masks,
            "other_imaging_output": self.other_imaging_output,
        }
        item = {name: values[index] for name, values in columns.items() if values is not None}
        if self.transform is not None:
            changed = self.transform(*item.values())
            item = dict(zip(item, changed if len(item) > 1 else [changed], strict=True))
        if self.labels is not None:
            item["label"] = self.labels[index]
        return item

    def __len__(self) -> int:
        return len(self.samples)
