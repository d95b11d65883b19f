"""The registry: every way to name a model, and what is said when none goes by that name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import toy_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medzoo
from medzoo.errors import ConfigError, InputError, MedzooWarning, ModelNotFoundError
from medzoo.registry import Registry, is_local, resolve

MASSES = "00008_C-DCGAN_MMG_MASSES"


def registry_of(folder: Path, *ids: str) -> Registry:
    folder.mkdir(exist_ok=True)
    for identifier in ids:
        (folder / f"{identifier}.yaml").write_text(
            yaml.safe_dump(toy_config() | {"id": identifier}), encoding="utf-8"
        )
    return Registry([folder])


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder ``mine`` in the working directory."""
    folder = tmp_path / "work" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump(toy_config(source="file:.")), encoding="utf-8"
    )
    monkeypatch.chdir(folder.parent)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        8,
        "8",
        "08",
        "00008",
        " 8 ",
        MASSES,
        MASSES.lower(),
        "00008_C",
        "00008_c-dcgan_mmg",
        np.int64(8),
        np.uint8(8),
    ],
)
def test_a_model_answers_to_its_number_its_id_and_a_beginning_of_it(name: int | str) -> None:
    assert resolve(name).id == MASSES


def test_digits_alone_are_a_number_and_never_a_beginning(tmp_path: Path) -> None:
    known = registry_of(tmp_path, "00901_GAN_MRI_A", "00902_GAN_MRI_B")
    with pytest.raises(ModelNotFoundError, match=r"no model '0090'"):
        known.find("0090")
    assert known.find("00902_").id == "00902_GAN_MRI_B"


@pytest.mark.parametrize(
    "asked",
    [
        "00008_C-DCGAN_MMG_MASS3S",
        "C-DCGAN_MMG_MASSES",
        "c-dcgan_mmg_mases",
        "0008_C-DCGAN_MMG_MASSES",
    ],
)
def test_a_close_match_is_suggested(asked: str) -> None:
    with pytest.raises(
        ModelNotFoundError,
        match=f"There is no model '{asked}'.\nDid you mean .*{MASSES}.*medzoo list",
    ):
        resolve(asked)


@pytest.mark.parametrize("asked", [-8, 0, 10**30, "9" * 5000, "", "   ", "zzzz", "000080"])
def test_a_number_or_text_of_no_model(asked: int | str) -> None:
    with pytest.raises(ModelNotFoundError, match="There is no model"):
        resolve(asked)


@pytest.mark.parametrize("asked", [True, 8.0, None, [8], b"8"])
def test_what_is_no_id_at_all(asked: object) -> None:
    with pytest.raises(InputError, match=r"model_id=.* is no"):
        resolve(asked)  # type: ignore[arg-type]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    asked=st.one_of(
        st.text(max_size=12),
        st.text("~./\\ 0_A", max_size=8),
        st.integers(),
        st.just("x" * 300),
        st.just("x/" * 3000),
    )
)
def test_nothing_that_is_asked_for_raises_another_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | int
) -> None:
    monkeypatch.chdir(tmp_path)
    with suppress(medzoo.MedzooError):
        assert resolve(asked).id


@pytest.mark.parametrize(
    "how", ["mine", "mine/", "./mine", "../work/mine", "{absolute}", "{absolute}/"]
)
def test_a_package_folder_answers_to_its_path(local: Path, how: str) -> None:
    config = resolve(how.format(absolute=local))
    assert config.path.samefile(local / "config.yaml")
    assert is_local(config)
    assert resolve(local).id == config.id


def test_inside_a_package_folder_a_dot_names_it(
    local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(local)
    assert is_local(resolve("."))
    with pytest.raises(ModelNotFoundError):
        resolve("")


def test_a_registered_id_wins_over_a_folder_of_that_name_unless_it_is_a_path(local: Path) -> None:
    shutil.copytree(local, local.parent / "8")
    assert not is_local(resolve("8"))
    assert is_local(resolve("8/"))
    assert is_local(resolve(Path("8")))


@pytest.mark.parametrize(
    "path", ["nothing/", "./nothing", "{tmp}", "{tmp}/file", "~/no-such-folder-of-medzoo"]
)
def test_a_path_without_a_package_says_what_is_missing(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ModelNotFoundError,
        match=r"holds no config\.yaml, so it is not a model package.\n.*medzoo copy",
    ):
        resolve(path.format(tmp=tmp_path))


def test_two_models_of_one_number_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="share the number 901"):
        registry_of(tmp_path, "00901_GAN_MRI_A", "00901_GAN_MRI_B")


def test_two_models_of_one_number_in_two_folders_of_the_user_are_an_error(tmp_path: Path) -> None:
    registry_of(tmp_path / "shipped", "00902_GAN_MRI_B")
    registry_of(tmp_path / "one", "00901_GAN_MRI_A")
    registry_of(tmp_path / "two", "00901_GAN_MRI_A")
    with pytest.raises(ConfigError, match=r"one.00901_GAN_MRI_A.yaml share the number 901"):
        Registry([tmp_path / "shipped", tmp_path / "one", tmp_path / "two"])


