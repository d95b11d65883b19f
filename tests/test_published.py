"""Each of the 23 configs from end to end: its record asked for, its package unpacked, its function called, its columns made.

The packages themselves cannot be had here. What stands in for one takes the arguments that medigan's metadata lists (typed in
again in test_model_configs.py), and no other; it has the weights and the default inputs where the config says they are, and
gives as many samples as it was asked for or has inputs, in the way, the number and the levels that the config states.
"""

from __future__ import annotations

import dataclasses
import io
import json
import warnings
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from conftest import Zenodo
from PIL import Image
from test_model_configs import MEDIGAN, Facts
from zenodo_server import zipped

from medzoo.config import ModelConfig, Version
from medzoo.errors import MedzooWarning
from medzoo.generation.model import Model
from medzoo.registry import resolve
from medzoo.runtime import Execution, open_session

PACKAGE = """
import json, pathlib
import numpy as np
from PIL import Image
from .utils import ABOUT

def {function}({signature}):
    given = dict(locals())
    assert open(model_file, "rb").read() == b"weights"
    assert pathlib.Path(output_path).is_dir() and num_samples > 0
    count = num_samples
    for name in ABOUT["inputs"]:
        path = given[name]
        found = [path] if isinstance(path, str) and pathlib.Path(path).is_file() else path
        found = sorted(pathlib.Path(path).iterdir()) if isinstance(found, str) else found
        assert len(found) > 0 and all(pathlib.Path(p).is_file() for p in found), path
        count = min(count, len(found))

    def picture(about, i):
        low, high = about["returned"]
        rows = np.linspace(low, high, about["shape"][1])[:, None, None] * np.ones((1, about["shape"][2], about["depth"]))
        return (rows if about["float"] else np.rint(rows)).astype("float32" if about["float"] else "uint8")  # (H, W, C)

    if ABOUT["returns"] == "files":
        for i in range(count):
            for name, about in ABOUT["outputs"].items():
                file = pathlib.Path(output_path) / about["files"].replace("*", "{{}}").format(*[f"{{i}}_a"] + [""] * 3)
                Image.fromarray(picture(about, i).squeeze()).save(file.with_suffix(".png"))
        return None
    elements = max(about["element"] for about in ABOUT["outputs"].values()) + 1
    def element(k, i):
        fitting = [about for about in ABOUT["outputs"].values() if about["element"] == k]
        return picture(max(fitting, key=lambda about: about["depth"]), i) if fitting else None
    rows = [tuple(element(k, i) for k in range(elements)) for i in range(count)]
    if ABOUT["returns"] == "tuples":
        return rows
    if ABOUT["returns"] == "arrays":
        return tuple(zip(*rows))
    return [row[0] for row in rows]
"""


def stand_in(facts: Facts, version: Version) -> dict[str, bytes]:
    """The files of a package with medigan's arguments that returns what the config says."""
    call = version.call
    assert call is not None
    arguments = ["model_file", "num_samples", "output_path", "save_images", *facts.arguments]
    arguments += ["input_latent_vector=None"] if facts.latent else []
    outputs = {}
    for name, output in version.outputs.items():
        if not output.condition:
            low, high = output.returned or output.range or (0, 255)
            outputs[name] = {
                "shape": output.shape,
                "returned": [low, high],
                "float": high <= 1,
                "element": output.element,
                "files": output.files or "*.png",
                "depth": max(output.channels, default=output.shape[0] - 1) + 1,
            }
    about = {
        "returns": call.returns,
        "outputs": outputs,
        "inputs": [i.argument for i in version.inputs.values() if i.default],
    }
    code = PACKAGE.format(function=facts.function, signature=", ".join(arguments))
    entries = {
        "__init__.py": code.encode(),
        "utils.py": f"import json\nABOUT = json.loads({json.dumps(about)!r})\n".encode(),
        call.weights: b"weights",
    }
    for each in version.inputs.values():
        if each.default:
            names = (
                [each.default]
                if PurePosixPath(each.default).suffix
                else [f"{each.default}/{k}.png" for k in range(2)]
            )
            entries |= {name: png(each.shape[1:] or (64, 48)) for name in names}
    return entries


def png(shape: tuple[int, ...]) -> bytes:
    """A picture of noise."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.fixture
def published(zenodo: Zenodo, request: pytest.FixtureRequest) -> tuple[ModelConfig, Version]:
    """A config as it ships, and on the server the stand-in for its package; a size and digest of the real one are left out."""
    facts = MEDIGAN[request.param]
    config = resolve(request.param)
    version = config.version("1.0.1" if request.param == 8 else None)
    folder = PurePosixPath(facts.file).stem + "/" * (
        request.param % 2
    )  # every other one nested, as medigan's are
    entries = {
        f"{folder if folder.endswith('/') else ''}{k}": v
        for k, v in stand_in(facts, version).items()
    }
    zenodo.publish(facts.record, {facts.file: zipped(entries)})
    return config, dataclasses.replace(version, size=None, sha256_unconfirmed="")


@pytest.mark.slow
@pytest.mark.parametrize("published", sorted(MEDIGAN), indirect=True)
def test_a_config_calls_its_package_and_makes_its_columns(
    published: tuple[ModelConfig, Version],
) -> None:
    config, version = published
    with warnings.catch_warnings():
        # This interpreter is not the model's own, and the stand-ins have fewer inputs than samples are asked for.
        warnings.simplefilter("ignore", MedzooWarning)
        with Model(
            config, version, open_session(config, version, Execution("cpu", env="current"))
        ) as model:
            samples = model.generate(5, seed=1, batch_size=3)
    for name, output in version.outputs.items():
        values: Any = getattr(samples, name)
        assert (values.shape, values.dtype) == ((5, *output.shape), output.dtype)
        if output.condition:
            assert set(values) == set(version.conditions[output.condition].values.values())
        else:  # the whole range that the package returns became the whole range that the config states
            low, high = output.range or (0, 255)
            assert (values[0].min(), values[0].max()) == (low, high)
    assert samples.provenance["source"] == version.source
    assert samples.provenance["registered"]
