"""The medigan contract: every quirk of published packages has a package here that has it, run in a worker as they are."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medigan_packages import GRAY, registrar, write_zip
from PIL import Image

import medzoo
from medzoo._worker.input_files import files_in_order, natural
from medzoo._worker.shaping import arrange
from medzoo.cli import main
from medzoo.config import Output
from medzoo.errors import (
    BuildError,
    InputError,
    MedzooWarning,
    PackageError,
    TrustError,
    WorkerError,
)
from medzoo.runtime.medigan import to_range

Medigan = Callable[..., int]
PAIR = {
    "images": {"kind": "image", "dtype": "uint8", "shape": [1, 4, 4], "range": [0, 255]},
    "masks": {"kind": "mask", "dtype": "uint8", "shape": [1, 4, 4], "range": [0, 1], "element": 1},
}
CONDITION = {"condition": {"values": {"benign": 0, "malignant": 1}, "help": "Malignancy."}}
NOISE = """
import random, numpy as np

def generate(model_file, num_samples, output_path, save_images):
    assert num_samples > 0 and save_images is False
    return [np.random.randint(0, 256, (4, 4)).astype(np.uint8) for _ in range(num_samples)]
"""
INVERTED = """
import os
import numpy as np
from PIL import Image

def generate(model_file, num_samples, output_path, save_images, input_path, translate_all_images=False):
    assert os.path.isdir(input_path), input_path
    found = []
    for file in os.listdir(input_path):
        if file.endswith((".png", ".jpg", ".tif")):
            found.append(255 - np.asarray(Image.open(os.path.join(input_path, file)).convert("L")))
            if len(found) >= num_samples and not translate_all_images:
                break
    return found
"""


def returning(what: str, arguments: str = "") -> str:
    """A package whose function returns ``what``, an expression in n."""
    return f"""
import numpy as np

def generate(model_file, num_samples, output_path, save_images{arguments}):
    n = num_samples
    return {what}
"""


def run(number: int, n: int = 4, **options: Any) -> medzoo.Samples:
    return medzoo.generate(number, n, env="current", **{"seed": 0, **options})


@pytest.fixture(scope="module")
def evaluating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., medzoo.Samples]]:
    """``evaluating(expression, n, returns="images")``: what a package's function that returns the expression in n makes.

    One worker for each way to return, since starting one takes longer than all else.
    """
    code = """
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images, what):
        n = num_samples
        return eval(what, {**globals(), **locals()})
    """
    option = {"what": {"type": "str", "default": "", "help": "What to return."}}
    models: dict[str, medzoo.generation.model.Model] = {}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("evaluating") / "configs"
        register = registrar(folder, patch)

        def evaluate(what: str, n: int = 4, returns: str = "images") -> medzoo.Samples:
            if returns not in models:
                outputs = GRAY if returns == "images" else PAIR
                number = register(
                    code,
                    call={"returns": returns},
                    outputs=outputs,
                    options=option,
                    number=910 + len(models),
                )
                patch.setenv(
                    "MEDZOO_MODEL_CONFIGS", str(folder)
                )  # which another test's end took away
                models[returns] = medzoo.load(number, env="current")
            return models[returns].generate(n, seed=0, what=what)

        yield evaluate
        for model in models.values():
            model.close()


def png(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    """The bytes of a grey picture of one value."""
    buffer = io.BytesIO()
    Image.fromarray(np.full(size, value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def medigan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Medigan:
    """Registers a package: see `medigan_packages.registrar`."""
    return registrar(tmp_path / "configs", monkeypatch)


# ---- how it is called


def test_weights_without_an_extension_in_a_nested_zip(medigan: Medigan) -> None:
    code = """
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images):
        value = int(open(model_file).read())
        return [np.full((4, 4), value, np.uint8)] * num_samples
    """
    extra = {"malign_mass_gen": "77"}
    number = medigan(code, files=extra, call={"weights": "malign_mass_gen"}, nested="MALIGN_DCGAN")
    assert (run(number).images == 77).all()


def test_a_copy_names_the_file_to_edit_and_runs_on_trust_alone(
    medigan: Medigan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images):
        return [np.full((4, 4), 7, np.uint8)] * num_samples
    """
    number, mine = medigan(code), tmp_path / "mine"
    assert main(["copy", str(number), str(mine)]) == 0
    assert f"{mine}: edit __init__.py" in capsys.readouterr().out
    (mine / "__init__.py").write_text((mine / "__init__.py").read_text().replace("7", "8"))
    with pytest.raises(TrustError, match="no registry names it"):
        medzoo.generate(mine, n=2, env="current")
    found = medzoo.generate(mine, n=2, env="current", trust=True)
    assert (found.images == 8).all()
    assert (found.provenance["registered"], found.provenance["trust"]) == (False, True)


def test_weights_may_be_a_folder(medigan: Medigan) -> None:
    code = """
    import os, numpy as np
    def generate(model_file, num_samples, output_path, save_images):
        values = [int(open(os.path.join(model_file, str(k), "w.pt")).read()) for k in range(2)]
        return [np.full((4, 4), sum(values), np.uint8)] * num_samples
    """
    number = medigan(
        code,
        files={"checkpoints/0/w.pt": "3", "checkpoints/1/w.pt": "4"},
        call={"weights": "checkpoints"},
    )
    assert (run(number).images == 7).all()


def test_a_package_finds_what_lies_beside_its_weights(medigan: Medigan) -> None:
    code = """
    from pathlib import Path
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images, T1_to_T2=True):
        other = Path(model_file).parent.absolute() / ("a.pth.tar" if T1_to_T2 else "b.pth.tar")
        return [np.full((4, 4), int(other.read_text()), np.uint8)] * num_samples
    """
    option = {"T1_to_T2": {"type": "bool", "default": True, "help": "Direction."}}
    number = medigan(
        code,
        files={"a.pth.tar": "1", "b.pth.tar": "2"},
        call={"weights": "a.pth.tar"},
        options=option,
    )
    assert (run(number, 1).images == 1).all()
    assert (run(number, 1, T1_to_T2=False).images == 2).all()


@pytest.mark.parametrize("nested", ["", "00902_QUIRK"])
def test_default_paths_are_relative_to_models_and_the_id(medigan: Medigan, nested: str) -> None:
    arguments = {"input_path": "models/00902_QUIRK_MRI_NOISE/images", "translate_all_images": False}
    files = {f"images/{k}.png": png(10 * k) for k in range(4)}
    number = medigan(INVERTED, files=files, call={"arguments": arguments}, nested=nested)
    assert run(number).images[:, 0, 0, 0].tolist() == [255, 245, 235, 225]


