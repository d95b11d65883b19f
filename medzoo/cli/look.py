"""Looking at models: ``visualize``, ``traverse``, ``interpolate``, ``gallery``, ``serve``."""

from __future__ import annotations

import argparse
import inspect
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .generate import model_options
from .help import RUN, Commands, command
from .options import (
    count,
    model_argument,
    offline_argument,
    option_argument,
    path_of,
    running_arguments,
    version_argument,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..view.frames import Frames


def add_look(commands: Commands) -> None:
    """``visualize``, ``traverse``, ``interpolate``, ``gallery``, ``serve``."""
    add_visualize(commands)
    child = command(
        commands,
        "traverse",
        "pictures along a leading direction of a model's latents, as PNG or GIF",
        "The leading directions are those that change the pictures most, named by what they change "
        "most, such as brightness. They are found with 350 samples the first time, and kept in the "
        "cache.",
        examples=(
            "medzoo traverse 8 --out brightness.gif",
            "medzoo traverse 8 --direction texture --steps 7 --out texture.png",
            "medzoo traverse 109 --latent 0 --condition malignant --out diameter.png",
        ),
        codes=(2, *RUN, 9),
    )
    model_argument(child)
    child.add_argument(
        "--direction",
        default="0",
        metavar="D",
        help="number of a leading direction, from 0, or its name (default: 0)",
    )
    child.add_argument(
        "--latent", type=int, metavar="K", help="walk along this latent instead, from 0"
    )
    child.add_argument(
        "--reach",
        type=float,
        default=2.5,
        metavar="R",
        help="from -R to R standard deviations of a latent (default: 2.5)",
    )
    _seed_argument(child)
    _walk_arguments(child)

    child = command(
        commands,
        "interpolate",
        "pictures from one seed to another, as PNG or GIF",
        "Only the latents change, on an arc; the model's own noise is that of the first seed.",
        examples=(
            "medzoo interpolate 8 1 2 --out from-1-to-2.gif",
            "medzoo interpolate 103 1 2 --steps 7 --condition glioma --out gliomas.png",
        ),
        codes=(2, *RUN, 9),
    )
    model_argument(child)
    child.add_argument("seed_a", type=int, metavar="SEED_A", help="the first seed")
    child.add_argument("seed_b", type=int, metavar="SEED_B", help="the last seed")
    _walk_arguments(child)

    child = command(
        commands,
        "gallery",
        "all models as web pages with pictures, search and filters",
        "The pages are static files, which any browser opens from the disk and any web server can "
        "serve. They ask no other host for anything.",
        examples=("medzoo gallery --out site/",),
        codes=(4, 9),
    )
    child.add_argument(
        "--out",
        type=path_of,
        required=True,
        metavar="DIR",
        help="a new or empty folder, or one with an earlier gallery, whose pages are replaced",
    )
    add_serve(commands)


def add_serve(commands: Commands) -> None:
    """``serve``."""
    child = command(
        commands,
        "serve",
        "the gallery, a page for each model and the explorer, in a browser",
        "Needs the extra `web`: pip install 'medzoo[web]'. Only this machine can reach the server, "
        "unless --host names another address; a browser then needs the token that is printed. The "
        "pages ask no other host for anything.",
        examples=(
            "medzoo serve",
            "medzoo serve --port 0 --read-only",
            "medzoo serve --host 0.0.0.0",
            "medzoo serve --study turing/",
        ),
        codes=(2, 4, 130),
    )
    child.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to listen at (default: 127.0.0.1, this machine alone)",
    )
    child.add_argument(
        "--port",
        type=int,
        default=8765,
        metavar="P",
        help="port; 0 takes one that is free (default: 8765)",
    )
    child.add_argument(
        "--study",
        action="append",
        default=[],
        metavar="DIR",
        help="the folder of a reader study, to be answered in the browser; may be repeated",
    )
    child.add_argument(
        "--read-only",
        action="store_true",
        help="only show what there is: no model runs, and nothing can be uploaded",
    )
    child.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 or 1, mps (default: auto)"
    )
    offline_argument(child)


