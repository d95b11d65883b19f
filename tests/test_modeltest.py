"""`medzoo test`: a sound model passes, each defect is found and named, recorded outputs are kept and compared."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import NUMPY_MODEL

import medzoo
from medzoo.cli import main
from medzoo.config.columns import distance
from medzoo.errors import DatasetError, InputError, MedzooWarning, TrustError
from medzoo.files import sha256_of
from medzoo.modeltest import Finding, Report, examine, recorded

Toy = Callable[..., int]
Capture = pytest.CaptureFixture[str]
BUNDLED = [c.id for c in medzoo.list_models() if c.default.scheme == "bundled"]
HUNGRY = NUMPY_MODEL.replace(
    "        return {",
    "        self.kept = np.ones((batch.n, 4 * 2**20), np.uint8)\n        return {",
)  # 4 MiB each


def found(report: Report, name: str) -> Finding:
    (finding,) = [f for f in report.findings if f.name == name]
    return finding


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Where the toy's outputs are recorded."""
    return tmp_path / "configs" / "package" / "expected.npz"


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the process that measures memory, for tests of other things."""
    monkeypatch.setattr(
        "medzoo.modeltest.examination.about_memory",
        lambda *a: Finding("memory", "ok", "not looked at"),
    )


# ------------------------------------------------------------------------------------------------------ what is found
def test_a_sound_model_passes_every_check(toy: Toy, known: Path) -> None:
    number = toy(memory_per_sample=1)
    assert examine(number, write=True).ready
    report = examine(number)
    assert {f.state for f in report.findings} == {"ok"}, str(report)
    names = [f.name for f in report.findings]
    assert names == [
        "code",
        "samples",
        "seed",
        "variety",
        "batch size",
        "condition =",
        "gain =",
        "latents",
        "recorded",
        "speed",
        "memory",
    ]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("import numpy as np", "import numpy as np; 1 / 0", "code"),
        ('{"images": images}', '{"images": images[:, :, 1:]}', "samples"),
        ("batch.rng(i).bytes(64)", "np.frombuffer(np.random.bytes(64), np.uint8)", "seed"),
        ("batch.rng(i).bytes(64)", "np.full(64, i, np.uint8)", "batch size"),
        ('batch.conditions["condition"][i]', "0", "condition ="),
    ],
)
def test_a_defect_is_found_and_nothing_is_recorded(
    toy: Toy, known: Path, old: str, new: str, name: str
) -> None:
    number = toy(NUMPY_MODEL.replace(old, new))
    report = examine(number)
    assert [f.name for f in report.open] == [name], str(report)
    report = examine(number, write=True)
    assert [f.name for f in report.open] == [name, "recorded"]
    assert "nothing was recorded" in found(report, "recorded").text
    assert not known.exists()


@pytest.mark.usefixtures("unmeasured")
def test_values_outside_a_range_that_the_config_leaves_out_are_found(toy: Toy) -> None:
    code = NUMPY_MODEL.replace('{"images": images}', '{"images": images.astype(np.float32)}')
    images = {"kind": "image", "dtype": "float32", "shape": [1, 8, 8]}
    labels = {"kind": "label", "condition": "condition"}
    report = examine(toy(code, outputs={"images": images, "labels": labels}))
    assert [f.name for f in report.open] == ["samples"]
    assert "'images' holds values from" in found(report, "samples").text
    assert "its config says [0, 1]" in found(report, "samples").text


@pytest.mark.parametrize(("stated", "state"), [(None, "warning"), (1, "wrong"), (5, "ok")])
def test_memory_is_measured_and_held_against_the_config(
    toy: Toy, stated: float | None, state: str
) -> None:
    number = toy(HUNGRY, memory_per_sample=stated, batch_size=24)
    finding = found(examine(number), "memory")
    assert finding.state == state
    measured = float(finding.text.split()[0])
    assert measured == pytest.approx(4, rel=0.25)
    assert ("State `memory_per_sample: 5`" in finding.hint) == (state != "ok")


def test_memory_is_measured_with_pictures_in_arrays_and_in_any_folder(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('the json.py of the user')\n")
    monkeypatch.chdir(tmp_path)
    scans = {"kind": "image", "help": "Scans.", "shape": [1, 8, 8], "required": False}
    number = toy(memory_per_sample=1, inputs={"one": scans, "two": scans})
    pictures = np.zeros((64, 1, 8, 8), np.uint8)
    report = examine(number, inputs={"one": pictures, "two": list(pictures)})
    assert found(report, "memory").state == "ok", str(report)


@pytest.mark.usefixtures("unmeasured")
def test_pictures_that_use_next_to_nothing_of_their_range_are_a_warning(toy: Toy) -> None:
    as_floats = NUMPY_MODEL.replace(
        '{"images": images}', '{"images": (images / 255).astype(np.float32)}'
    )
    assert as_floats != NUMPY_MODEL

    def outputs(high: float) -> dict[str, object]:
        images = {"kind": "image", "dtype": "float32", "shape": [1, 8, 8], "range": [0, high]}
        return {"images": images, "labels": {"kind": "label", "condition": "condition"}}

    report = examine(toy(as_floats, outputs=outputs(255)))
    finding = found(report, "range")
    assert finding.state == "warning"
    assert "[0, 255]" in finding.text
    report = examine(toy(as_floats, outputs=outputs(1)))
    assert not [f for f in report.findings if f.name == "range"]


def test_a_model_that_turns_pictures_into_others_need_not_draw(toy: Toy) -> None:
    code = """
    class Model:
        def sample(self, batch):
            return {"images": 255 - batch.inputs["slices"]}

    def load(weights_dir, device):
        return Model()
    """
    inputs = {"slices": {"kind": "image", "help": "Slices.", "shape": [1, 8, 8]}}
    number = toy(
        code,
        inputs=inputs,
        latent=0,
        conditions=None,
        options=None,
        outputs={"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}},
    )
    with pytest.warns(MedzooWarning, match="they are used again"):
        report = examine(number, inputs=np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8))
    found = {f.name: f for f in report.findings}
    assert not found["seed"].bars, report
    assert not found["variety"].bars, report
    assert "depend only on the input pictures" in found["seed"].text


@pytest.mark.usefixtures("unmeasured")
def test_a_model_that_may_do_without_pictures_must_draw_when_it_does(toy: Toy) -> None:
    masks = {"kind": "mask", "help": "Masks.", "shape": [1, 8, 8], "required": False}
    assert examine(toy(inputs={"masks": masks})).ready
    constant = NUMPY_MODEL.replace('{"images": images}', '{"images": 0 * images + np.uint8(7)}')
    assert found(examine(toy(constant, inputs={"masks": masks})), "seed").state == "wrong"


def test_a_batch_that_fails_alone_in_its_process_is_found(toy: Toy) -> None:
    number = toy(
        NUMPY_MODEL.replace(
            "images = np.zeros", "assert batch.n < 20, 'too many'\n        images = np.zeros"
        ),
        batch_size=20,
    )
    finding = found(examine(number), "memory")
    assert finding.state == "wrong"
    assert "20 samples at once" in finding.text


# ---------------------------------------------------------------------------------------------------------- recorded
@pytest.mark.usefixtures("unmeasured")
def test_what_is_recorded_can_be_made_again_from_the_file_alone(toy: Toy, known: Path) -> None:
    number = toy()
    examine(number, write=True)
    first = known.read_bytes()
    with np.load(known) as archive:
        kept = dict(archive)
    assert set(kept) == {"seeds", "indices", "images", "labels"}
    assert kept["seeds"].max() == 2**64 - 1
    for seed, index, image, label in zip(
        *(kept[k] for k in ("seeds", "indices", "images", "labels")), strict=True
    ):
        samples = medzoo.generate(number, int(index) + 1, seed=int(seed))
        assert np.array_equal(samples.images[-1], image)
        assert samples.labels[-1] == label
    examine(number, write=True)
    assert known.read_bytes() == first


@pytest.mark.usefixtures("unmeasured")
def test_a_change_of_the_outputs_is_found_beyond_the_tolerance(toy: Toy) -> None:
    image, label = (
        {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]},
        {"kind": "label", "condition": "condition"},
    )
    outputs = {"images": image | {"tolerance": 2}, "labels": label}
    code = NUMPY_MODEL.replace(
        'batch.conditions["condition"][i]', '100 * batch.conditions["condition"][i]'
    )
    examine(toy(code, outputs=outputs), write=True)
    assert examine(901).ready
    for step, ready in ((2, True), (3, False)):
        report = examine(
            toy(
                code.replace("return {", f"images[:, 0, 0, 0] += {step}; return {{"),
                outputs=outputs,
            )
        )
        assert report.ready == ready, str(report)
    assert (
        found(report, "recorded").text
        == "images differ by up to 3 from what was recorded, and the tolerance is 2"
    )
    assert "--record" in found(report, "recorded").hint


BOXED = """
import numpy as np

