"""Does it help? The results of training on real, synthetic and both, as a table and a plot."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..config.html import text_table
from ..console import prose, table, terminal_width

COLOURS = ("#1971c2", "#0b7285", "#e8590c", "#9c36b5", "#868e96")
ARMS = ("real", "real + augmentation", "real + synthetic", "all", "synthetic")
READING = (
    "The gain is the difference to real data alone with as many real cases. If its interval "
    "contains 0, the held-out cases cannot tell whether it helps. Another task or model may differ."
)


@dataclass(frozen=True)
class Arm:
    """One way to train, and how well it does on held-out real data.

    Parameters
    ----------
    name : str
        ``real``, ``real + augmentation``, ``real + synthetic``, ``all`` or ``synthetic``.
    share : float
        Of the real cases, or of the samples where these are used alone.
    n_real, n_synthetic : int
        Training cases of each kind; of real ones the mean over seeds.
    scores : tuple of float
        The score of each seed.
    low, high : float
        95 % interval of their mean over the held-out cases.
    gain, gain_low, gain_high : float
        Difference to ``real`` with as many real cases, and its interval; NaN without such an arm.
    """

    name: str
    share: float
    n_real: int
    n_synthetic: int
    scores: tuple[float, ...]
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float

    @property
    def mean(self) -> float:
        """The mean score over seeds."""
        return float(np.mean(self.scores))


@dataclass(frozen=True, repr=False)
class Utility:
    """Whether samples help to train: one arm per way to train.

    Parameters
    ----------
    task, score : str
        What is learned, and what the score is.
    n_test : int
        The number of held-out cases.
    arms : Sequence[Arm]
        The results.
    note : str
        What a reader must know.
    """

    task: str
    score: str
    n_test: int
    arms: Sequence[Arm]
    note: str = ""

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows of the table."""
        head = ["trained on", "real", "synthetic", self.score, "seeds", "gain", "95 %"]
        rows = []
        for arm in self.arms:
            known = np.isfinite(arm.gain)
            rows.append(
                [
                    arm.name,
                    str(arm.n_real),
                    str(arm.n_synthetic),
                    f"{arm.mean:.3f}",
                    f"+- {np.std(arm.scores):.3f}",
                    f"{arm.gain:+.3f}" if known else "",
                    f"{arm.gain_low:+.3f} to {arm.gain_high:+.3f}" if known else "",
                ]
            )
        return head, rows

    def __str__(self) -> str:
        lines = prose(f"Does it help? {self.task}, tested on {self.n_test} held-out real cases.")
        lines += ["", table(*self.cells(), width=terminal_width()), ""]
        return "\n".join([*lines, *prose(f"{self.note}{READING}")])

    __repr__ = __str__

    def to_html(self) -> str:
        """The table and a plot as HTML.

        Returns
        -------
        str
            Elements of a page.
        """
        from .report import embedded

        task = f"<p>{html.escape(self.task)}, tested on {self.n_test} held-out real cases.</p>"
        reading = f"<p>{html.escape(self.note + READING)}</p>"
        plot = embedded(self.plot()._repr_png_())
        return f"{task}{text_table(*self.cells())}{reading}{plot}"

    def plot(self) -> Any:
        """Score over the number of real cases, one line per way to train.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.
        """
        from ..samples.pictures import Drawing

        figure = Drawing(6.0, 3.4)
        axes = figure.add_axes((0.11, 0.15, 0.52, 0.8))
        for name, colour in zip(ARMS, COLOURS, strict=True):
            arms = [arm for arm in self.arms if arm.name == name]
            if name == "synthetic":
                for arm in arms[-1:]:
                    axes.axhline(arm.mean, color=colour, ls="--", label="synthetic alone")
                continue
            ends = np.array([[a.mean - a.low, a.high - a.mean] for a in arms]).T.clip(min=0)
            style: dict[str, Any] = {"color": colour, "marker": "o", "capsize": 3, "label": name}
            axes.errorbar([a.n_real for a in arms], [a.mean for a in arms], yerr=ends, **style)
        axes.set_xlabel("real training cases")
        axes.set_ylabel(self.score)
        axes.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
        return figure

    def content(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns
        -------
        dict
            The fields, and ``mean`` for each arm.
        """
        arms = [{**asdict(arm), "mean": arm.mean} for arm in self.arms]
        return {
            "task": self.task,
            "score": self.score,
            "n_test": self.n_test,
            "arms": arms,
            "note": self.note,
        }