def add_visualize(commands: Commands) -> None:
    """``visualize``."""
    child = command(
        commands,
        "visualize",
        "sliders over a model's latent vector, its condition and the seed",
        "Opens a window. The first sliders are the leading directions, named by what they change "
        "most; they are found the first time. Without a screen, a grid of samples is written to "
        "the current folder instead.",
        examples=(
            "medzoo visualize 8",
            "medzoo visualize 8 --save grid.png",
        ),
        codes=(2, *RUN, 9),
    )
    model_argument(child)
    version_argument(child)
    _seed_argument(child)
    running_arguments(child)
    child.add_argument(
        "--ui",
        choices=["window", "web"],
        help="a window, or a page in a browser (default: chosen by what is installed)",
    )
    child.add_argument(
        "--save", type=path_of, metavar="FILE", help="save a grid of samples and open no window"
    )


def _seed_argument(child: argparse.ArgumentParser) -> None:
    child.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the seed to start from (default: 0)"
    )


def _walk_arguments(child: argparse.ArgumentParser) -> None:
    child.add_argument(
        "--steps", type=count, default=9, metavar="N", help="number of pictures (default: 9)"
    )
    child.add_argument(
        "--out",
        type=path_of,
        required=True,
        metavar="FILE",
        help="a .png with the pictures side by side, or a .gif; a file that exists is replaced",
    )
    child.add_argument(
        "--columns", type=count, metavar="C", help="pictures per row of a .png (default: all)"
    )
    child.add_argument(
        "--condition", metavar="VALUE", help="the model's condition (default: its first value)"
    )
    option_argument(child)
    running_arguments(child)
    version_argument(child)


def visualize_command(a: argparse.Namespace) -> None:
    """``medzoo visualize``."""
    from ..view import visualize

    visualize(
        a.model,
        ui=a.ui,
        version=a.model_version,
        device=a.device,
        seed=a.seed,
        save=a.save,
        env=a.env,
        trust=a.trust,
        sandbox=a.sandbox,
    )


def traverse_command(a: argparse.Namespace) -> None:
    """``medzoo traverse``."""
    from ..view import traverse
    from ..view.frames import check_ending

    check_ending(a.out)
    direction = int(a.direction) if a.direction.isdecimal() else a.direction
    frames = traverse(
        a.model,
        direction,
        a.steps,
        latent=a.latent,
        reach=a.reach,
        seed=a.seed,
        **_how(a, traverse),
    )
    _write(frames, a)


def interpolate_command(a: argparse.Namespace) -> None:
    """``medzoo interpolate``."""
    from ..view import interpolate
    from ..view.frames import check_ending

    check_ending(a.out)
    _write(interpolate(a.model, a.seed_a, a.seed_b, a.steps, **_how(a, interpolate)), a)


def gallery_command(a: argparse.Namespace) -> None:
    """``medzoo gallery``."""
    from ..view.gallery import gallery

    print(f"Open {gallery(a.out)} in a browser.")


def serve_command(a: argparse.Namespace) -> None:
    """``medzoo serve``."""
    from ..web import serve

    serve(a.host, a.port, read_only=a.read_only, device=a.device, studies=a.study)


def _how(a: argparse.Namespace, walk: Callable[..., Frames]) -> dict[str, Any]:
    """How to run the model, and its condition and options."""
    from ..registry import resolve

    options = model_options(a, resolve(a.model).version(a.model_version))
    for name in options:
        if name in inspect.signature(walk).parameters:
            raise InputError(
                f"--option {name}: `medzoo {a.command}` has an argument of this name, so this "
                "option of the model cannot be set here.",
                "Leave it out: the pictures are made with its default.",
            )
    how = {name: getattr(a, name) for name in ("device", "env", "trust", "sandbox")}
    return {**how, "version": a.model_version, **options}


def _write(frames: Frames, a: argparse.Namespace) -> None:
    path = frames.save(a.out, columns=a.columns)
    print(f"{len(frames)} pictures, {frames.title}, are in {path}")
