"""Seeds: sample i of a seed is the same in any batch, today and after the next numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo import seeds
from medzoo.errors import InputError
from medzoo.seeds import LATENTS, NOISE, Stream, check_seed, latents

SEEDS = st.integers(0, 2**64 - 1)
INDICES = st.integers(0, 2**62)


def test_the_first_raw_words_are_what_they_were() -> None:
    assert Stream(0, 0, LATENTS)._raw(4).tolist() == [
        213000021201967259,
        4455796210202625458,
        2055444239878205049,
        10411612076246414556,
    ]
    assert Stream(2**64 - 1, 5, NOISE)._raw(2).tolist() == [
        377563681266711432,
        14535312882314059283,
    ]


def test_the_first_sixteen_normals_are_what_they_were() -> None:
    expected = [
        2.5854032039642334,
        0.1879018247127533,
        0.052598774433135986,
        0.9896675944328308,
        1.0850815773010254,
        0.9141544103622437,
        -1.6836459636688232,
        -0.7212381958961487,
        -1.1231478452682495,
        -0.01679398864507675,
        -0.07652471214532852,
        0.4367560148239136,
        0.7242177724838257,
        -0.2528238594532013,
        1.3396433591842651,
        -0.11758414655923843,
    ]
    assert Stream(0, 0, LATENTS).normals(16).tolist() == expected
    assert latents(0, [0], 16)[0].tolist() == expected


def test_the_normals_are_box_and_muller_of_the_words() -> None:
    words = Stream(7, 3)._raw(500)
    low, high = (words & np.uint64(2**32 - 1)).astype(float), (words >> np.uint64(32)).astype(float)
    radius, angle = np.sqrt(-2 * np.log((low + 0.5) / 2**32)), 2 * np.pi * high / 2**32
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    np.testing.assert_allclose(Stream(7, 3).normals(1000), pairs, rtol=1e-6, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, batch=st.lists(INDICES, min_size=1, max_size=5), size=st.integers(1, 33))
def test_latents_do_not_depend_on_the_batch(seed: int, batch: list[int], size: int) -> None:
    together = latents(seed, batch, size)
    assert together.shape == (len(batch), size)
    assert together.dtype == np.float32
    for row, index in enumerate(batch):
        assert np.array_equal(latents(seed, [index], size)[0], together[row])
        assert np.array_equal(Stream(seed, index, LATENTS).normals(size), together[row])


@settings(max_examples=50, deadline=None)
@given(
    seed=SEEDS,
    first=INDICES,
    n=st.integers(seeds.MANY - 1, seeds.MANY + 40),
    size=st.integers(1, 2 * seeds.SHORT + 2),
)
def test_many_samples_at_once_are_those_of_one_after_the_other(
    seed: int, first: int, n: int, size: int
) -> None:
    together = latents(seed, np.arange(first, first + n), size)
    for row in (0, n // 2, n - 1):
        assert np.array_equal(together[row], Stream(seed, first + row, LATENTS).normals(size))


@settings(max_examples=100, deadline=None)
@given(
    one=st.tuples(SEEDS, INDICES, st.sampled_from([LATENTS, NOISE])),
    other=st.tuples(SEEDS, INDICES, st.sampled_from([LATENTS, NOISE])),
)
def test_streams_of_another_seed_sample_or_use_share_no_words(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    shared = set(Stream(*one)._raw(64).tolist()) & set(Stream(*other)._raw(64).tolist())
    assert bool(shared) == (one == other)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, bit=st.integers(0, 63))
def test_every_bit_of_a_seed_counts(seed: int, bit: int) -> None:
    assert Stream(seed, 0)._raw(1) != Stream(seed ^ (1 << bit), 0)._raw(1)


def test_normals_have_the_mean_spread_and_tails_of_normals() -> None:
    x = latents(1, range(2000), 100).astype(float)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01
    assert abs((x**3).mean()) < 0.03
    assert abs((x**4).mean() - 3) < 0.1
    assert abs(np.corrcoef(x[:, 0], x[:, 1])[0, 1]) < 0.1  # the two of one word
    assert abs(np.corrcoef(x[:-1, 0], x[1:, 0])[0, 1]) < 0.1  # of neighbouring samples
    assert np.isfinite(x).all()


def test_uniforms_and_bytes_are_uniform() -> None:
    x = Stream(3, 1).uniforms((100, 1000))
    assert x.dtype == np.float32
    assert x.min() > 0
    assert x.max() < 1
    assert abs(x.mean() - 0.5) < 0.005
    assert abs(x.var() - 1 / 12) < 0.001
    counts = np.bincount(Stream(3, 2).bytes(256_000), minlength=256)
    assert counts.min() > 850
    assert counts.max() < 1150


def test_uniforms_never_reach_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "_raw", lambda self, n: np.array([0, 2**64 - 1], dtype="<u8"))
    x = Stream(0, 0).uniforms(4)
    assert x.tolist() == [2.0**-24, 2.0**-24, 1 - 2.0**-24, 1 - 2.0**-24]
    assert np.isfinite(Stream(0, 0).normals(4)).all()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 40), shape=st.lists(st.integers(0, 4), max_size=3))
def test_streams_give_the_shape_asked_for(n: int, shape: list[int]) -> None:
    assert Stream(0, 0).bytes(n).shape == (n,)
    assert Stream(0, 0).normals(n).shape == Stream(0, 0).uniforms(n).shape == (n,)
    assert Stream(0, 0).normals(shape).shape == Stream(0, 0).uniforms(shape).shape == tuple(shape)
    assert latents(0, range(n), 0).shape == (n, 0)


def test_a_stream_goes_on_and_does_not_repeat() -> None:
    stream = Stream(0, 0)
    assert set(stream._raw(8).tolist()).isdisjoint(stream._raw(8).tolist())


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", True, [1], np.float64(3)])
def test_what_is_no_seed_is_an_input_error(seed: object) -> None:
    with pytest.raises(InputError, match="is not a valid seed"):
        check_seed(seed)


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.int64(7), np.uint64(2**64 - 1)])
def test_a_seed_is_kept(seed: int) -> None:
    assert check_seed(seed) == int(seed)
    assert type(check_seed(seed)) is int


def test_no_seed_is_a_fresh_one_each_time() -> None:
    found = {check_seed(None) for _ in range(20)}
    assert len(found) > 15
    assert all(0 <= s < 2**32 for s in found)
    assert seeds.LATENTS != seeds.NOISE
