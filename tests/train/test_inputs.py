"""What is wrong with the images of a run, in one line each, before anything starts."""

import shutil

import pytest

from mimprobe.errors import ImageError, OptionError
from mimprobe.train.inputs import inputs_of


def supervised(make_config, **changes):
    return make_config("supervised", **changes)


@pytest.fixture
def val(photos, tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / "val" / name).mkdir(parents=True)
        shutil.copy(photos / name / "00.png", tmp_path / "val" / name / "0.png")
    return tmp_path / "val"


def test_numbers_are_those_of_training_in_both_sets(photos, val, make_config):
    found = inputs_of(photos, supervised(make_config, val=str(val)))
    assert found.classes == ["cats", "dogs"]
    assert found.labels == [0] * 12 + [1] * 12
    assert list(found.val_labels) == [0, 1]
    assert found.describe()["val_sha256"] == found.val.sha256


def test_fewer_images_than_a_batch(photos, make_config):
    with pytest.raises(ImageError, match="has 24 images, fewer than one batch of 30; choose a"):
        inputs_of(photos, supervised(make_config, batch_size=30))


def test_labels_that_are_missing_or_all_equal(photos, val, make_config):
    with pytest.raises(ImageError, match="cats has no class folders, and no labels for all"):
        inputs_of(photos / "cats", supervised(make_config))
    with pytest.raises(ImageError, match="no class folders"):
        inputs_of(photos, supervised(make_config, val=str(val / "cats")))
    shutil.copytree(photos / "cats", val.parent / "one" / "cats")
    with pytest.raises(ImageError, match=r"images of one class only \(cats\); a classifier needs"):
        inputs_of(val.parent / "one", supervised(make_config))


def test_classes_that_differ_between_the_sets(photos, val, make_config):
    (val / "dogs").rename(val / "dog")
    with pytest.raises(ImageError, match="that the training images lack: dog; did you mean dogs?"):
        inputs_of(photos, supervised(make_config, val=str(val)))


def test_classes_without_an_image_in_val_are_told(photos, val, make_config):
    shutil.rmtree(val / "dogs")
    with pytest.warns(UserWarning, match="has no images of 1 of the 2 classes: dogs; its accuracy"):
        found = inputs_of(photos, supervised(make_config, val=str(val)))
    assert list(found.val_labels) == [0]


def test_wrong_settings_are_found_before_decoding(photos, make_config):
    with pytest.raises(OptionError, match="val takes a classifier; simmim trains none"):
        make_config(val="x")
    with pytest.raises(OptionError, match="choose an even batch_size, not 7"):
        make_config("finetune", start="x", batch_size=7, mixup=0.8)
    with pytest.raises(OptionError, match="start names the network of a fine-tuning"):
        make_config("finetune")
    with pytest.raises(OptionError, match="cache 'yes' is not one of auto, on, off"):
        make_config(cache="yes")
    for name, value in (("layer_decay", 0.0), ("erasing", 1.5), ("mixup", -1.0)):
        with pytest.raises(OptionError, match=name):
            make_config(**{name: value})
