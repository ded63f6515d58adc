"""Images in memory are those on disk, and what cannot be read is named."""

import json
import shutil

import numpy as np
import pytest
import torch

from mimprobe.data.decoded import DecodedImages
from mimprobe.data.images import open_images
from mimprobe.errors import ImageError, OptionError
from mimprobe.train.fit import pretrain
from mimprobe.train.memory import prepared


@pytest.fixture
def damaged(photos, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(photos, folder)
    (folder / "dogs" / "03.png").write_bytes(b"not a picture")
    return folder


def test_images_in_memory_are_those_on_disk(photos):
    images = open_images(photos)
    kept, skipped = prepared(images, cache="on", megabytes=10)
    assert isinstance(kept.origin, DecodedImages)
    assert skipped == []
    assert (kept.ids, kept.labels, kept.sha256) == (images.ids, images.labels, images.sha256)
    for one, other in zip(images, kept, strict=True):
        assert np.array_equal(np.array(one), np.array(other))
    few = kept.origin.take([5, 2])
    assert few.ids == (images.ids[5], images.ids[2])
    assert few.load(0).tobytes() == images.load(5).tobytes()


def test_images_of_one_size_make_a_tensor(photos):
    kept = prepared(open_images(photos), cache="on", megabytes=10).images
    stack = kept.origin.stacked()
    assert stack.shape == (24, 40, 48, 3)
    assert np.array_equal(stack[7].numpy(), np.array(kept.load(7)))
    assert kept.origin.take([1, 0]).stacked() is None


def test_images_of_several_sizes_make_none(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "mixed")
    picture = open_images(photos).load(0)
    picture.resize((30, 20)).save(tmp_path / "mixed" / "cats" / "99.png")
    kept = prepared(open_images(tmp_path / "mixed"), cache="on", megabytes=10).images
    assert kept.origin.stacked() is None
    assert kept.load(12).size == (30, 20)


def test_the_bound_on_memory(photos):
    images = open_images(photos)  # 24 of 5,760 bytes
    assert prepared(images, cache="auto", megabytes=1).images.origin is not images.origin
    large = open_images([photos / "cats" / "00.png"] * 1)
    wide = large.load(0).resize((1000, 1000))
    many = open_images([(wide, f"{number}") for number in range(2)])
    assert prepared(many, cache="auto", megabytes=5).images is many
    assert prepared(many, cache="off", megabytes=100).images is many
    with pytest.raises(OptionError, match="takes about 6 MB decoded, and cache_memory is 5 MB"):
        prepared(many, cache="on", megabytes=5)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_damaged_images_are_left_out_on_request_only(damaged, cache):
    images = open_images(damaged, skip_bad_images=True)
    kept, skipped = prepared(images, cache=cache, megabytes=10)
    assert [entry["image"] for entry in skipped] == ["dogs/03.png"]
    assert len(kept) == 23
    assert "dogs/03.png" not in kept.ids
    assert kept.load(15).tobytes() == images.load(16).tobytes()
    with pytest.raises(ImageError, match=r"03\.png is not an image.*--skip-bad-images"):
        prepared(open_images(damaged), cache="on", megabytes=10)


def test_a_run_tells_which_images_it_left_out(damaged, make_config, tmp_path):
    config = make_config(skip_bad_images=True)
    with pytest.warns(UserWarning, match=r"left out 1 of 24 images, such as .*03\.png is not an"):
        pretrain(damaged, tmp_path / "run", config)
    told = json.loads((tmp_path / "run" / "images.json").read_text())
    assert told["images"] == 23
    assert told["skipped"][0]["image"] == "dogs/03.png"


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_cache_changes_no_loss(photos, make_config, tmp_path):
    for name, cache, workers in (("on", "on", 0), ("off", "off", 0), ("workers", "on", 1)):
        pretrain(photos, tmp_path / name, make_config(cache=cache, workers=workers))
    assert losses(tmp_path / "on") == losses(tmp_path / "off") == losses(tmp_path / "workers")
    assert torch.tensor(losses(tmp_path / "on")).isfinite().all()
