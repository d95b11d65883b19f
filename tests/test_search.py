"""Searching: which models are found, in which order, and what is said where none is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo import console
from medzoo.config import Condition, DataSet, Metric, ModelConfig, Output, Version
from medzoo.errors import InputError, MedzooWarning
from medzoo.registry import description
from medzoo.registry.index import Index
from medzoo.registry.lookup import Registry
from medzoo.registry.results import Found
from medzoo.registry.search import SORTS, search


def model(
    number: int,
    name: str = "Plain",
    *,
    description: str = "Made for tests.",
    modality: str = "MRI",
    organ: str = "knee",
    content: str = "slices",
    tags: tuple[str, ...] = (),
    license: str = "MIT",  # noqa: A002
    generator: str = "gan",
    source: str = "bundled:x",
    dataset: str = "",
    year: int = 2024,
    metrics: tuple[Metric, ...] = (),
    conditions: dict[str, Condition] | None = None,
) -> ModelConfig:
    version = Version(
        name="1",
        source=source,
        contract="native",
        architecture="Net",
        generator=generator,
        year=year,
        authors=("A",),
        license=license,
        citation="",
        publication="",
        datasets=(DataSet(dataset, "CC0"),) if dataset else (),
        requires=(),
        python="",
        outputs={"images": Output("images", "image", "uint8", (1, 8, 8))},
        metrics=metrics,
        conditions=conditions or {},
    )
    id_ = f"{number:05d}_TOY_{number}X"
    return ModelConfig(
        id_, name, description, modality, organ, content, tags, "1", {"1": version}, Path()
    )


class Zoo(Registry):
    """A registry of configs that no file holds."""

    count = 0

    def __init__(self, models: tuple[ModelConfig, ...]) -> None:
        Zoo.count += 1  # so that no two have the same files
        self.folders = (Path(f"/no/such/folder/{Zoo.count}"),)
        self.files = {m.id: f"{self.folders[0]}/{m.id}.yaml" for m in models}
        self.configs = {m.id: m for m in models}

    def find(self, model_id: int | str) -> ModelConfig:
        return next(m for m in self.configs.values() if m.number == model_id)


@contextmanager
def zoo(*models: ModelConfig) -> Iterator[None]:
    there = Zoo(models)
    with (
        mock.patch("medzoo.registry.search.registry", return_value=there),
        mock.patch("medzoo.registry.entries.config_of", lambda name, _: there.configs[name]),
    ):
        yield


def numbers(found: Found) -> list[int]:
    return [m.number for m in found]


MASSES = model(
    1,
    "Mammography masses",
    modality="mammography",
    organ="breast",
    content="masses",
    tags=("MMG", "x-ray"),
    license="CC BY 4.0",
    dataset="CBIS-DDSM",
    year=2026,
    generator="flow and GAN",
    conditions={"grade": Condition("grade", {"benign": 0, "malignant": 1}, "Grade.")},
)
BRAIN = model(
    2,
    "Brain tumours",
    organ="brain",
    content="slices",
    description="With a mass in some.",
    year=2022,
    source="https://x/y.zip",
)
CHEST = model(
    3,
    "Chest",
    modality="X-ray",
    organ="lung",
    content="radiographs",
    generator="diffusion",
    year=2023,
    license="CC0",
)


@pytest.fixture
def three() -> Iterator[None]:
    with zoo(CHEST, BRAIN, MASSES):
        yield


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [1, 2, 3]),
        ("mass", [1, 2]),  # in the name before in the description
        ("MASSES", [1, 2]),
        ("mass mammography", [1]),
        ("mammogram", [1]),
        ("mmg", [1]),
        ("mr", [2]),
        ("MR imaging", [2]),
        ("magnetic resonance imaging", [2]),
        ("Magnetic-resonance brain", [2]),
        ("computed tomography", []),
        ("radiography", [3, 1]),  # the modality before a tag
        ("x-ray", [3, 1]),
        ("tumor", [2]),
        ("malignant", [1]),
        ("grade", [1]),
        ("cbis-ddsm", [1]),
        ("00002_TOY", [2]),
        ("3", [3]),
        ("m", []),  # short words are whole words
        ("ass", []),  # the middle of a word is not its beginning
        ("breast brain", []),
        ("mass & breast", [1]),
    ],
)
def test_words(three: None, words: str, expected: list[int]) -> None:
    assert numbers(search(words)) == expected


def test_singular_finds_plural_and_back() -> None:
    with zoo(model(1, "One biopsy"), model(2, "Two biopsies"), model(3, "Glass")):
        assert numbers(search("biopsy")) == numbers(search("biopsies")) == [1, 2]
        assert numbers(search("glas")) == [3]
        assert numbers(search("glasses")) == [3]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"modality": "MMG"}, [1]),
        ({"modality": ["mr", "radiography"]}, [2, 3]),
        ({"organ": "BRE"}, [1]),
        ({"content": ("mass", "slice")}, [1, 2]),
        ({"generator": "gan"}, [1, 2]),
        ({"license": "cc"}, [1, 3]),
        ({"dataset": "ddsm"}, [1]),
        ({"bundled": True}, [1, 3]),
        ({"bundled": False}, [2]),
        ({"bundled": True, "license": "CC0"}, [3]),
    ],
)
def test_filters(three: None, filters: dict[str, object], expected: list[int]) -> None:
    assert numbers(search(**filters)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"modalty": "MRI"}, "Did you mean modality"),
        ({"sort": "yeer"}, "Did you mean year"),
        ({"sort": "IS"}, "relevance, id, name, year, FID"),
        ({"sort": 3}, "sort key"),
        ({"organ": 3}, "not a text or a list"),
        ({"organ": [""]}, "not a text or a list"),
        ({"organ": None, "bundled": "yes"}, "bundled='yes'"),
        ({"words": 8}, "words=8"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_allowed(
    arguments: dict[str, object], says: str
) -> None:
    with zoo(model(1, metrics=(Metric("FID", 1.0, "A"),))), pytest.raises(InputError, match=says):
        search(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "expected"), [("id", [1, 2, 3]), ("Year", [1, 3, 2]), ("name", [2, 3, 1])]
)
def test_sort(three: None, key: str, expected: list[int]) -> None:
    assert numbers(search(sort=key)) == expected


def test_metric_ranks_within_one_data_set_and_leaves_those_without_it_last() -> None:
    def scored(number: int, value: float, better: str = "lower") -> ModelConfig:
        return model(number, metrics=(Metric("FID", value, "A", 500, better),))

    with zoo(model(1), scored(2, 30.0), scored(3, 2.5)):
        found = search(sort="fid")  # a warning would be an error here
        assert numbers(found) == [3, 2, 1]
        assert "2.5 A:500" in str(found)
    with zoo(model(1), scored(2, 30.0, "higher"), scored(3, 2.5, "higher")):
        assert numbers(search(sort="FID")) == [2, 3, 1]


@pytest.mark.parametrize(("dataset", "samples"), [("B", 500), ("A", 100)])
def test_a_metric_on_different_data_groups_instead_of_ranking_across(
    dataset: str, samples: int
) -> None:
    a = [model(k, metrics=(Metric("FID", v, "A", 500),)) for k, v in ((1, 90.0), (4, 80.0))]
    other = model(2, metrics=(Metric("FID", 1.0, dataset, samples),))
    with zoo(*a, other, model(3)):
        with pytest.warns(
            MedzooWarning, match=rf"A \(500 samples\), {dataset} \({samples} samples\)"
        ) as caught:
            found = search(sort="FID")
        assert caught[0].filename == __file__
        assert numbers(found) == [
            4,
            1,
            2,
            3,
        ]  # the larger group first, although 1.0 is less than 80.0


def test_of_several_figures_the_comparable_one_counts() -> None:
    both = model(1, metrics=(Metric("FID", 5.0, "B"), Metric("FID", 50.0, "A")))
    with zoo(both, model(2, metrics=(Metric("FID", 40.0, "A"),))):
        assert numbers(search(sort="FID")) == [2, 1]


def test_nothing_found_says_why_and_what_is_close(three: None) -> None:
    assert not search("mamogrofy")
    assert "did you mean mammography" in str(search("mamogrofy"))
    assert "modality 'PET' fits no model; known: mammography, mri, x-ray." in str(
        search(modality="PET")
    )
    assert not search(modality="--")  # neither letters nor digits: it is not everything
    assert "no model fits all" in str(search("breast brain"))
    assert "<table>" not in search("mamogrofy")._repr_html_()


@pytest.mark.parametrize(
    ("words", "filters", "corrections", "expected"),
    [
        ("mamography", {}, {"mamography": "mammography"}, [1]),
        ("mamografy mases", {}, {"mamografy": "mammography", "mases": "masses"}, [1]),
        ("", {"modality": "mamography"}, {"mamography": "mammography"}, [1]),
        ("", {"organ": ["brest", "bran"]}, {"brest": "breast", "bran": "brain"}, [1, 2]),
        ("Brian", {}, {"Brian": "brain"}, [2]),
        ("brain", {}, {}, [2]),
        ("xyz", {}, {}, []),
        ("ct", {}, {}, []),
    ],
)
def test_a_typing_error_is_forgiven_and_named(
    three: None,
    words: str,
    filters: dict[str, Any],
    corrections: dict[str, str],
    expected: list[int],
) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = search(words, sort="id", **filters)
    assert numbers(found) == expected
    assert found.corrections == corrections
    assert found[:1].corrections == corrections
    assert [str(w.message) for w in heard] == [
        "No model has what was typed: search used "
        + ", ".join(f"{b!r} instead of {a!r}" for a, b in corrections.items())
        + "."
    ] * bool(corrections)
    assert all(w.category is MedzooWarning and w.filename == __file__ for w in heard)


def test_typing_errors_are_looked_for_only_where_a_word_fits_no_model(
    three: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    looked_up = Index.words_like
    monkeypatch.setattr(
        Index,
        "words_like",
        lambda self, typed, level=9: asked.append(typed) or looked_up(self, typed, level),
    )
    search("breast mammography", organ="breast")
    assert asked == []
    with pytest.warns(MedzooWarning):
        search("brest mammography")
    assert {*asked} == {"brest"}


def test_found_prints_as_a_table_and_slices() -> None:
    with zoo(MASSES, BRAIN, model(3, license="<b>|")):
        found = search(sort="id")
    lines = str(found).splitlines()
    assert lines[0].split() == [name for name in description.HEAD if name != "status"]
    assert lines[1].split()[0] == MASSES.id
    assert "bundled" in lines[1]
    assert "download" in lines[2]
    assert lines[-1].startswith("3 models; 2 come with medzoo.")
    assert repr(found) == str(found)
    assert "&lt;b&gt;" in found._repr_html_()
    assert isinstance(found[1:], Found)
    assert numbers(found[1:]) == [2, 3]
    assert found[-1].number == 3
    assert MASSES in found


@pytest.mark.parametrize("width", [30, 50, 70, 80, 120])
def test_a_narrow_terminal_cuts_cells_but_never_the_id(width: int) -> None:
    rows = [
        (
            "00008_C-DCGAN_MMG_MASSES",
            "",
            "mammography",
            "masses",
            "128x128",
            "CC BY-NC-SA 4.0 International",
            "bundled",
        )
    ]
    lines = console.table(description.HEAD, rows, width).splitlines()
    least = len(rows[0][0]) + len(rows[0][1:]) * (2 + console.NARROWEST)
    assert max(map(len, lines)) <= max(width, least)
    assert lines[1].startswith(rows[0][0])
    assert ("…" in lines[1]) == (width < 90)


def test_a_demonstration_is_called_so_right_after_its_id() -> None:
    found = search(modality="MRI", bundled=True)
    table = str(found).splitlines()
    assert table[0].split()[:2] == ["id", "status"]
    for line, config in zip(table[1:], found, strict=False):
        assert line.split()[0] == config.id
        assert (line.split()[1] == "demonstration") == (config.default.status == "demonstration")
    assert {s["status"] for s in found.summaries()} >= {"demonstration"}
    assert "status" not in str(search("mammography", bundled=False))


# ---------------------------------------------------------------------------------------------------------- properties
WORDS = (
    "knee",
    "brain",
    "mass",
    "nodules",
    "lesion",
    "contrast",
    "healthy",
    "patches",
    "volume",
    "dark",
)  # no synonyms
texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
fields = st.sampled_from(("knee", "brain", "lung nodules", "Whole Body"))
configs = st.lists(
    st.builds(
        lambda name, text, organ, tags, year: (name, text, organ, tags, year),
        texts,
        texts,
        fields,
        st.lists(st.sampled_from(WORDS), max_size=2),
        st.integers(2015, 2026),
    ),
    max_size=6,
).map(
    lambda drawn: [
        model(k + 1, n, description=d, organ=o, tags=tuple(t), year=y)
        for k, (n, d, o, t, y) in enumerate(drawn)
    ]
)


def held(config: ModelConfig) -> set[str]:
    """The words of a model, read without the finder."""
    everything = (
        config.id.replace("_", " "),
        config.name,
        config.description,
        config.organ,
        config.content,
        config.modality,
        *config.tags,
    )
    return set(" ".join(everything).lower().split())


def has(config: ModelConfig, word: str) -> bool:
    singular = {"nodules": "nodule", "patches": "patch"}.get(word, word)
    return any(t.startswith(word) or t == singular for t in held(config))


@given(configs, st.lists(st.sampled_from(WORDS), max_size=3))
def test_found_are_exactly_the_models_with_all_words(
    models: list[ModelConfig], words: list[str]
) -> None:
    with zoo(*models):
        assert set(numbers(search(" ".join(words)))) == {
            m.number for m in models if all(has(m, w) for w in words)
        }


@given(configs, texts, st.lists(fields, min_size=1, max_size=3))
def test_several_values_are_a_union_and_a_filter_only_narrows(
    models: list[ModelConfig], words: str, organs: list[str]
) -> None:
    with zoo(*models):
        either = numbers(search(words, organ=organs))
        assert set(either) == {n for organ in organs for n in numbers(search(words, organ=organ))}
        assert either == [m.number for m in search(words) if m.organ in organs]


@given(configs, texts, texts)
def test_words_narrow_in_any_order_and_case(
    models: list[ModelConfig], one: str, other: str
) -> None:
    with zoo(*models):
        both = search(f"{one} {other}")
        assert set(numbers(both)) == set(numbers(search(one))) & set(numbers(search(other)))
        assert numbers(both) == numbers(search(f"{one.upper()}  {other.upper()}"))
        # Words that are neighbours in a model too make it more relevant: another order of words
        # may change the order of the models, but not which they are.
        assert set(numbers(both)) == set(numbers(search(f"{other} {one}")))


@given(configs, texts, st.sampled_from(SORTS))
def test_sorting_neither_adds_nor_drops(models: list[ModelConfig], words: str, key: str) -> None:
    with zoo(*models):
        assert sorted(numbers(search(words, sort=key))) == numbers(search(words, sort="id"))


@given(st.text(max_size=40))
def test_any_text_is_a_search(words: str) -> None:
    with zoo(MASSES, BRAIN, CHEST):
        assert str(search(words)).endswith(("shows more.", "leave one out.", "no model.", "?"))


def test_the_table_says_what_needs_trust_and_what_was_not_seen_running() -> None:
    lines = {line[:5]: line for line in str(search(sort="id")).splitlines()}
    for number in ("00001", "00011", "00023"):
        assert lines[number].endswith("not yet seen running")
    assert "needs --trust" in lines["00011"]  # pickled modules
    assert "needs --trust" not in lines["00001"]
    for config in search(bundled=True):
        assert lines[config.id[:5]].endswith("bundled")
    summary = {s["id"][:5]: s for s in search(sort="id").summaries()}
    assert (summary["00011"]["needs_trust"], summary["00011"]["seen_running"]) == (True, False)
    assert (summary["00008"]["needs_trust"], summary["00008"]["seen_running"]) == (False, True)


def test_a_narrow_table_marks_what_needs_trust_and_what_was_not_seen_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = str(search(sort="id"))
    lines = {line[:5]: line for line in text.splitlines()}
    assert lines["00011"].endswith("!* download")
    assert lines["00001"].endswith(" * download")
    assert " * download" in lines["00021"]
    assert "\n! needs --trust\n* not yet seen running\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\n* not" not in str(search(bundled=True))


# ----------------------------------------------------------------------------------------------------------- filters
def test_a_modality_or_license_is_not_the_middle_of_a_word() -> None:
    oct_ = model(1, modality="OCT", license="Permitted for own research")
    both = model(2, modality="PET/CT", license="MIT")
    with zoo(oct_, both, model(3, modality="X-ray", license="CC BY 4.0")):
        assert numbers(search(modality="CT")) == [2]
        assert numbers(search(modality="oct")) == [1]
        assert numbers(search(modality="xray")) == [3]
        assert numbers(search(license="MIT")) == [2]
        assert numbers(search(license="CC-BY-4.0")) == [3]  # as SPDX writes it


def test_a_field_has_synonyms_and_plurals_as_words_have() -> None:
    with zoo(
        model(1, content="tumours"), model(2, content="liver tumor"), model(3, content="nodule")
    ):
        assert numbers(search(content="tumor")) == numbers(search(content="tumour")) == [1, 2]
        assert numbers(search(content="nodules")) == [3]


def test_each_value_of_a_filter_that_fits_no_model_is_corrected_or_named(three: None) -> None:
    with pytest.warns(MedzooWarning, match="'mammography' instead of 'mamography'"):
        found = search(modality=["MRI", "mamography"])
    assert numbers(found) == [1, 2]
    assert found.corrections == {"mamography": "mammography"}
    found = search(modality=["MRI", "PET"])
    assert numbers(found) == [2]
    assert "modality 'PET' fits no model; known: mammography" in str(found)
    assert "MRI" not in str(found).partition("fits no model")[0].splitlines()[-1]


def test_a_name_of_a_modality_in_several_words_finds_its_models() -> None:
    with zoo(model(1, modality="MRI"), model(2, modality="CT"), model(3, modality="X-ray")):
        assert numbers(search("magnetic resonance imaging")) == numbers(search("MR imaging")) == [1]
        assert numbers(search("computed tomography")) == [2]
        assert numbers(search("knee computed tomography slices")) == [2]
        assert numbers(search("x ray")) == numbers(search("x-ray")) == [3]


def test_a_list_without_values_is_not_a_filter(three: None) -> None:
    with pytest.raises(InputError, match=r"organ=\[\] is not a text or a list"):
        search(organ=[])


def test_what_fits_no_model_is_wrapped_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for found in (search(license="GPL 9"), search(license=["GPL 9", "MIT"])):
        text = str(found)
        assert "fits no model" in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
