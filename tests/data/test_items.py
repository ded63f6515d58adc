"""Images in memory: lists, arrays, and data sets of (image, id)."""

from pathlib import Path

import numpy as np
import pytest
from pictures import Damaged, Pairs, fill, level, message_of, numbers
from PIL import Image

from mimprobe.data.drawn import drawn_scenes
from mimprobe.data.images import open_images
from mimprobe.errors import ImageError

EXPECTED = "expected PIL images, uint8 arrays (height, width, 3), pairs (image, id), or paths only"


def test_list_of_pil_images():
    images = open_images([level(7), level(8).convert("L"), level(9)])
    assert images.ids == ("image-00000", "image-00001", "image-00002")
    assert images.source == "a list of 3 images"
    assert images.labels is None
    assert [image.mode for image in images] == ["RGB"] * 3


def test_pairs_arrays_and_numbers_as_ids():
    array = np.asarray(level(3))
    images = open_images([(level(1), "one"), [array, Path("b/two")], (array, 7), array])
    assert images.ids == ("one", "b/two", "7", "image-00003")
    assert numbers(images) == [1, 3, 3, 3]


def test_stacked_arrays():
    stack = np.stack([np.asarray(level(number)) for number in range(3)])
    assert numbers(open_images(stack)) == [0, 1, 2]


def test_opened_files_decode_as_their_paths_do(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (4, 2), (9, 9, 9, 0)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        from_image = open_images([opened])[0]
    assert from_image.size == (2, 4)
    assert np.array_equal(from_image, open_images(tmp_path)[0])


def test_data_set():
    pairs = Pairs(4)
    images = open_images(pairs)
    assert images.ids == ("photo 0", "photo 1", "photo 2", "photo 3")
    assert images.source == "a Pairs of 4 images"
    assert pairs.reads == 4
    assert numbers(images) == [0, 1, 2, 3]


def test_a_limit_reads_no_more_of_a_data_set_than_it_takes():
    pairs = Pairs(1000)
    images = open_images(pairs, limit=3, seed=1)
    assert pairs.reads == 3
    assert len(images) == len(images.ids) == 3
    for number, name in enumerate(images.ids):
        assert images.load(number).getpixel((0, 0))[0] == min(int(name.removeprefix("photo ")), 255)


def test_damaged_image_of_a_data_set():
    images = open_images(Damaged(3), skip_bad_images=True)
    assert images.ids == ("photo 0", "image-00001", "photo 2")
    with pytest.raises(ImageError, match=r"^image 'image-00001' cannot be read: disk is on fire$"):
        images.load(1)


def test_mistakes_in_a_data_set_are_shown_as_they_are():
    with pytest.raises(AttributeError):
        open_images(Pairs(2, name=lambda number: number.nothing))


def test_image_whose_file_was_closed_is_damaged(tmp_path):
    fill(tmp_path, "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        pass
    images = open_images([(opened, "late")])
    with pytest.raises(ImageError, match=r"^image 'late' is truncated or damaged: "):
        images.load(0)


def test_classes_in_the_place_of_ids():
    assert message_of(Pairs(5, name=lambda number: number % 2)) == (
        "3 of the 5 images have the id '0'; items are (image, id); for (image, class) pass a list "
        "of (image, name) instead"
    )


@pytest.mark.parametrize(
    ("item", "fact"),
    [
        (3, "item 1 of the images holds a int"),
        ("a.png", "item 1 of the images holds a str"),
        ({"image": level(0)}, "item 1 of the images holds a dict"),
        ((level(0),), "item 1 of the images is (Image)"),
        ((level(0), "a", 3), "item 1 of the images is (Image, str, int)"),
        ((level(0), None), "item 1 of the images is (Image, NoneType)"),
        (("a.png", "a"), "item 1 of the images holds a str"),
        (np.zeros((4, 4), np.uint8),
         "item 1 of the images holds an array of uint8 with shape (4, 4)"),
        (np.zeros((4, 4, 3), np.float32),
         "item 1 of the images holds an array of float32 with shape (4, 4, 3)"),
    ],
)  # fmt: skip
def test_wrong_items(item, fact):
    assert message_of([level(0), item]) == f"{fact}; {EXPECTED}"


@pytest.mark.parametrize("source", [42, None, {"a": 1}, b"photos", (level(0) for _ in range(2))])
def test_wrong_sources(source):
    assert message_of(source) == (
        f"images cannot be a {type(source).__name__}; pass a folder, a list of paths or of PIL "
        "images, or a data set of (image, id)"
    )


def test_code_drawn_scenes_open_with_their_names():
    images = open_images(drawn_scenes(2, size=16))
    assert images.ids == ("scene-0000", "scene-0001")