def test_a_fixed_argument_stays_the_text_or_list_that_it_is(medigan: Medigan) -> None:
    code = """
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images, gpu_id, image_size, z, nothing):
        assert gpu_id == "0" and image_size == [4, 4] and z == {"a": 1} and nothing is None
        image_size.append("changed")
        return [np.zeros((4, 4), np.uint8)] * num_samples
    """
    arguments = {"gpu_id": "0", "image_size": [4, 4], "z": {"a": 1}, "nothing": None}
    assert len(run(medigan(code, call={"arguments": arguments}), 9, batch_size=3)) == 9


def test_options_are_passed_by_name_and_none_as_none(medigan: Medigan) -> None:
    code = """
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images, shapes, gain, size):
        value = len(shapes) * 10 + (gain if gain is not None else 5) + sum(size)
        return [np.full((4, 4), value, np.uint8)] * num_samples
    """
    options = {
        "shapes": {"type": "texts", "default": ["oval"], "help": "Shapes."},
        "gain": {"type": "int", "default": None, "help": "Gain."},
        "size": {"type": "ints", "default": [0, 0], "help": "Size."},
    }
    number = medigan(code, options=options)
    assert (run(number, 1).images == 15).all()
    assert (run(number, 1, shapes=["oval", "round"], gain=1, size=(2, 3)).images == 26).all()


def test_a_call_is_for_one_condition_value_and_the_order_is_kept(medigan: Medigan) -> None:
    code = """
    import numpy as np
    calls = []
    def generate(model_file, num_samples, output_path, save_images, condition):
        assert type(condition) is str
        calls.append(num_samples)
        value = {"m": 200, "b": 100}[condition]
        return [np.full((4, 4), value + k + 10 * len(calls), np.uint8) for k in range(num_samples)]
    """
    conditions = {
        "condition": {**CONDITION["condition"], "passed": {"benign": "b", "malignant": "m"}}
    }
    outputs = {**GRAY, "labels": {"kind": "label", "condition": "condition"}}
    given_ = ["malignant", "benign", "benign", "malignant", "malignant"]
    found = run(
        medigan(code, conditions=conditions, outputs=outputs), 5, condition=given_, batch_size=5
    )
    assert found.images[:, 0, 0, 0].tolist() == [
        210,
        120,
        121,
        211,
        212,
    ]  # two calls, each in its order
    assert found.labels.tolist() == [1, 0, 0, 1, 1]


def test_a_condition_without_passed_gets_its_number(medigan: Medigan) -> None:
    code = returning("[np.full((4, 4), condition, np.uint8)] * n", ", condition")
    conditions = {
        "condition": {"values": {"benign": 1, "malignant": 0}, "help": "As in medigan's model 8."}
    }
    found = run(medigan(code, conditions=conditions), 4)
    assert found.images[:, 0, 0, 0].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("n", [4, 8, 9])
def test_no_call_is_made_for_zero_samples(medigan: Medigan, n: int) -> None:
    assert len(run(medigan(NOISE), n, batch_size=4)) == n


def test_most_bounds_each_call_and_one_makes_samples_independent_of_batches(
    medigan: Medigan,
) -> None:
    code = """
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images, ages):
        assert num_samples == len(ages) == 1
        return [np.random.randint(0, 256, (4, 4)).astype(np.uint8)]
    """
    number = medigan(code, call={"most": 1, "arguments": {"ages": [-4]}})
    one, all_ = run(number, 5, batch_size=1), run(number, 7, batch_size=4)
    assert np.array_equal(one.images, all_.images[:5])
    assert all_.provenance["seeding"] == "sample"


def test_more_is_asked_of_a_package_in_several_calls(medigan: Medigan) -> None:
    code = returning("[np.full((4, 4), n, np.uint8)] * n")
    assert (
        run(medigan(code, call={"most": 3}), 8, batch_size=8).images[:, 0, 0, 0].tolist()
        == [3] * 6 + [2] * 2
    )


# ---- what it finds around it