class Model:
    def sample(self, batch):
        images = np.zeros((batch.n, 1, 8, 8), np.uint8)
        boxes = np.full((batch.n, 2, 4), np.nan, np.float32)
        for i in range(batch.n):
            rng = batch.rng(i)
            images[i] = rng.bytes(64).reshape(1, 8, 8)
            boxes[i, 0] = 0.3 + 0.2 * rng.uniforms(4)
        return {"images": images, "boxes": boxes}

def load(weights_dir, device):
    return Model()
"""


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("boxes[:, 0, 0] += 0.01", "boxes differ by up to 0.0"),
        ("boxes[:, 1] = 0.5", "boxes differ by up to inf "),
    ],
)
def test_absent_boxes_are_equal_and_hide_no_other_difference(
    toy: Toy, change: str, words: str
) -> None:
    outputs = {
        "images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]},
        "boxes": {"kind": "boxes", "dtype": "float32", "shape": [2, 4]},
    }
    alone = {"conditions": None, "options": None, "latent": 0}
    report = examine(toy(BOXED, outputs=outputs, **alone), write=True)
    assert report.ready, str(report)
    changed = BOXED.replace("        return {", f"        {change}\n        return {{")
    report = examine(toy(changed, outputs=outputs, **alone))
    assert [f.name for f in report.findings if f.bars] == ["recorded"], str(report)
    assert words in found(report, "recorded").text


@pytest.mark.usefixtures("unmeasured")
def test_boxes_of_another_run_are_compared_where_they_are_there(toy: Toy) -> None:
    outputs = {"boxes": {"kind": "boxes", "dtype": "float32", "shape": [2, 4]}}
    images = {"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}}
    drifting = BOXED.replace("boxes[i, 0] =", "boxes[i, 0] = batch.n / 100 +")
    report = examine(
        toy(drifting, outputs=images | outputs, conditions=None, options=None, latent=0)
    )
    assert "in batches of 1, boxes differ by up to 0.0" in found(report, "batch size").text


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2.5], [1, 2], 0.5),
        ([np.nan, 3], [np.nan, 3], 0),
        ([np.nan, 3], [np.nan, 1], 2),
        ([np.nan, 3], [0, 3], np.inf),
        ([0, 3], [0, np.nan], np.inf),
        ([np.inf, -np.inf], [np.inf, -np.inf], 0),
        ([np.inf], [-np.inf], np.inf),
        ([], [], 0),
    ],
)
def test_the_distance_of_two_arrays(a: list[float], b: list[float], expected: float) -> None:
    assert distance(np.array(a), np.array(b)) == expected


@pytest.mark.usefixtures("unmeasured")
def test_other_shapes_types_and_columns_are_found(toy: Toy, known: Path) -> None:
    examine(toy(), write=True)
    for change in (
        {"images": np.zeros((5, 1, 8, 9), np.uint8)},
        {"images": np.zeros((5, 1, 8, 8), np.int64)},
        {"images": None},
    ):
        with np.load(known) as archive:
            kept = dict(archive) | change
        np.savez(
            known.parent.parent / "other.npz", **{k: v for k, v in kept.items() if v is not None}
        )
        with medzoo.load(901) as model:
            finding = recorded.compare(model, known.parent.parent / "other.npz")
        assert finding.state == "wrong"
        assert "images was recorded as" in finding.text


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("damage", [b"", b"PK", b"\0" * 300, None])
def test_a_damaged_record_is_found(toy: Toy, known: Path, damage: bytes | None) -> None:
    examine(toy(), write=True)
    if damage is None:
        np.savez(known, seeds=np.array([{}], dtype=object))
    else:
        known.write_bytes(damage)
    finding = found(examine(901), "recorded")
    assert finding.state == "wrong"
    assert "cannot be read" in finding.text


@pytest.mark.usefixtures("unmeasured")
def test_a_missing_record_is_a_warning_but_a_defect_of_a_bundled_model(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = examine(toy())
    assert (found(report, "recorded").state, report.ready) == ("warning", True)
    monkeypatch.setattr("medzoo.modeltest.examination.FILE", "nowhere.npz")
    report = examine(109)
    assert (found(report, "recorded").state, report.ready) == ("missing", False)
    assert "medzoo test 109 --record" in found(report, "recorded").hint


@pytest.mark.usefixtures("unmeasured")
def test_a_package_that_came_as_an_archive_is_not_written_to(toy: Toy, known: Path) -> None:
    toy()
    archive = known.parent.parent / "package.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(known.parent / "model.py", "package/model.py")
    number = toy(source="file:package.zip", sha256=sha256_of(archive), files=None)
    assert examine(number).ready
    with pytest.raises(InputError, match="archive"):
        examine(number, write=True)


@pytest.mark.usefixtures("unmeasured")
def test_a_record_that_cannot_be_written_says_so(toy: Toy, known: Path) -> None:
    toy()
    known.mkdir()
    with pytest.raises(DatasetError, match=r"expected\.npz could not be written"):
        examine(901, write=True)


# ------------------------------------------------------------------------------------------------------- the command
@pytest.mark.usefixtures("unmeasured")
def test_the_command_prints_findings_and_ends_with_7_when_one_fails(
    toy: Toy, capsys: Capture
) -> None:
    assert main(["test", str(toy())]) == 0
    assert capsys.readouterr().out.startswith(
        "00901_TOY_MRI_NOISE, version 1.0.0\n\nok       code          loads\n"
    )
    toy(NUMPY_MODEL.replace('batch.conditions["condition"][i]', "0"))
    assert main(["test", "901"]) == 7
    assert (
        "wrong    condition =   benign and malignant give the same samples"
        in capsys.readouterr().out
    )


@pytest.mark.usefixtures("unmeasured")
def test_the_command_for_scripts(toy: Toy, capsys: Capture) -> None:
    assert main(["test", str(toy()), "901", "--json"]) == 0
    one, two = json.loads(capsys.readouterr().out)
    assert one["model"] == two["model"] == "00901_TOY_MRI_NOISE, version 1.0.0"
    assert one["ready"] is True
    assert {"name": "code", "state": "ok", "text": "loads", "hint": ""} in one["findings"]


def test_the_command_needs_to_know_which(capsys: Capture) -> None:
    assert main(["test"]) == 2
    assert "--bundled" in capsys.readouterr().err


def test_a_package_of_ones_own_runs_only_when_trusted(tmp_path: Path, capsys: Capture) -> None:
    medzoo.copy(109, tmp_path / "mine")
    with pytest.raises(TrustError):
        examine(tmp_path / "mine")
    assert main(["test", str(tmp_path / "mine")]) == 12
    capsys.readouterr()
    assert main(["test", str(tmp_path / "mine"), "--trust", "--record"]) == 0
    assert "recorded" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------- the bundled models
@pytest.mark.slow
@pytest.mark.parametrize("model_id", BUNDLED)
def test_every_bundled_model_makes_what_it_should(model_id: str) -> None:
    report = examine(model_id)
    assert report.ready, str(report)
    path = Path(medzoo.settings.shipped("starter_models")) / model_id / recorded.FILE
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((1, 256, 256), (1, 256, 256)),
        ((1, 64, 64, 64), (1, 32, 32, 32)),
        ((2, 65, 128, 64), (2, 17, 32, 16)),
        ((100_000,), (100_000,)),
        ((70_000, 3, 1), (70_000, 1, 1)),
    ],
)
def test_large_samples_are_recorded_at_every_second_place(
    shape: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    values = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    thin = recorded.thinned(values)
    assert thin.shape == (2, *kept)
    assert thin.ravel()[0] == 0
    assert np.isin(thin, values).all()
