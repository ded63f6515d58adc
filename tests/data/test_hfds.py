"""Data sets of Hugging Face from this disk: rows as images."""

import io
import sys

import pytest
from pictures import level, message_of, numbers

from mimprobe.data.images import open_images
from mimprobe.errors import ImageError

datasets = pytest.importorskip("datasets")


def rows(count, **more):
    def png(number):
        content = io.BytesIO()
        level(number).save(content, "PNG")
        return {"bytes": content.getvalue(), "path": None}

    columns = {"image": [png(number) for number in range(count)], **more}
    features = {"image": datasets.Image()}
    if "label" in more:
        features["label"] = datasets.ClassLabel(names=["cat", "dog"])
    return datasets.Dataset.from_dict(columns).cast(datasets.Features(features))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)


@pytest.fixture
def parquet(tmp_path):
    folder = tmp_path / "pets"
    (folder / "data").mkdir(parents=True)
    rows(5, label=[0, 1, 1, 0, 1]).to_parquet(folder / "data" / "train-00000.parquet")
    rows(2, label=[0, 0]).to_parquet(folder / "data" / "test-00000.parquet")
    return folder


def test_rows_are_images_and_labels(parquet):
    images = open_images(f"hfds:{parquet}")
    assert images.ids == tuple(f"train/{row:06}" for row in range(5))
    assert numbers(images) == list(range(5))
    assert images.labels == ("cat", "dog", "dog", "cat", "dog")
    assert images.source == f"hfds:{parquet}:train"
    assert images.sha256 == open_images(f"hfds:{parquet}:train").sha256
    other = open_images(f"hfds:{parquet}:test")
    assert numbers(other) == [0, 1]
    assert other.sha256 != images.sha256


def test_a_draw_keeps_ids_and_labels_together(parquet):
    images = open_images(f"hfds:{parquet}", limit=3, seed=2)
    assert numbers(images) == [int(name[-6:]) for name in images.ids]
    names = ("cat", "dog", "dog", "cat", "dog")
    assert images.labels == tuple(names[number] for number in numbers(images))


def test_rows_without_labels_have_none(tmp_path):
    rows(3, label=[0, -1, 1]).save_to_disk(tmp_path / "hidden")
    images = open_images(f"hfds:{tmp_path / 'hidden'}")
    assert images.labels is None
    assert images.origin.take([0, 2]).labels == ("cat", "dog")


def test_a_saved_data_set(tmp_path):
    rows(3).save_to_disk(tmp_path / "saved")
    images = open_images(f"hfds:{tmp_path / 'saved'}")
    assert numbers(images) == [0, 1, 2]
    assert images.labels is None
    parts = datasets.DatasetDict({"train": rows(3), "val": rows(2)})
    parts.save_to_disk(tmp_path / "parts")
    assert len(open_images(f"hfds:{tmp_path / 'parts'}:val")) == 2
    assert message_of(f"hfds:{tmp_path / 'parts'}:tset").startswith(
        f"hfds:{tmp_path / 'parts'}:tset cannot be opened: "
    )


def test_damaged_rows_are_named(tmp_path):
    table = rows(2).cast_column("image", datasets.Image(decode=False)).to_list()
    table[1]["image"]["bytes"] = table[1]["image"]["bytes"][:45]
    broken = datasets.Dataset.from_list(table).cast_column("image", datasets.Image())
    broken.save_to_disk(tmp_path / "broken")
    images = open_images(f"hfds:{tmp_path / 'broken'}")
    with pytest.raises(ImageError, match="train/000001 is truncated or damaged"):
        images.load(1)


def test_what_cannot_be_opened_is_one_line(tmp_path, parquet, monkeypatch):
    assert "cannot be opened" in message_of(f"hfds:{tmp_path / 'none'}")
    assert "cannot be opened" in message_of(f"hfds:{parquet}:validation")
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "texts")
    assert message_of(f"hfds:{tmp_path / 'texts'}") == (
        f"hfds:{tmp_path / 'texts'}:train has 0 columns of images among text; mimprobe needs one, "
        "or one that is called image"
    )
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "timm.data.readers.reader_hfds", raising=False)
    assert message_of(f"hfds:{parquet}").endswith("pip install 'mimprobe[datasets]'")
