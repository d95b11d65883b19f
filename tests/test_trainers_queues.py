"""Hugging Face datasets, MONAI and torchio: which samples come out of their data sets and queues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sets import VOLUMES, Toy
from trainers import IN_FORKS, library, numbered, numbers, seen  # noqa: F401

import medzoo

pytestmark = [IN_FORKS, pytest.mark.slow]
AS_THEIRS = pytest.mark.filterwarnings("ignore")  # what they warn of themselves


def samples_of(seed: int, version: str) -> Iterator[dict[str, Any]]:
    for batch in medzoo.stream(901, 6, seed=seed, version=version, batch_size=4):
        yield from batch


@AS_THEIRS
def test_a_hugging_face_set_is_made_of_a_stream_and_of_a_seed(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = library("datasets")
    datasets.disable_progress_bars()
    toy()
    sets = {}
    for seed in (1, 2):
        made = datasets.Dataset.from_generator(
            samples_of, gen_kwargs={"seed": seed, "version": "1.0.0"}, cache_dir=str(tmp_path)
        )
        right = medzoo.generate(901, 6, seed=seed)
        assert made.column_names == ["images", "labels"]
        made.set_format("numpy")
        assert np.array_equal(made["images"][:], right.images)
        assert made["labels"][:].tolist() == right.labels.tolist()
        sets[seed] = made["images"][:]
    assert not np.array_equal(sets[1], sets[2])


@AS_THEIRS
@pytest.mark.usefixtures("numbered")
def test_monai_data_sets_and_loaders_hand_out_the_samples_in_order() -> None:
    data = library("monai.data")
    right = [list(range(start, start + 4)) for start in range(0, 16, 4)]
    own = medzoo.dataset(901, 16, seed=1)
    as_image = {"transform": lambda item: {"images": item["images"] + 0}}
    for theirs in (
        data.Dataset(own, **as_image),
        data.CacheDataset(own, **as_image, num_workers=2, progress=False),
    ):
        assert seen(data.DataLoader(theirs, batch_size=4)) == right
        assert seen(data.ThreadDataLoader(theirs, batch_size=4, num_workers=0)) == right
        threads = data.ThreadDataLoader(
            theirs, batch_size=4, num_workers=2, use_thread_workers=True, persistent_workers=False
        )
        assert seen(threads) == right
        own.set_epoch(1)
        again = [[i + 16 for i in batch] for batch in right]
        assert seen(data.DataLoader(data.Dataset(own, **as_image), batch_size=4)) == again
        own.set_epoch(0)
    assert seen(data.DataLoader(own, batch_size=4, num_workers=2)) == right


@AS_THEIRS
@pytest.mark.usefixtures("numbered")
def test_a_monai_buffer_shuffles_a_stream_and_loses_nothing() -> None:
    data = library("monai.data")
    stream = medzoo.iterable_dataset(901, 16, batch_size=4, seed=1)
    buffer = data.ShuffleBuffer(stream, buffer_size=8, seed=3)
    images = torch.stack([item["images"] for item in buffer])
    assert sorted(numbers(images)) == list(range(16))
    assert numbers(images) != list(range(16))


@AS_THEIRS
def test_a_torchio_queue_hands_out_patches_of_every_volume_where_they_lie(any_toy: Toy) -> None:
    tio = library("torchio")
    any_toy({"volumes": VOLUMES})
    samples = medzoo.generate(901, 4, seed=1)
    subjects = [
        tio.Subject(volumes=subject["volumes"], number=number)
        for number, subject in enumerate(samples.to_torchio())
    ]
    queue = tio.Queue(
        tio.SubjectsDataset(subjects),
        max_length=8,
        samples_per_volume=2,
        sampler=tio.data.UniformSampler((2, 3, 2)),
        num_workers=0,
        shuffle_subjects=True,
    )
    seen_numbers = []
    for batch in tio.SubjectsLoader(queue, batch_size=2, num_workers=0):
        for row, number in enumerate(batch["number"].tolist()):
            x, y, z = batch["location"][row][:3].tolist()
            patch = batch["volumes"]["data"][row, 0].numpy()
            volume = samples.volumes[number, 0]  # (slices, rows, columns)
            right = volume[z : z + 2, y : y + 3, x : x + 2].transpose(2, 1, 0)
            assert np.array_equal(patch, right)
            seen_numbers.append(number)
    assert sorted(seen_numbers) == [0, 0, 1, 1, 2, 2, 3, 3]
