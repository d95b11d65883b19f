"""Requests: what a user asks for, checked once against the config."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medzoo import seeds
from medzoo.checks import count
from medzoo.errors import InputError
from medzoo.generation.request import Request
from medzoo.registry import resolve


@pytest.fixture
def ask(toy: Callable[..., int]) -> Callable[..., Request]:
    """``ask(n, **options)``: a request to the toy model."""
    config = resolve(toy())
    return lambda n=4, seed=0, first=0, inputs=None, **options: Request.of(
        config, config.default, n, seed=seed, first=first, inputs=inputs, options=options
    )


@pytest.mark.parametrize("n", [0, -1, 1.0, "3", True, None, float("nan"), [1], np.float32(2)])
def test_a_count_that_is_no_count(n: object) -> None:
    with pytest.raises(
        InputError, match=r"n=.* is not a number of samples.\nGive a whole number of at least 1"
    ):
        count(n, "n")


@pytest.mark.parametrize("n", [1, 10**6, np.int32(5), np.uint8(200)])
def test_a_count_becomes_a_plain_int(n: int) -> None:
    assert type(count(n, "n")) is int
    assert count(n, "n") == n


def test_more_samples_than_numbers_are_refused(ask: Callable[..., Request]) -> None:
    with pytest.raises(InputError, match="more samples than can be numbered"):
        ask(2**63)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**64 - 1),
    first=st.integers(0, 10**6),
    rows=st.lists(st.integers(0, 9), min_size=1, max_size=5),
)
def test_a_batch_depends_on_the_samples_numbers_alone(
    ask: Callable[..., Request], seed: int, first: int, rows: list[int]
) -> None:
    numbers = [first + r for r in rows]
    batch = ask(10, seed=seed, first=first).batch(numbers)
    assert batch.n == len(rows)
    assert batch.indices.tolist() == numbers
    assert np.array_equal(batch.latents, seeds.latents(seed, numbers, 4))
    assert batch.conditions["condition"].tolist() == [i % 2 for i in numbers]
    assert np.array_equal(
        batch.rng(0).bytes(8), seeds.Stream(seed, numbers[0], seeds.NOISE).bytes(8)
    )


@pytest.mark.parametrize(
    "given_", ["malignant", "MALIGNANT", 1, np.int64(1), np.array(1), np.array("malignant")]
)
def test_a_condition_goes_by_name_in_any_case_or_by_number(
    ask: Callable[..., Request], given_: Any
) -> None:
    request = ask(3, condition=given_)
    assert request.batch([0, 1, 2]).conditions["condition"].tolist() == [1, 1, 1]
    assert request.record["condition"] == "malignant"


@pytest.mark.parametrize(
    "given_", [["malignant", "benign", 1], ("malignant", 0, "Malignant"), np.array([1, 0, 1])]
)
def test_a_condition_may_be_a_list_of_one_for_each(
    ask: Callable[..., Request], given_: Any
) -> None:
    request = ask(3, condition=given_, first=7)
    assert request.batch([9, 7, 8]).conditions["condition"].tolist() == [1, 1, 0]
    assert request.record["condition"] == ["malignant", "benign", "malignant"]


@pytest.mark.parametrize(
    "given_",
    ["unknown", 2, True, 1.0, {}, ["benign", "x"], [[0, 1], [1, 0]], [None, None], {"benign"}],
)
def test_an_unknown_condition_lists_the_known_ones(
    ask: Callable[..., Request], given_: Any
) -> None:
    with pytest.raises(
        InputError,
        match=r"is unknown.\nIt is one of 'benign' \(0\), 'malignant' \(1\), a list of 2",
    ):
        ask(2, condition=given_)


def test_a_list_of_conditions_must_fit_n(ask: Callable[..., Request]) -> None:
    with pytest.raises(InputError, match="condition has 3 values for n=2 samples"):
        ask(2, condition=["benign"] * 3)


def test_two_conditions_that_are_left_out_meet_in_every_combination(
    toy: Callable[..., int],
) -> None:
    density = {"values": {"low": 0, "middle": 1, "high": 2}, "help": "Density."}
    config = resolve(
        toy(
            conditions={
                "condition": {"values": {"benign": 0, "malignant": 1}, "help": "Malignancy."},
                "density": density,
            }
        )
    )
    both = Request.of(config, config.default, 12, seed=0, options={}).batch(range(12)).conditions
    pairs = list(zip(both["condition"].tolist(), both["density"].tolist(), strict=True))
    assert pairs == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)] * 2
    one = (
        Request.of(config, config.default, 6, seed=0, options={"condition": ["benign"] * 6})
        .batch(range(6))
        .conditions
    )
    assert one["density"].tolist() == [0, 1, 2, 0, 1, 2]


def test_an_unknown_option_lists_the_known_ones(ask: Callable[..., Request]) -> None:
    with pytest.raises(
        InputError,
        match=r"takes no 'gian'.\nDid you mean 'gain'\? It takes condition, gain, latents; `medzoo info 901`",
    ):
        ask(gian=1)


def test_a_model_without_options_says_that_it_has_none(toy: Callable[..., int]) -> None:
    config = resolve(
        toy(
            conditions=None,
            options=None,
            latent=0,
            outputs={"images": {"kind": "image", "dtype": "uint8", "shape": [1, 8, 8]}},
        )
    )
    with pytest.raises(InputError, match="It takes no inputs"):
        Request.of(config, config.default, 1, seed=0, options={"latents": [[]]})


@pytest.mark.parametrize("gain", ["3", 3.5, True, None, -1, 10, [3], np.float64(3)])
def test_an_option_out_of_its_bounds_says_what_is_allowed(
    ask: Callable[..., Request], gain: Any
) -> None:
    with pytest.raises(
        InputError,
        match=r"gain=.* is not allowed.\ngain is int at least 0 at most 9: Written into a pixel",
    ):
        ask(gain=gain)


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (
            {"type": "float", "default": 1, "minimum": 0},
            [0, 2.5, 7, np.float32(1)],
            ["1", -1, float("nan"), float("inf"), True],
        ),
        (
            {"type": "str", "default": "a", "choices": ["a", "b"]},
            ["a", "b", np.str_("b")],
            ["c", 1, None],
        ),
        ({"type": "bool", "default": False}, [True, False, np.bool_(True)], [0, 1, "yes", None]),
        ({"type": "int", "default": 1}, [-5, 10**30, np.int16(3)], [1.0, "1", False]),
    ],
)
def test_every_type_of_option(
    toy: Callable[..., int], option: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    config = resolve(toy(options={"x": {**option, "help": "An option."}}))
    kind = {"float": float, "str": str, "bool": bool, "int": int}[option["type"]]
    for value in good:
        request = Request.of(config, config.default, 1, seed=0, options={"x": value})
        assert request.options["x"] == value
        assert type(request.record["x"]) is kind  # plain, so that JSON can hold it
    for value in bad:
        with pytest.raises(InputError, match="x is "):
            Request.of(config, config.default, 1, seed=0, options={"x": value})


def test_options_left_out_are_recorded_with_their_defaults(ask: Callable[..., Request]) -> None:
    assert ask().record == {"gain": 3, "condition": None}
    assert ask().options == {"gain": 3}


def test_latents_of_the_users_own(ask: Callable[..., Request]) -> None:
    import torch

    own = np.arange(12.0).reshape(3, 4)
    for given_ in (own, own.tolist(), torch.tensor(own), np.asfortranarray(own)):
        request = ask(3, latents=given_, first=5)
        assert np.array_equal(request.batch([7, 5]).latents, own[[2, 0]])
        assert request.batch([5]).latents.dtype == np.float32
    same, other = ask(3, latents=own).record["latents"], ask(3, latents=own + 1).record["latents"]
    assert same.startswith("sha256:")
    assert same == request.record["latents"] != other


def test_latents_are_copied_since_batches_are_made_later(ask: Callable[..., Request]) -> None:
    own = np.zeros((3, 4), np.float32)
    request = ask(3, latents=own)
    own[:] = 9
    assert not request.batch([0, 1, 2]).latents.any()


def test_latents_that_do_not_fit_say_what_would(ask: Callable[..., Request]) -> None:
    import torch

    bad = [
        np.zeros((2, 4)),
        np.zeros((3, 5)),
        np.zeros(3),
        5,
        "latents",
        [[1, 2], [3]],
        np.full((3, 4), np.nan),
        np.full((3, 4), 1e300),
        np.full((3, 4), 1j),
        np.full((3, 4), "1"),
        np.zeros((3, 4), "datetime64[s]"),
        {},
        torch.zeros(3, 4, requires_grad=True),
    ]
    for given_ in bad:
        with pytest.raises(InputError, match=r"latents .*\n?.*shape \(3, 4\)"):
            ask(3, latents=given_)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "0", True])
def test_a_seed_that_is_none(ask: Callable[..., Request], seed: Any) -> None:
    with pytest.raises(InputError, match="is not a valid seed"):
        ask(seed=seed)


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (
            {"type": "ints", "default": [1], "minimum": 0, "maximum": 9},
            [[0, 9], (3,), np.array([1, 2]), [], [np.int64(4)]],
            [5, "12", [10], [1.0], [True], [None], [[1]], None, {1}, np.array([[1]])],
        ),
        (
            {"type": "floats", "default": [0.5]},
            [[1, 2.5], np.array([0.25]), [np.float32(0.5)]],
            [1.0, [float("nan")], [float("inf")], ["1"]],
        ),
        (
            {"type": "texts", "default": ["oval"], "choices": ["oval", "lobulated"]},
            [["lobulated", "oval"], ("oval",), np.array(["oval"])],
            ["oval", ["round"], [1]],
        ),
    ],
)
def test_options_that_are_lists(
    toy: Callable[..., int], option: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    config = resolve(toy(options={"x": {**option, "help": "An option."}}))
    kind = {"ints": int, "floats": float, "texts": str}[option["type"]]
    for value in good:
        request = Request.of(config, config.default, 1, seed=0, options={"x": value})
        assert request.options["x"] == list(value)
        assert type(request.record["x"]) is list
        assert all(type(v) is kind for v in request.record["x"])  # plain, so that JSON can hold it
    for value in bad:
        with pytest.raises(InputError, match="x is a list, each"):
            Request.of(config, config.default, 1, seed=0, options={"x": value})
    assert (
        Request.of(config, config.default, 1, seed=0, options={}).options["x"] == option["default"]
    )


def test_none_is_an_option_only_where_it_is_the_default(toy: Callable[..., int]) -> None:
    options = {
        "free": {"type": "int", "default": None, "minimum": 1, "help": "Left to the package."},
        "lists": {"type": "ints", "default": None, "help": "Left to the package."},
        "fixed": {"type": "int", "default": 1, "help": "Never None."},
    }
    config = resolve(toy(options=options))
    request = Request.of(config, config.default, 1, seed=0, options={"free": None})
    assert request.options == {"free": None, "lists": None, "fixed": 1}
    assert Request.of(config, config.default, 1, seed=0, options={"free": 2, "lists": [3]}).options[
        "lists"
    ] == [3]
    with pytest.raises(InputError, match="fixed=None is not allowed"):
        Request.of(config, config.default, 1, seed=0, options={"fixed": None})
    with pytest.raises(InputError, match=r"free=0 is not allowed.\nfree is int at least 1"):
        Request.of(config, config.default, 1, seed=0, options={"free": 0})


def test_inputs_to_a_model_that_takes_none(ask: Callable[..., Request]) -> None:
    with pytest.raises(InputError, match="00901_TOY_MRI_NOISE does not take pictures as inputs"):
        ask(inputs=np.zeros((1, 4, 4)))


def test_latents_that_a_medigan_package_does_not_take_are_not_drawn(
    toy: Callable[..., int],
) -> None:
    call = {"weights": "w", "returns": "images"}
    config = resolve(toy(contract="medigan", call=call, latent=4))
    request = Request.of(config, config.default, 3, seed=0, options={})
    assert request.batch([0, 1]).latents.shape == (2, 0)
    with pytest.raises(InputError, match="takes no 'latents'"):
        Request.of(config, config.default, 1, seed=0, options={"latents": [[0] * 4]})
    config = resolve(toy(contract="medigan", call={**call, "latents": "z"}, latent=4))
    assert Request.of(config, config.default, 3, seed=0, options={}).batch(
        [0, 1]
    ).latents.shape == (2, 4)


def test_a_request_can_go_to_another_process(ask: Callable[..., Request]) -> None:
    request = ask(6, condition=["benign"] * 6, seed=3)
    again = pickle.loads(pickle.dumps(request))
    assert np.array_equal(again.batch([4]).latents, request.batch([4]).latents)


def test_a_first_sample_that_is_too_large_is_named(ask: Callable[..., Request]) -> None:
    with pytest.raises(InputError, match=r"n=1 from first=4611686018427387904 is more samples"):
        ask(1, first=2**62)


def test_a_negative_number_of_a_condition_may_be_a_text(toy: Callable[..., int]) -> None:
    config = resolve(
        toy(conditions={"condition": {"values": {"unknown": -1, "benign": 0}, "help": "M."}})
    )
    for value in (-1, "-1"):
        made = Request.of(config, config.default, 1, seed=0, options={"condition": value})
        assert made.record["condition"] == "unknown"