def test_a_file_that_is_not_named_by_its_id_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "00902_X_Y_Z.yaml").write_text(yaml.safe_dump(toy_config()), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds the model 00901_TOY_MRI_NOISE.\nName the file"):
        Registry([tmp_path]).find(902)


def test_a_file_that_no_id_names_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").touch()
    with pytest.raises(
        ConfigError,
        match=r"notes.yaml is not named by a model id.\nAn id is NNNNN_TYPE_MODALITY_CONTENT",
    ):
        Registry([tmp_path])


def test_a_config_that_breaks_the_schema_stops_nobody_else(tmp_path: Path) -> None:
    known = registry_of(tmp_path, "00901_GAN_MRI_A", "00902_GAN_MRI_B")
    (tmp_path / "00902_GAN_MRI_B.yaml").write_text("- no mapping", encoding="utf-8")
    assert known.find(901).number == 901
    with pytest.raises(ConfigError, match="a mapping was expected"):
        known.find(902)


def test_a_missing_config_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_MODEL_CONFIGS", "/no/such/folder")
    with pytest.raises(
        ConfigError,
        match=r"no folder of model configs at /no/such/folder.\nIs MEDZOO_MODEL_CONFIGS right",
    ):
        resolve(8)


def test_configs_of_the_user_join_the_shipped_ones(toy: Callable[..., int]) -> None:
    toy()
    ids = [c.id for c in medzoo.list_models()]
    assert ids == sorted(ids)
    assert {MASSES, "00901_TOY_MRI_NOISE"} <= set(ids)
    assert resolve(901).path.parent.name == "configs"


def test_a_config_that_is_added_later_is_found(toy: Callable[..., int]) -> None:
    folder = resolve(toy()).path.parent
    (folder / "00902_TOY_MRI_NOISE.yaml").write_text(
        yaml.safe_dump(toy_config() | {"id": "00902_TOY_MRI_NOISE"}), encoding="utf-8"
    )
    assert resolve(902).number == 902


def test_info_is_the_config_and_cite_credits_the_version(toy: Callable[..., int]) -> None:
    toy(
        publication="https://doi.org/10.1/2",
        datasets=[
            {"name": "Knees", "license": "CC0", "citation": "Knee et al. (2020).", "doi": "10.3/4"}
        ],
    )
    assert medzoo.info("901").default.architecture == "Random bytes"
    assert medzoo.cite(901).splitlines() == [
        "00901_TOY_MRI_NOISE, version 1.0.0 (MIT)",
        "A. Tester (2026). Toy.",
        "https://doi.org/10.1/2",
        "Trained on Knees (CC0): Knee et al. (2020). 10.3/4",
    ]


def test_versions_of_one_model_credit_their_own_authors() -> None:
    assert "medigan" in medzoo.cite(8, version="1.0.1")
    assert "medigan" not in medzoo.cite(8)
    with pytest.raises(ModelNotFoundError, match="has no version '3'"):
        medzoo.cite(8, version="3")


def test_a_config_of_the_user_replaces_the_shipped_one_with_a_notice(tmp_path: Path) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    for folder, text in ((shipped, "as it came"), (own, "of the user")):
        folder.mkdir()
        content = toy_config() | {"description": text}
        (folder / "00901_TOY_MRI_NOISE.yaml").write_text(yaml.safe_dump(content))
    with pytest.warns(MedzooWarning, match=r"own.00901_TOY_MRI_NOISE\.yaml replaces") as caught:
        models = Registry([shipped, own])
    assert len(caught) == 1
    assert models.find(901).description == "of the user"
    assert list(models.files) == ["00901_TOY_MRI_NOISE"]
    (own / "00901_TOY_MRI_NOISE.yaml").rename(own / "00901_GAN_MRI_OTHER.yaml")
    with pytest.raises(ConfigError, match="share the number 901"):
        Registry([shipped, own])


def test_a_config_with_another_ending_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "00901_TOY_MRI_NOISE.yml").write_text(yaml.safe_dump(toy_config()))
    with pytest.raises(
        ConfigError,
        match=r"00901_TOY_MRI_NOISE\.yml is not read.\nName it 00901_TOY_MRI_NOISE.yaml",
    ):
        Registry([tmp_path])


def test_a_reference_manager_gets_all_that_the_text_credits(toy: Callable[..., int]) -> None:
    toy(
        authors=["A. Tester", "Department of Knees and Hips"],
        citation="Tester (2026). Noise.",
        publication="Proceedings of Noise, page 7",
        doi="10.5281/zenodo.42",
    )
    for format_ in ("text", "bibtex", "ris"):
        credit = medzoo.cite(901, format=format_)
        assert "Proceedings of Noise, page 7" in credit
        assert "10.5281/zenodo.42" in credit
    author = "author = {A. Tester and {Department of Knees and Hips}}"
    assert author in medzoo.cite(901, format="bibtex")
