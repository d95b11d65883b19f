"""Walks through the latents of a model: along a direction, or from one seed to another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, seeds
from ..config.html import block, image
from ..errors import InputError
from ..generation.api import load
from ..generation.model import Model
from ..registry import resolve
from ..samples import Samples, concatenate, raster, shown
from ..settings import user_path
from .directions import choose, directions_of
from .exploration import between
from .inputs import first_inputs

MOST = 500  # steps
REACH = 2.5  # ends of a traversal, in standard deviations of a latent


@dataclass(frozen=True, eq=False)
class Frames:
    """Pictures of one walk through the latents, in order. They differ in their latents only.

    `medzoo.traverse` and `medzoo.interpolate` return such an object, and a notebook shows it.

    Parameters
    ----------
    title : str
        What was walked: ``direction 0 (brightness)``.
    positions : numpy.ndarray
        Position of each frame, (steps,): on the direction, or from 0 (first seed) to 1 (second).
    latents : numpy.ndarray
        The latents of each frame, (steps, latent size), float32.
    columns : Mapping[str, numpy.ndarray]
        Name -> array whose first axis counts frames.
    """

    title: str
    positions: NDArray[np.float64]
    latents: NDArray[np.float32]
    columns: Mapping[str, Any]
    _samples: Samples

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        return f"<{len(self)} frames of {shown.source(self._samples.provenance)}: {self.title}>"

    def _repr_html_(self) -> str:
        picture = image(raster.png_of(raster.smaller(self.strip(), 1600)), self.title)
        origin = shown.source(self._samples.provenance)
        text = f"<b>{escape(self.title)}</b> of {escape(origin)} · synthetic, not for diagnosis"
        return block(f"<p>{text}</p>", picture)

    @checks.checked()
    def tiles(self, *, scale: int = 1, masks: str = "outline") -> list[NDArray[np.uint8]]:
        """Each frame as 8-bit pixels: (H, W) gray, or (H, W, 3)."""
        raster.check_choice(masks, "masks", raster.MASKS)
        rows = range(len(self))
        return [raster.planes(self._samples, r, scale=scale, masks=masks) for r in rows]

    @checks.checked()
    def strip(
        self, columns: int | None = None, *, scale: int = 1, masks: str = "outline"
    ) -> NDArray[np.uint8]:
        """The frames side by side as 8-bit pixels, all in one row by default."""
        tiles = self.tiles(scale=scale, masks=masks)
        return raster.sheet_of(tiles, min(columns or len(tiles), len(tiles)))

    @checks.checked()
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        columns: int | None = None,
        fps: float = 8,
        scale: int = 1,
        masks: str = "outline",
    ) -> Path:
        """Write the frames as one picture (.png) or as an animation (.gif).

        An animation goes to the end and back. A file that exists is replaced.

        Raises
        ------
        InputError
            The name ends in neither, or an argument is not valid.
        DatasetError
            The file cannot be written.
        """
        target = user_path(path, "path")
        ending = target.suffix.lower()
        if ending == ".gif":
            tiles = self.tiles(scale=scale, masks=masks)
            return raster.write_gif(target, [*tiles, *tiles[-2:0:-1]], fps)
        check_ending(path)
        raster.write(target, raster.png_of(self.strip(columns, scale=scale, masks=masks)))
        return target


def check_ending(path: str | os.PathLike[str]) -> None:
    """Check that the name of a file ends in .png or .gif.

    Raises
    ------
    InputError
        It does not.
    """
    if user_path(path, "path").suffix.lower() not in {".png", ".gif"}:
        raise InputError(
            f"{checks.shown(path)} is neither a PNG nor a GIF.",
            "The name must end in .png or .gif.",
        )


@checks.checked(direction=checks.anything, latent=checks.optional(checks.first))
def traverse(
    model_id: int | str | os.PathLike[str],
    direction: int | str = 0,
    steps: int = 9,
    *,
    latent: int | None = None,
    reach: float = REACH,
    seed: int = 0,
    version: str | None = None,
    device: str = "auto",
    env: str = "auto",
    trust: bool = False,
    sandbox: str = "auto",
    **options: Any,
) -> Frames:
    """Walk along a leading direction of a model's latents: pictures from one end to the other.

    The leading directions are those that change the pictures most. They are named by what they
    change most, such as ``brightness``, ``size`` or ``texture``. They are found with 350 samples
    the first time, and kept in medzoo's cache for each version of a model. A direction is one of
    the model, not of anatomy: more of it is not more malignant.

    Parameters
    ----------
    model_id : int, str or os.PathLike
        Number, id, unique beginning of an id, or path of a package folder.
    direction : int or str, optional
        Number of a leading direction, from 0, or its name. 0 by default.
    steps : int, optional
        Number of pictures, 2 to 500. 9 by default.
    latent : int, optional
        Walk along this number of the latent vector instead, from 0.
    reach : float, optional
        The walk goes from ``-reach`` to ``reach``, in standard deviations of a latent, above 0 and
        at most 10. 2.5 by default.
    seed : int, optional
        The walk starts from the latents of sample 0 of this seed, and uses its noise. 0 by default.
    version, device, env : str, optional
        See `medzoo.load`.
    trust : bool, optional
        See `medzoo.load`.
    sandbox : str, optional
        See `medzoo.load`.
    **options : optional
        The model's condition and options. By default the first condition and the default options.

    Returns
    -------
    Frames
        Their ``columns`` are arrays, and ``save("walk.gif")`` or ``save("walk.png")`` writes them.

    Raises
    ------
    InputError
        The model has no latents or makes no pictures, or an argument is not valid.
    MedzooError
        Any error of `medzoo.load` and `medzoo.generate`.

    Examples
    --------
    >>> frames = medzoo.traverse(109, latent=0, steps=3, condition="benign")
    >>> frames
    <3 frames of 00109_PHANTOM_MMG_MASSES 1.0.0, seed 0: latent 0>
    >>> frames.columns["images"].shape, frames.positions
    ((3, 1, 128, 128), array([-2.5,  0. ,  2.5]))
    >>> frames.save("diameter.gif")
    PosixPath('diameter.gif')
    """
    size = _check(model_id, version, options)
    steps = checks.whole(steps, "steps", "a number of steps", 2, MOST)
    reach = checks.between(reach, "reach", 1e-3, 10.0)
    positions = np.linspace(-reach, reach, steps)
    own = seeds.latents(seed, [0], size)[0]
    if latent is not None:
        checks.whole(latent, "latent", "the number of a latent", 0, size - 1)
    with load(
        model_id, version=version, device=device, env=env, trust=trust, sandbox=sandbox
    ) as model:
        if latent is not None:
            rows = np.repeat(own[None], steps, axis=0)
            rows[:, latent] = positions
            title = f"latent {latent}"
        else:
            found = directions_of(model)
            chosen = choose(found, checks.plain(direction))
            rows = np.stack([chosen.moved(own, position) for position in positions])
            number = found.index(chosen)
            title = f"direction {number}"
            title += f" ({chosen.name})" if chosen.name != title else ""
        return _walk(model, seed, rows, positions=positions, title=title, options=options)


@checks.checked(seed_a=checks.seed, seed_b=checks.seed)
def interpolate(
    model_id: int | str | os.PathLike[str],
    seed_a: int,
    seed_b: int,
    steps: int = 9,
    *,
    version: str | None = None,
    device: str = "auto",
    env: str = "auto",
    trust: bool = False,
    sandbox: str = "auto",
    **options: Any,
) -> Frames:
    """Walk from the latents of one seed to those of another, on an arc.

    Only the latents change. The model's own noise is that of ``seed_a`` in all pictures. So the
    first picture is sample 0 of ``seed_a``, and the last is that of ``seed_b`` only for a model
    that draws no noise.

    Parameters
    ----------
    model_id : int, str or os.PathLike
        Number, id, unique beginning of an id, or path of a package folder.
    seed_a, seed_b : int
        The two seeds, 0 to 2**64 - 1.
    steps : int, optional
        Number of pictures, both ends included, 2 to 500. 9 by default.
    version, device, env : str, optional
        See `medzoo.load`.
    trust : bool, optional
        See `medzoo.load`.
    sandbox : str, optional
        See `medzoo.load`.
    **options : optional
        The model's condition and options. By default the first condition and the default options.

    Returns
    -------
    Frames
        Their ``columns`` are arrays, and ``save("walk.gif")`` or ``save("walk.png")`` writes them.

    Raises
    ------
    InputError
        The model has no latents or makes no pictures, or an argument is not valid.
    MedzooError
        Any error of `medzoo.load` and `medzoo.generate`.

    Examples
    --------
    >>> frames = medzoo.interpolate(8, 1, 2, steps=3)
    >>> frames
    <3 frames of 00008_C-DCGAN_MMG_MASSES 2.2.0, seed 1: from seed 1 to seed 2>
    >>> frames.positions
    array([0. , 0.5, 1. ])
    """
    size = _check(model_id, version, options)
    steps = checks.whole(steps, "steps", "a number of steps", 2, MOST)
    a, b = (seeds.latents(seed, [0], size)[0] for seed in (seed_a, seed_b))
    positions = np.linspace(0, 1, steps)
    rows = np.stack([between(a, b, float(share)) for share in positions])
    with load(
        model_id, version=version, device=device, env=env, trust=trust, sandbox=sandbox
    ) as model:
        title = f"from seed {seed_a} to seed {seed_b}"
        return _walk(model, seed_a, rows, positions=positions, title=title, options=options)


def _check(
    model_id: int | str | os.PathLike[str], version: str | None, options: Mapping[str, Any]
) -> int:
    """The number of latents of a model, before it is loaded."""
    config = resolve(model_id)
    chosen = config.version(version)
    shown.picture_column(chosen.outputs)
    if not chosen.settable_latents:
        raise InputError(
            f"{config.id} has no latents to walk through.",
            f"`medzoo info {config.number}` lists its inputs.",
        )
    allowed = [*chosen.conditions, *chosen.options]
    for name in options:
        if name not in allowed:
            names = ", ".join(allowed) or "no inputs"
            raise InputError(
                f"A walk through {config.id} takes no {name!r}.",
                f"{checks.instead(name, allowed)}It takes {names}.",
            )
    return chosen.settable_latents


def _walk(
    model: Model,
    seed: int,
    rows: NDArray[np.float32],
    *,
    positions: NDArray[np.float64],
    title: str,
    options: Mapping[str, Any],
) -> Frames:
    inputs = {**first_inputs(model.version), **options}
    parts = _parts(model, seed, rows, inputs)
    joined = concatenate(parts)
    # All are sample 0 of the seed; different numbers keep their titles apart.
    samples = Samples(joined.columns, joined.outputs, np.arange(len(rows)), joined.provenance)
    columns = {name: getattr(joined, name) for name in joined.columns}
    return Frames(title, positions, rows, columns, samples)


def _parts(
    model: Model, seed: int, rows: NDArray[np.float32], inputs: Mapping[str, Any]
) -> Sequence[Samples]:
    """Sample 0 of the seed with each row of latents: one by one, so that each has its noise."""
    return [
        model.generate(1, seed=seed, latents=row[None], progress=False, **inputs) for row in rows
    ]
