"""The keys of a config that say how the workflow of a MONAI bundle is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .model import DISTRIBUTIONS, NOISE, Bundle, Network, Option

VOLUME_AXES = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}
IMAGE_AXES = {"x": "x", "-x": "x", "y": "y", "-y": "y"}


def bundle(node: Any, latent: int, options: Mapping[str, Option]) -> Bundle:
    """Read the section ``bundle`` of a version; ``node`` is that of `medzoo.config.schema`.

    Raises
    ------
    ConfigError
        A key is missing, unknown or has another value than expected.
    """
    workflow = node.texts("workflow")
    if not workflow:
        raise node.error("workflow", "a list of files in the bundle was expected")
    shape = node.whole_numbers("latent_shape", 1) or ((latent,) if latent else ())
    choices = [*DISTRIBUTIONS, *(o.name for o in options.values() if o.choices)]
    made = Bundle(
        workflow=workflow,
        set=node.with_text_keys("set", {}),
        networks={file: _network(child) for file, child in node.nodes("networks", {}).items()},
        noise=node.choice("noise", NOISE),
        latents=node.take("latents", str, ... if latent else ""),
        latent_shape=shape,
        latents_as=node.choice("latents_as", ("tensor", "list"), "tensor"),
        distribution=node.choice("distribution", tuple(choices), "normal"),
        options=node.with_text_keys("options", {}),
        conditions=node.with_text_keys("conditions", {}),
        steps=node.choice("steps", tuple(options), "") if options else "",
        trained_steps=node.take("trained_steps", int, 0, lambda v: v >= 0, "a number of steps"),
        most=node.take("most", int, None, lambda v: v > 0, "a number of samples"),
        run=node.texts("run", []),
    )
    if latent and math.prod(shape) != latent:
        raise node.error("latent_shape", f"{latent} numbers were expected, not {shape}")
    if made.noise == "latents" and not latent:
        raise node.error("noise", "generators was expected, since there are no latents")
    if made.steps and not made.trained_steps:
        raise node.error("trained_steps", "the number of steps of the training is missing")
    _check_choices(node, made, options)
    node.done()
    return made


def _check_choices(node: Any, made: Bundle, options: Mapping[str, Option]) -> None:
    """Refuse names that are not options, and a distribution that is not known."""
    for name in made.options:
        if name not in options:
            raise node.error("options", f"{name} is not an option of this version")
    option = options.get(made.distribution)
    if option and not {option.default, *option.choices} <= set(DISTRIBUTIONS):
        raise node.error("distribution", f"an option of {', '.join(DISTRIBUTIONS)} was expected")


def _network(node: Any) -> Network:
    network = Network(
        reference=node.take("reference", str),
        load=node.take("load", str, ""),
    )
    node.done()
    return network


def of_bundle(node: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """The keys of an output that say where its samples are, and how they lie.

    Raises
    ------
    ConfigError
        As `bundle`.
    """
    content: dict[str, Any] = {
        "returned": node.bounds("returned"),
        "files": node.take("files", str, ""),
        "reference": node.take("reference", str, ""),
    }
    content["axes"] = () if content["files"] else _axes(node, shape)
    if bool(content["files"]) == bool(content["reference"]):
        raise node.error("", "one of `reference` and `files` was expected")
    return content


def _axes(node: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Where each axis of space of a bundle's tensor leads; needed for a volume."""
    count = len(shape) - 1
    known = VOLUME_AXES if count == 3 else IMAGE_AXES if count == 2 else {}
    default: Any = {3: ..., 2: ["y", "x"]}.get(count, [])
    given: tuple[str, ...] = node.texts("axes", default)
    directions = [known.get(axis, "") for axis in given]
    if len(given) != len(set(directions) - {""}) or (known and len(given) != count):
        raise node.error(
            "axes",
            f"the {count} axes of the tensor were expected, each with where it leads: "
            + ("R or L, A or P, S or I" if count == 3 else "x or -x, y or -y"),
        )
    return given