def test_modules_of_the_same_names_in_two_packages_and_the_caller(
    medigan: Medigan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    import numpy as np
    from . import config as relative
    import config, utils.helper
    from src.models.net import VALUE
    from models import base
    import colorsys, yaml
    def generate(model_file, num_samples, output_path, save_images):
        assert relative.VALUE == config.VALUE == utils.helper.VALUE == VALUE == base.VALUE == yaml.VALUE
        assert hasattr(colorsys, "rgb_to_hsv")  # Python's own
        return [np.full((4, 4), VALUE, np.uint8)] * num_samples
    """

    def files(value: int) -> dict[str, str]:
        names = [
            "config.py",
            "utils/helper.py",
            "src/models/net.py",
            "models/base.py",
            "yaml.py",
            "colorsys.py",
        ]
        inits = [
            "utils/__init__.py",
            "src/__init__.py",
            "src/models/__init__.py",
            "models/__init__.py",
        ]
        return dict.fromkeys(names, f"VALUE = {value}\n") | dict.fromkeys(inits, "")

    for name in ("config", "models", "src", "utils"):  # the caller's own, imported and on the path
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        (tmp_path / f"{name}.py").write_text("raise ImportError('of the caller')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    first, second = medigan(code, files=files(1)), medigan(code, files=files(2), number=903)
    with medzoo.load(first, env="current") as one, medzoo.load(second, env="current") as two:
        for _ in range(2):
            assert (one(2).images == 1).all()
            assert (two(2).images == 2).all()
    assert Path.cwd() == tmp_path
    assert not hasattr(sys.modules["utils"], "helper")


def test_a_package_may_import_itself_by_its_folders_name(medigan: Medigan) -> None:
    code = """
    import numpy as np
    from MALIGN_DCGAN.net import VALUE
    import MALIGN_DCGAN.net
    def generate(model_file, num_samples, output_path, save_images):
        return [np.full((4, 4), VALUE, np.uint8)] * num_samples
    """
    assert (
        run(medigan(code, files={"net.py": "VALUE = 9"}, nested="MALIGN_DCGAN"), 1).images == 9
    ).all()


def test_a_folder_called_as_an_installed_package_hides_nothing(medigan: Medigan) -> None:
    code = """
    import numpy as np
    from .net import VALUE
    import PIL.Image
    def generate(model_file, num_samples, output_path, save_images):
        return [np.asarray(PIL.Image.new("L", (4, 4), VALUE)) for _ in range(num_samples)]
    """
    assert (run(medigan(code, files={"net.py": "VALUE = 9"}, nested="PIL"), 2).images == 9).all()


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else ""
        for p in sorted(folder.rglob("*"))
    }


def test_what_a_package_writes_beside_itself_stays_out_of_the_verified_package(
    medigan: Medigan, tmp_path: Path
) -> None:
    code = """
    import os
    from pathlib import Path
    import numpy as np
    from .net import VALUE
    def generate(model_file, num_samples, output_path, save_images):
        (Path(__file__).resolve().parent / "cache.txt").write_text("x")
        Path(os.path.dirname(model_file), "beside.txt").write_text("x")
        Path("models/00902_QUIRK_MRI_NOISE/images/new.png").write_text("x")
        Path("my_models").mkdir(exist_ok=True)
        Path(output_path, "0.png").write_text("x")
        os.chdir("/")
        return [np.full((4, 4), VALUE, np.uint8)] * num_samples
    """
    number = medigan(code, files={"net.py": "VALUE = 1", "images/0.png": png(0)})
    before = Path.cwd()
    run(number, 1)
    packages = tmp_path / "cache" / "packages"
    unpacked = digests(packages)
    assert any(name.endswith("net.py") for name in unpacked)
    assert (
        len(run(number, 5, batch_size=2)) == 5
    )  # the store holds every file against the zip before it runs
    assert digests(packages) == unpacked
    assert Path.cwd() == before


@pytest.mark.parametrize(
    "make",
    ["os.mkdir(output_path)", "os.mkdir(output_path.rstrip('/'))", "os.makedirs(output_path)"],
)
def test_a_package_that_makes_its_folder_itself(medigan: Medigan, make: str) -> None:
    code = f"""
    import os, numpy as np
    from PIL import Image
    def generate(model_file, num_samples, output_path, save_images):
        {make}
        for k in range(num_samples):
            Image.fromarray(np.random.randint(0, 256, (4, 4)).astype(np.uint8)).save(output_path + f"{{k}}.png")
    """
    number = medigan(code, call={"returns": "files"})
    assert np.array_equal(run(number, 5).images, run(number, 5).images)


def test_a_package_that_needs_the_parent_folder_to_exist(medigan: Medigan) -> None:
    code = """
    import os, numpy as np
    from PIL import Image
    def generate(model_file, num_samples, output_path, save_images):
        assert save_images is True
        if not os.path.exists(output_path):
            os.mkdir(output_path)
        os.mkdir(os.path.join(output_path, "gray"))
        for k in range(num_samples):
            Image.fromarray(np.full((4, 4), k, np.uint8)).save(output_path + f"/gray/{k}.png")
    """
    assert run(medigan(code, call={"returns": "files"}), 4).images[:, 0, 0, 0].tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_another_missing_or_existing_file_is_the_packages_own_error(medigan: Medigan) -> None:
    code = """
    import os
    def generate(model_file, num_samples, output_path, save_images):
        os.mkdir("models")
    """
    with pytest.raises(PackageError, match="failed on samples 0 to 3: FileExistsError"):
        run(medigan(code))


def test_a_process_that_ended_leaves_the_next_one_a_clean_place(medigan: Medigan) -> None:
    code = """
    import os, numpy as np
    def generate(model_file, num_samples, output_path, save_images, end):
        if end:
            os._exit(3)
        return [np.zeros((4, 4), np.uint8)] * num_samples
    """
    option = {"end": {"type": "bool", "default": False, "help": "Whether to end."}}
    with medzoo.load(medigan(code, options=option), env="current") as model:
        with pytest.raises(WorkerError):
            model(1, end=True)
        assert len(model(2)) == 2


# ---- what it returns

EIGHT = "np.arange(16).reshape(4, 4)"


@pytest.mark.parametrize(
    "what",
    [
        f"[{EIGHT}.astype(np.uint8)] * n",
        f"[{EIGHT}[..., None].astype(np.uint8)] * n",
        f"[{EIGHT}[None, None].astype(np.int64)] * n",
        f"tuple([{EIGHT}.tolist()] * n)",
        f"np.stack([{EIGHT}.astype(np.float32)] * n)",
        f"np.stack([{EIGHT}.astype('>u2')[None]] * n)",
        f"[__import__('PIL.Image').Image.fromarray({EIGHT}.astype(np.uint8))] * n",
        f"[__import__('torch').tensor({EIGHT}, requires_grad=False).half()] * n",
        f"__import__('torch').tensor(np.stack([{EIGHT}] * n), dtype=__import__('torch').bfloat16, requires_grad=True)",
        f"np.asfortranarray({EIGHT}.astype(np.float16))",
    ],
)
def test_pictures_come_in_many_ways(evaluating: Callable[..., medzoo.Samples], what: str) -> None:
    n = 1 if "asfortran" in what else 3
    found = evaluating(what, n)
    assert found.images.dtype == np.uint8
    assert (found.images.reshape(n, 16) == np.arange(16)).all()


def test_tuples_of_a_sample_in_the_order_that_the_config_declares(medigan: Medigan) -> None:
    outputs = {
        "masks": {**PAIR["masks"], "returned": [0, 255]},
        "images": PAIR["images"],
        "others": {
            "kind": "image",
            "dtype": "float32",
            "shape": [1, 4, 4],
            "range": [0, 1],
            "element": 2,
            "returned": [-1, 1],
        },
        "labels": {"kind": "label", "element": 3},
    }
    what = "[(np.full((4, 4, 1), k, np.uint8), np.eye(4) * 255, -np.ones((4, 4)), k % 2) for k in range(n)]"
    found = run(medigan(returning(what), call={"returns": "tuples"}, outputs=outputs), 3)
    assert list(found.columns) == ["masks", "images", "others", "labels"]
    assert np.array_equal(found.masks[2, 0], np.eye(4))
    assert found.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert (found.others == 0).all()
    assert found.labels.tolist() == [0, 1, 0]


def test_arrays_of_the_whole_batch_each(medigan: Medigan) -> None:
    what = "(np.arange(n)[:, None, None] * np.ones((4, 4)), [np.ones((4, 4))] * n)"
    found = run(medigan(returning(what), call={"returns": "arrays"}, outputs=PAIR), 3)
    assert found.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert (found.masks == 1).all()


def test_a_list_in_a_list_is_element_0_of_arrays(medigan: Medigan) -> None:
    assert (
        len(run(medigan(returning("[[np.zeros((4, 4))] * n]"), call={"returns": "arrays"}), 3)) == 3
    )


def test_channels_of_one_picture_may_be_several_columns(medigan: Medigan) -> None:
    outputs = {
        "images": {**PAIR["images"], "shape": [3, 4, 5], "channels": [0, 1, 2]},
        "masks": {
            "kind": "mask",
            "dtype": "uint8",
            "shape": [1, 4, 5],
            "range": [0, 1],
            "returned": [0, 255],
            "channels": [3],
        },
    }
    what = "[np.stack([np.full((4, 5), v) for v in (1, 2, 3, 255)], -1)] * n"
    found = run(medigan(returning(what), outputs=outputs), 2)
    assert found.images[1, :, 0, 0].tolist() == [1, 2, 3]
    assert (found.masks == 1).all()


def test_files_go_to_the_longest_pattern_in_the_order_of_their_numbers(medigan: Medigan) -> None:
    code = """
    import numpy as np
    from PIL import Image
    def generate(model_file, num_samples, output_path, save_images):
        for k in range(num_samples):
            gray = np.full((4, 4), 10 * k, np.uint8)
            Image.fromarray(gray).save(f"{output_path}/{k}.png")
            Image.fromarray(np.stack([gray // 10 % 2 * 255] * 3 + [gray * 0 + 255], -1)).save(f"{output_path}/{k}_mask.png")
            np.save(f"{output_path}/{k}.npy", gray[None].astype(np.float32) / 255)
        open(f"{output_path}/log.txt", "w").write("no picture")
    """
    outputs = {
        "images": {**PAIR["images"], "files": "*.png"},
        "masks": {**PAIR["masks"], "files": "*_mask.png", "channels": [0], "returned": [0, 255]},
        "others": {
            "kind": "image",
            "dtype": "float32",
            "shape": [1, 4, 4],
            "range": [0, 1],
            "files": "*.npy",
        },
    }
    found = run(medigan(code, call={"returns": "files"}, outputs=outputs), 12, batch_size=12)
    assert found.images[:, 0, 0, 0].tolist() == [10 * k for k in range(12)]
    assert found.masks[:, 0, 0, 0].tolist() == [k % 2 for k in range(12)]
    np.testing.assert_allclose(found.others[:, 0, 0, 0], np.arange(12) * 10 / 255, atol=1e-6)


def test_jpg_and_bmp_and_16_bits(medigan: Medigan) -> None:
    code = """
    import numpy as np
    from PIL import Image
    def generate(model_file, num_samples, output_path, save_images):
        for k in range(num_samples):
            Image.fromarray(np.full((8, 8), 100, np.uint8)).save(f"{output_path}/{k}.JPG", quality=95)
            Image.fromarray(np.full((8, 8), 101, np.uint8)).save(f"{output_path}/{k}.bmp")
            Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(f"{output_path}/{k}_16.png")
    """
    about = {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8], "range": [0, 255]}
    outputs = {
        "lossy": {**about, "files": "*.JPG"},
        "flat": {**about, "files": "*.bmp"},
        "deep": {"kind": "image", "dtype": "uint16", "shape": [1, 8, 8], "files": "*.png"},
    }
    found = run(medigan(code, call={"returns": "files"}, outputs=outputs), 3)
    assert abs(found.lossy.astype(int) - 100).max() <= 1
    assert (found.flat == 101).all()
    assert (found.deep == 40000).all()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (
            "[np.zeros((4, 4))] * (n - 1)",
            "asked for 4 samples and returned 3: 1 too few(.|\n)*`most: 1`",
        ),
        (
            "[np.zeros((4, 4))] * (n + 1)",
            "asked for 4 samples and returned 5: 1 too many(.|\n)*`arguments`",
        ),
        ("np.zeros((2 * n, 1, 4, 4))", "returned 8: 4 too many"),
        ("[]", "returned 0: 4 too few"),
        ("None", "returned nothing(.|\n)*`returns: files`"),
        ("{'images': 1}", "returned dict, not 4 samples"),
        ("'images'", "returned str, not 4 samples"),
        ("7", "returned 1: 3 too few"),
        (
            "[np.zeros((4, 4)), None, np.zeros((4, 4)), np.zeros((4, 4))]",
            "'images' of sample 1 is not .*: None came in its place",
        ),
        (
            "[np.zeros((4, 5))] * n",
            r"'images' of sample 0 is not what its config says: it has the shape \(4, 5\), not \(1, 4, 4\)",
        ),
        ("[np.zeros((4, 4, 3))] * n", r"has the shape \(4, 4, 3\), not \(1, 4, 4\)"),
        ("[object()] * n", "object holds no numbers"),
        ("[np.full((4, 4), 'x')] * n", "no numbers"),
        ("[np.zeros((4, 4), complex)] * n", "complex128 holds no numbers"),
        (
            "[[[1], [1, 2]]] * n",
            "'images' of sample 0 is not what its config says: .*inhomogeneous",
        ),
        ("[np.full((4, 4), np.nan)] * n", "'images' holds values that are not finite"),
        (
            "[np.full((4, 4), 256)] * n",
            "has values from 256 to 256; by its config the package returns 0 to 255",
        ),
        ("[np.full((4, 4), -1.0)] * n + 1 / 0", "failed on samples 0 to 3: ZeroDivisionError"),
        ("exit(3)", "failed on samples 0 to 3: SystemExit"),
    ],
)
def test_what_a_package_may_not_return(
    evaluating: Callable[..., medzoo.Samples], what: str, says: str
) -> None:
    with pytest.raises(PackageError, match=f"_QUIRK_MRI_NOISE, version 1.0.0.*{says}"):
        evaluating(what)


@pytest.mark.parametrize(
    ("returns", "what", "says"),
    [
        (
            "tuples",
            "[(np.zeros((4, 4)),)] * n",
            "sample 0 has 'masks' as element 1 by its config, but there are only 1",
        ),
        (
            "tuples",
            "[np.zeros((4, 4))] * n",
            "sample 0 has 'images' as element 0 .* that is ndarray, not a tuple",
        ),
        (
            "tuples",
            "[(np.zeros((4, 4)), np.zeros((4, 4)))]",
            "asked for 4 samples and returned 1: 3 too few",
        ),
        (
            "arrays",
            "np.zeros((n, 4, 4))",
            "returned 'images' as element 0 .* that is ndarray, not a tuple",
        ),
        (
            "arrays",
            "(np.zeros((n, 4, 4)), np.zeros((n - 1, 4, 4)))",
            "asked for 4 samples and returned 'masks' 3: 1 too few",
        ),
        ("files", "None", r"asked for 4 samples and wrote 'images' \(\*\) 0: 4 too few"),
        (
            "files",
            "[np.save(f'{output_path}/{k}.npy', np.zeros((4, 4))) for k in range(n - 1)]",
            "wrote .* 3: 1 too few(.|\n)*It wrote 0.npy, 1.npy",
        ),
        (
            "files",
            "[open(f'{output_path}/{k}.png', 'w').write('no') for k in range(n)]",
            "the file 0.png, its 'images' of sample 0, is not.*cannot be read",
        ),
        (
            "files",
            "[np.save(f'{output_path}/{k}.npy', np.zeros((5, 4))) for k in range(n)]",
            r"the file 0.npy.*it has the shape \(5, 4\)",
        ),
    ],
)
def test_what_a_package_may_not_return_in_the_other_ways(
    evaluating: Callable[..., medzoo.Samples], returns: str, what: str, says: str
) -> None:
    with pytest.raises(PackageError, match=says):
        evaluating(what, returns=returns)


@pytest.mark.parametrize(
    ("code", "call", "says"),
    [
        ("x = 1", {}, "its __init__.py has no function 'generate'"),
        ("generate = 1", {}, "has no function 'generate'"),
        (
            NOISE,
            {"function": "generate_GAN_images"},
            r"has no function 'generate_GAN_images'.\nIt has generate\.",
        ),
        (
            NOISE,
            {"weights": "elsewhere.pt"},
            r"no weights 'elsewhere.pt' in the package.\nIt has __init__.py, weights\.",
        ),
        (
            NOISE,
            {"arguments": {"gpu": 0}},
            "generate takes no argument 'gpu', which its config names(.|\n)*It takes model_file, num_samples",
        ),
        ("def generate(num_samples): pass", {}, "takes no argument 'model_file'"),
        (
            "import nothing_of_that_name",
            {},
            "did not load: ModuleNotFoundError(.|\n)*It needs numpy",
        ),
        ("1 / 0", {}, "did not load: ZeroDivisionError"),
    ],
)
def test_a_package_that_does_not_fit_its_config_is_refused_when_it_loads(
    medigan: Medigan, code: str, call: dict[str, Any], says: str
) -> None:
    with pytest.raises(PackageError, match=says):
        medzoo.load(medigan(code, call=call), env="current")


def test_a_package_without_init(medigan: Medigan, tmp_path: Path) -> None:
    number = medigan(NOISE)
    write_zip(tmp_path / "configs" / "00902_QUIRK_MRI_NOISE.zip", {"weights": b"", "other.py": b""})
    text = (tmp_path / "configs" / "00902_QUIRK_MRI_NOISE.yaml").read_text()
    old = next(line for line in text.splitlines() if "sha256:" in line).split()[-1]
    new = hashlib.sha256(
        (tmp_path / "configs" / "00902_QUIRK_MRI_NOISE.zip").read_bytes()
    ).hexdigest()
    (tmp_path / "configs" / "00902_QUIRK_MRI_NOISE.yaml").write_text(text.replace(old, new))
    from medzoo import registry

    registry.lookup._registry.cache_clear()
    with pytest.raises(PackageError, match=r"there is no __init__.py in the package"):
        medzoo.load(number, env="current")


def test_a_function_that_takes_anything_gets_all(medigan: Medigan) -> None:
    code = "def generate(**given): return [[[sorted(given).index('gpu_id')] * 4] * 4] * given['num_samples']"
    assert (run(medigan(code, call={"arguments": {"gpu_id": "0"}}), 2).images == 0).all()


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("pad", [[0, 0, 0, 0], [0, 2, 3, 0], [0, 6, 7, 0], [0, 0, 0, 0]]),
        ("resize", [[2, 2, 3, 3], [3, 3, 4, 4], [5, 5, 6, 6], [6, 6, 7, 7]]),
    ],
)
def test_pictures_of_another_size_are_made_to_fit_if_the_config_says_so(
    medigan: Medigan, fit: str, expected: Any
) -> None:
    what = "[np.array([[2, 3], [6, 7]])] + [np.full((6 + k, 5), 9) for k in range(n - 1)]"
    outputs = {"images": {**GRAY["images"], "fit": fit}}
    found = run(medigan(returning(what), outputs=outputs), 3)
    assert found.images[0, 0].tolist() == expected
    assert (found.images[1:] == 9).all()


def test_an_output_of_another_range_is_mapped_rounded_and_never_wrapped(medigan: Medigan) -> None:
    what = "[np.array([[-1.0, 1.0, 0.0, 1.4], [-1.4, 0.5, -0.5, 1.0], [0] * 4, [0] * 4], np.float32)] * n"
    outputs = {"images": {**GRAY["images"], "returned": [-1, 1]}}
    found = run(medigan(returning(what), outputs=outputs), 2)
    assert found.images[0, 0, :2].tolist() == [[0, 255, 128, 255], [0, 191, 64, 255]]
    with pytest.raises(
        PackageError,
        match=r"has values from -1.4 to 1.4; by its config the package returns 0 to 1.\nIts config should",
    ):
        run(medigan(returning(what), outputs={"images": {**GRAY["images"], "returned": [0, 1]}}), 2)


# ---- seeds, latents, frameworks


def test_every_global_generator_is_seeded_and_the_provenance_says_how(medigan: Medigan) -> None:
    code = """
    import random
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images, condition):
        import torch  # late
        return [np.stack([np.random.randint(0, 256, (4, 4)), torch.randint(0, 256, (4, 4)).numpy(),
                          np.full((4, 4), random.randrange(256))]) for _ in range(num_samples)]
    """
    outputs = {"images": {**GRAY["images"], "shape": [3, 4, 4]}}
    number = medigan(code, outputs=outputs, conditions=CONDITION, requires=["numpy", "torch"])
    with medzoo.load(number, env="current") as model:
        one = model(12, seed=5)
        again, other = model(12, seed=5), model(12, seed=6)
    assert np.array_equal(one.images, again.images)
    assert np.array_equal(
        run(number, 12, seed=5).images, one.images
    )  # of another process, where torch was new
    assert one.provenance["seeding"] == "batch"
    for channel in range(3):
        pictures = one.images[:, channel].reshape(12, -1)
        assert len(np.unique(pictures, axis=0)) > (
            8 if channel == 2 else 11
        )  # of both conditions, in all batches
        assert not np.array_equal(pictures, other.images[:, channel].reshape(12, -1))


LATENT = """
import numpy as np
{imports}
def generate(model_file, num_samples, output_path, save_images, condition=None, z=None):
    assert {check}
    image = np.clip(np.asarray(z).reshape(num_samples, 4, 4) * 40 + 128, 0, 255)
    return [(i.astype(np.uint8), "malignant") for i in image]
"""


def test_noise_beside_the_latents_is_of_the_batch_unless_a_call_makes_one_sample(
    medigan: Medigan,
) -> None:
    code = """
    import numpy as np
    def generate(model_file, num_samples, output_path, save_images, z):
        noise = np.random.randint(0, 100, (num_samples, 4, 4))
        return list((noise + 100 + np.clip(20 * z.reshape(-1, 4, 4), -50, 50)).astype(np.uint8))
    """
    call = {"latents": "z", "own_noise": True}
    number = medigan(code, call=call, latent=16)
    one, again = run(number, 5, seed=1, batch_size=3), run(number, 5, seed=1, batch_size=3)
    assert np.array_equal(one.images, again.images)
    assert one.provenance["seeding"] == "batch"
    assert not np.array_equal(run(number, 5, seed=1, batch_size=5).images, one.images)
    number = medigan(code, call=call | {"most": 1}, latent=16)
    one, again = run(number, 5, seed=1, batch_size=3), run(number, 5, seed=1, batch_size=5)
    assert np.array_equal(one.images, again.images)
    assert one.provenance["seeding"] == "sample"


@pytest.mark.parametrize(
    ("how", "imports", "check"),
    [
        (
            "numpy",
            "",
            "type(z) is np.ndarray and z.dtype == np.float32 and z.shape == (num_samples, 16, 1, 1) and z.flags.writeable",
        ),
        (
            "torch",
            "import torch",
            "isinstance(z, torch.Tensor) and z.shape == (num_samples, 16, 1, 1)",
        ),
    ],
)
def test_a_package_that_takes_latents_makes_each_sample_of_its_own(
    medigan: Medigan, how: str, imports: str, check: str
) -> None:
    call = {"returns": "tuples", "latents": "z", "latent_shape": [16, 1, 1], "latents_as": how}
    number = medigan(
        LATENT.format(imports=imports, check=check),
        call=call,
        latent=16,
        conditions=CONDITION,
        requires=["numpy", how],
    )
    with medzoo.load(number, env="current") as model:
        all_ = model(11, seed=1, batch_size=4)
        assert np.array_equal(model(7, seed=1, batch_size=3).images, all_.images[:7])
        expected = np.clip(
            medzoo.seeds.latents(1, range(11), 16).reshape(-1, 1, 4, 4) * 40 + 128, 0, 255
        ).astype(np.uint8)
        assert np.array_equal(all_.images, expected)
        assert (model(2, latents=np.zeros((2, 16))).images == 128).all()
    assert all_.provenance["seeding"] == "sample"


def test_a_package_that_draws_its_own_latents_takes_none(medigan: Medigan) -> None:
    with pytest.raises(InputError, match="takes no 'latents'"):
        run(medigan(NOISE, latent=16), 1, latents=np.zeros((1, 16)))


def test_onnx_runtime(medigan: Medigan) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    tensor, helper = onnx.TensorProto, onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["z", "weight"], ["y"]),
            helper.make_node("Sigmoid", ["y"], ["image"]),
        ],
        "generator",
        [helper.make_tensor_value_info("z", tensor.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("image", tensor.FLOAT, ["n", 16])],
        [
            helper.make_tensor(
                "weight", tensor.FLOAT, [8, 16], np.eye(8, 16, dtype=np.float32).ravel()
            )
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    code = """
    import numpy as np, onnxruntime
    def generate(model_file, num_samples, output_path, save_images, z):
        session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
        return [session.run(None, {"z": z})[0].reshape(num_samples, 4, 4)]
    """
    call = {"returns": "arrays", "latents": "z", "weights": "net.onnx"}
    outputs = {"images": {"kind": "image", "dtype": "float32", "shape": [1, 4, 4], "range": [0, 1]}}
    files = {"net.onnx": model.SerializeToString()}
    found = run(
        medigan(
            code,
            files=files,
            call=call,
            latent=8,
            outputs=outputs,
            requires=["numpy", "onnxruntime"],
        ),
        6,
    )
    expected = 1 / (1 + np.exp(-np.pad(medzoo.seeds.latents(0, range(6), 8), [(0, 0), (0, 8)])))
    np.testing.assert_allclose(found.images.reshape(6, 16), expected, atol=1e-5)


@pytest.mark.slow
def test_tensorflow_and_keras_in_an_environment_of_their_own(medigan: Medigan) -> None:
    code = """
    import numpy as np
    import tensorflow as tf
    def generate(model_file, num_samples, output_path, save_images):
        model = tf.keras.Sequential([tf.keras.Input((16,)), tf.keras.layers.Dense(16, "tanh", use_bias=False),
                                     tf.keras.layers.Reshape((4, 4, 1))])
        model.layers[0].set_weights([np.load(model_file)["kernel"]])
        noise = tf.random.normal((num_samples, 16)) + np.random.rand() + tf.keras.random.uniform((1, 16))
        model.predict(noise[:1])  # draws a bar on stdout
        return list(model(noise))
    """
    weights = io.BytesIO()
    np.savez(weights, kernel=np.eye(16, dtype=np.float32))
    outputs = {"images": {**GRAY["images"], "returned": [-1, 1]}}
    requires = ["tensorflow-cpu==2.21.0", "numpy"]
    number = medigan(
        code,
        files={"w.npz": weights.getvalue()},
        call={"weights": "w.npz"},
        outputs=outputs,
        requires=requires,
    )
    try:
        model = medzoo.load(number, env="isolated")
    except BuildError as error:
        if not re.search(
            r"tensorflow-cpu.* (was not found|no wheels|no version|are unsatisfiable)|network",
            str(error),
        ):
            raise
        pytest.skip(f"TensorFlow cannot be installed here: {error.problem.splitlines()[-1]}")
    with model:
        one, again, other = model(6, seed=1), model(6, seed=1), model(6, seed=2)
    assert one.images.shape == (6, 1, 4, 4)
    assert np.array_equal(one.images, again.images)
    assert len(np.unique(np.concatenate([one.images, other.images]).reshape(12, 16), axis=0)) == 12
    assert one.provenance["libraries"]["tensorflow-cpu"] == "2.21.0"


# ---- inputs


def colours(count: int) -> list[np.ndarray]:
    return [np.full((4, 4), 5 * k, np.uint8) for k in range(count)]


IMAGE = {"image": {"kind": "image", "help": "What to invert.", "argument": "input_path"}}


def test_as_many_samples_as_asked_though_the_package_stops_at_its_inputs(medigan: Medigan) -> None:
    images = {"image": {**IMAGE["image"], "default": "images", "required": False}}
    files = {f"images/{k}.png": png(10 * k) for k in (1, 2, 10)} | {
        "images/readme.txt": "no picture"
    }
    number = medigan(INVERTED, files=files, inputs=images)
    with pytest.warns(
        MedzooWarning,
        match="has 3 pictures in its package to work on: from sample 3 on they are used again",
    ) as found:
        samples = run(number, 8, batch_size=3)
    assert len(found) == 1
    assert (255 - samples.images[:, 0, 0, 0]).tolist() == [10, 20, 100, 10, 20, 100, 10, 20]
    assert len(run(number, 3)) == 3  # without a warning


def test_a_package_that_takes_all_files_gets_those_of_the_batch_alone(medigan: Medigan) -> None:
    number = medigan(INVERTED, inputs=IMAGE, call={"arguments": {"translate_all_images": True}})
    samples = run(number, 7, inputs=np.stack(colours(7)), batch_size=3)
    assert (255 - samples.images[:, 0, 0, 0]).tolist() == [5 * k for k in range(7)]


def test_inputs_meet_their_samples_in_order_however_many(medigan: Medigan, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for k, picture in enumerate(colours(40)):
        Image.fromarray(picture).save(tmp_path / "mine" / f"case {k}.{'PNG' if k % 2 else 'bmp'}")
    number = medigan(INVERTED, inputs=IMAGE)
    samples = run(number, 40, inputs=tmp_path / "mine", batch_size=40)
    assert (255 - samples.images[:, 0, 0, 0]).tolist() == [5 * k for k in range(40)]
    assert samples.provenance["options"]["inputs"]["image"]["count"] == 40


@pytest.mark.parametrize("form", ["files", "file"])
def test_inputs_as_a_list_of_files_or_one_at_a_time(medigan: Medigan, form: str) -> None:
    code = """
    import numpy as np
    from PIL import Image
    def generate(model_file, num_samples, output_path, save_images, paths):
        if isinstance(paths, str):
            return 255 - np.asarray(Image.open(paths))
        assert len(paths) == num_samples and sorted(paths) == paths
        return [255 - np.asarray(Image.open(p)) for p in paths]
    """
    inputs = {"image": {**IMAGE["image"], "argument": "paths", "form": form}}
    samples = run(medigan(code, inputs=inputs), 5, inputs=np.stack(colours(5)))
    assert (255 - samples.images[:, 0, 0, 0]).tolist() == [0, 5, 10, 15, 20]


def test_two_inputs_go_together(medigan: Medigan) -> None:
    code = """
    import os, numpy as np
    from PIL import Image
    def read(folder):
        return [np.asarray(Image.open(os.path.join(folder, f))) for f in sorted(os.listdir(folder))]
    def generate(model_file, num_samples, output_path, save_images, T1_img_path=None, T2_img_path=None):
        if T2_img_path is None:
            return read(T1_img_path)
        return [a + b for a, b in zip(read(T1_img_path), read(T2_img_path))]
    """
    inputs = {
        "t1": {"kind": "image", "help": "T1.", "argument": "T1_img_path"},
        "t2": {"kind": "image", "help": "T2.", "argument": "T2_img_path", "required": False},
    }
    number = medigan(code, inputs=inputs)
    one, two = np.stack(colours(3)), np.full((3, 4, 4), 100, np.uint8)
    assert run(number, 3, inputs={"t1": one, "t2": two}).images[:, 0, 0, 0].tolist() == [
        100,
        105,
        110,
    ]
    assert run(number, 3, inputs={"t1": one}).images[:, 0, 0, 0].tolist() == [
        0,
        5,
        10,
    ]  # the other is left out of the call
    with pytest.raises(InputError, match=r"inputs: 3 for t1, 2 for t2.\nThey go together"):
        run(number, 3, inputs={"t1": one, "t2": two[:2]})


def test_defaults_that_are_not_there_are_named(medigan: Medigan) -> None:
    images = {"image": {**IMAGE["image"], "default": "pictures", "required": False}}
    with pytest.raises(PackageError, match="has no images 'pictures' for its input 'image'"):
        run(medigan(INVERTED, inputs=images))


# ---- the pieces


def output(**changes: Any) -> Output:
    return Output(
        **{
            "name": "x",
            "kind": "image",
            "dtype": "uint8",
            "shape": (1, 2, 2),
            "range": (0.0, 255.0),
            **changes,
        }
    )


@settings(max_examples=200, deadline=None)
@given(
    low=st.integers(-1000, 1000),
    width=st.integers(1, 2000),
    kind=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    values=st.lists(st.floats(-0.5, 1.5, width=32), min_size=1, max_size=20),
)
def test_values_are_mapped_in_order_and_stay_in_range(
    low: int, width: int, kind: str, values: list[float]
) -> None:
    bounds = {
        "uint8": (0.0, 255.0),
        "uint16": (0.0, 4095.0),
        "int16": (-1024.0, 3071.0),
        "float32": (-1.0, 1.0),
    }[kind]
    given_ = np.sort(np.asarray(values)) * width * 0.999 + low
    mapped = to_range(
        "it", output(dtype=kind, range=bounds, returned=(float(low), float(low + width))), given_
    )
    assert mapped.dtype == kind
    assert mapped.min() >= bounds[0]
    assert mapped.max() <= bounds[1]
    assert (np.diff(mapped.astype(np.float64)) >= 0).all()
    inside = (np.clip((given_ - low) / width, 0, 1)) * (bounds[1] - bounds[0]) + bounds[0]
    assert np.abs(mapped - inside).max() <= (1e-5 * width if kind == "float32" else 0.5001)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", "float32"])
def test_values_that_are_as_declared_pass_untouched(dtype: str) -> None:
    values = np.array([[0, 1], [1, 0]], dtype)
    bounds = (0.0, 1.0) if dtype == "float32" else None
    assert to_range("it", output(dtype=dtype, range=bounds), values) is values


def test_booleans_are_zero_and_one() -> None:
    mask = output(kind="mask", range=(0.0, 1.0))
    assert to_range("it", mask, np.array([True, False])).tolist() == [1, 0]


def place(
    shape: tuple[int, ...], channels: tuple[int, ...] = (), fit: str = "exact", mask: bool = False
) -> dict[str, Any]:
    return {"shape": shape, "channels": channels, "fit": fit, "fill": 0, "mask": mask}


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), size=st.tuples(st.integers(1, 6), st.integers(1, 6)), count=st.integers(1, 5)
)
def test_a_picture_is_arranged_whichever_way_its_axes_lie(
    data: st.DataObject, size: tuple[int, int], count: int
) -> None:
    wanted = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=3))
    picture = np.arange(count * size[0] * size[1]).reshape(count, *size)  # (C, H, W)
    about = place((len(wanted), *size), tuple(wanted))
    assert np.array_equal(arrange(picture, about), picture[wanted])
    last = np.moveaxis(picture, 0, -1)
    if (
        last.shape[1:] != size
    ):  # otherwise its lengths do not say which way it lies, and channels first is what is meant
        assert np.array_equal(arrange(last, about), picture[wanted])
    assert np.array_equal(arrange(picture[None, None], place(picture.shape)), picture)


@settings(max_examples=100, deadline=None)
@given(
    came=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    wanted=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    fit=st.sampled_from(["pad", "resize"]),
    mask=st.booleans(),
)
def test_fitting_gives_the_size_and_invents_no_values(
    came: tuple[int, int], wanted: tuple[int, int], fit: str, mask: bool
) -> None:
    picture = np.random.default_rng(0).integers(10, 200, came).astype(np.uint8)
    fitted = arrange(picture, place((1, *wanted), fit=fit, mask=mask))
    assert fitted.shape == (1, *wanted)
    assert fitted.dtype == np.uint8
    if came == wanted:
        assert np.array_equal(fitted[0], picture)
    if mask or fit == "pad":
        assert set(np.unique(fitted)) <= {0, *picture.ravel()}
    else:
        assert picture.min() <= fitted.min() <= fitted.max() <= picture.max()


def test_padding_keeps_the_middle() -> None:
    row = np.arange(5)[None, None]
    assert arrange(row, place((1, 1, 3), fit="pad")).tolist() == [[[1, 2, 3]]]
    assert arrange(row + 1, place((1, 1, 8), fit="pad")).tolist() == [[[0, 1, 2, 3, 4, 5, 0, 0]]]


def test_natural_order_reads_numbers() -> None:
    names = ["b10.png", "b9.png", "a.png", "10", "9", "b9b.png", "٣.png"]
    assert sorted(names, key=natural) == [
        "9",
        "10",
        "a.png",
        "b9.png",
        "b9b.png",
        "b10.png",
        "٣.png",
    ]


def test_folders_are_listed_by_name_while_a_package_runs(tmp_path: Path) -> None:
    import glob

    names = [f"{hash(k) * 7919 % 100:02d}{k}.png" for k in range(50)]
    for name in names:
        (tmp_path / name).touch()
    listdir, scandir = os.listdir, os.scandir
    with files_in_order():
        assert os.listdir(tmp_path) == sorted(names)  # noqa: PTH208
        assert [Path(p).name for p in glob.glob(str(tmp_path / "*.png"))] == sorted(names)  # noqa: PTH207
        assert [p.name for p in tmp_path.iterdir()] == sorted(names)
        assert [p.name for p in tmp_path.glob("*.png")] == sorted(names)
        assert next(os.walk(tmp_path))[2] == sorted(names)
    assert (os.listdir, os.scandir) == (listdir, scandir)


WRITES_SLOWLY = """
import os, time
import numpy as np

def generate(model_file, num_samples, output_path, save_images, condition):
    os.makedirs(output_path, exist_ok=True)
    for number in range(num_samples):
        np.save(os.path.join(output_path, f"{number}.npy"), np.full((4, 4), 100 + condition, np.uint8))
        time.sleep(0.02)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_processes_get_their_own_files(medigan: Medigan) -> None:
    """A model that was loaded before the fork has a process, and a folder, in each of them."""
    number = medigan(WRITES_SLOWLY, call={"returns": "files"}, conditions=CONDITION)

    def are_own(model: Any, condition: str, value: int) -> bool:
        made = [model(3, seed=k, condition=condition).images for k in range(5)]
        return all((images == value).all() for images in made)

    with medzoo.load(number, trust=True, env="current") as model:
        assert are_own(model, "benign", 100)
        child = os.fork()
        if not child:
            code = 1
            try:
                code = 0 if are_own(model, "malignant", 101) else 2
                model.close()
            finally:
                os._exit(code)
        ended, status = 0, 1
        while not ended:
            assert are_own(model, "benign", 100)
            ended, status = os.waitpid(child, os.WNOHANG)
        assert status == 0


READ_MASK = """
    import numpy as np
    from PIL import Image
    def generate(model_file, num_samples, output_path, save_images, input_path):
        import os
        names = sorted(os.listdir(input_path))
        return [np.asarray(Image.open(os.path.join(input_path, name))) for name in names]
"""
LABELS = {"mask": {"kind": "mask", "help": "Where the mass is.", "argument": "input_path"}}


def masks(tmp_path: Path) -> dict[str, Any]:
    """The same mask (4, 4) of two pixels: without numbers, as an array and as a picture."""
    where = np.zeros((4, 4), bool)
    where[1, 1:3] = True
    Image.fromarray(where).save(tmp_path / "one_bit.png")
    np.save(tmp_path / "bool.npy", where)
    return {
        "an array": where,
        "a picture of 1 bit": tmp_path / "one_bit.png",
        "a file": [tmp_path / "bool.npy"],
    }


@pytest.mark.parametrize("way", ["an array", "a picture of 1 bit", "a file"])
def test_true_and_false_have_the_numbers_of_the_config_or_are_refused(
    medigan: Medigan, tmp_path: Path, way: str
) -> None:
    given_ = masks(tmp_path)[way]
    with pytest.raises(InputError, match=r"(?s)true or false.*0 and 1, or 0 and 255"):
        run(medigan(READ_MASK, inputs=LABELS), 1, inputs=given_)
    for high in (1, 255):
        inputs = {"mask": {**LABELS["mask"], "range": [0, high]}}
        image = run(medigan(READ_MASK, inputs=inputs), 1, inputs=given_).images[0, 0]
        assert (image == high * masks(tmp_path)["an array"]).all()


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("high", [1, 2, 255])
def test_the_numbers_of_a_mask_stay_whatever_their_type(
    medigan: Medigan, kind: str, high: int
) -> None:
    mask = np.zeros((4, 4), kind)
    mask[1, 1:3] = high
    samples = run(medigan(READ_MASK, inputs=LABELS), 1, inputs=mask)
    assert (samples.images[0, 0] == mask).all()
    assert "scaled" not in samples.provenance["options"]["inputs"]["mask"]


def test_labels_above_what_a_package_reads_are_refused_as_floats_too(medigan: Medigan) -> None:
    with pytest.raises(InputError, match=r"labels up to 300.*end at 255"):
        run(medigan(READ_MASK, inputs=LABELS), 1, inputs=np.full((4, 4), 300.0))


def test_an_image_of_true_and_false_is_black_and_white(medigan: Medigan, tmp_path: Path) -> None:
    for given_ in masks(tmp_path).values():
        image = run(medigan(READ_MASK, inputs=IMAGE), 1, inputs=given_).images[0, 0]
        assert (image == 255 * masks(tmp_path)["an array"]).all()
