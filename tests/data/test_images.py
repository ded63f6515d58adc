"""Image sets: what may be opened, what image i is, drawing, skipping, and the record of it."""

import copy
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mimprobe.data.drawn import drawn_scenes
from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import ImageError, OptionError

EXPECTED = "expected PIL images, uint8 arrays (height, width, 3), pairs (image, id), or paths only"


def level(number: int) -> Image.Image:
    """A picture that says which one it is."""
    return Image.new("RGB", (4, 3), (number, 2 * number, 255 - number))


def fill(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        level(number).save(root / name)
    return root


def numbers(images) -> list[int]:
    return [image.getpixel((0, 0))[0] for image in images]


def message_of(source: object, **options) -> str:
    with pytest.raises(ImageError) as caught:
        open_images(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Pairs(Dataset):
    """A data set of (image, id) that counts how often it is read."""

    def __init__(self, size: int, *, name=lambda number: f"photo {number}") -> None:
        self.size, self.name, self.reads = size, name, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int):
        self.reads += 1
        return level(number), self.name(number)


class Damaged(Pairs):
    """A data set whose second image cannot be read."""

    def __getitem__(self, number: int):
        if number == 1:
            raise OSError("disk is on fire")
        return super().__getitem__(number)


# --- folders and files


def test_folder(tmp_path):
    images = open_images(fill(tmp_path, "a.png", "b/c.png", "d.png"))
    assert len(images) == 3
    assert images.ids == ("a.png", "b/c.png", "d.png")
    assert images.source == str(tmp_path)
    assert numbers(images) == [0, 1, 2]
    assert images[-1].getpixel((0, 0)) == (2, 4, 253)
    assert all(image.mode == "RGB" for image in images)
    with pytest.raises(IndexError):
        images[3]


def test_folder_as_text_and_from_home(tmp_path, monkeypatch):
    fill(tmp_path, "photos/a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_images("~/photos").ids == ("a.png",)
    monkeypatch.chdir(tmp_path)
    assert open_images("photos").source == "photos"
    fill(tmp_path, "~b.png")
    assert open_images("~b.png").ids == ("~b.png",)


def test_order_does_not_depend_on_when_files_were_made(tmp_path):
    first = fill(tmp_path / "one", "a.png", "b.png", "c/d.png")
    second = fill(tmp_path / "two", "c/d.png", "b.png", "a.png")
    assert open_images(first).ids == open_images(second).ids


def test_single_file(tmp_path):
    path = fill(tmp_path, "a.png") / "a.png"
    path = path.rename(tmp_path / "no extension")
    images = open_images(path)
    assert (images.ids, images.source, images.labels) == (("no extension",), str(path), None)
    assert numbers(images) == [0]


def test_single_files_that_are_no_images(tmp_path):
    table, archive = tmp_path / "labels.csv", tmp_path / "photos.tar.gz"
    table.write_text("name,class\n")
    archive.write_bytes(b"x")
    assert message_of(table) == f"{table} is not an image: it starts with b'name,class\\n'"
    assert message_of(archive) == (
        f"{archive} is an archive; unpack it and name the folder that comes out"
    )


def test_missing_folder(tmp_path):
    fill(tmp_path, "photos/a.png")
    assert message_of(tmp_path / "photo") == (
        f"no image folder at {tmp_path}/photo; did you mean {tmp_path}/photos?"
    )


def test_index_i_is_file_i_even_beside_damaged_files(tmp_path):
    fill(tmp_path, *(f"{number}.png" for number in range(5)))
    (tmp_path / "2.png").write_bytes(b"rubbish")
    images = open_images(tmp_path)
    assert images.ids[2] == "2.png"
    assert numbers(images.load(number) for number in (0, 1, 3, 4)) == [0, 1, 3, 4]
    with pytest.raises(ImageError, match=r"2\.png is not an image: it starts with b'rubbish'$"):
        images.load(2)


# --- lists of paths


def test_list_of_paths_keeps_its_order(tmp_path):
    fill(tmp_path, "a/x.png", "b/x.png", "b/c/y.png")
    images = open_images([tmp_path / "b/x.png", str(tmp_path / "a/x.png")])
    assert images.ids == ("b/x.png", "a/x.png")
    assert numbers(images) == [1, 0]
    assert images.source == f"2 files in {tmp_path}"
    assert images.labels is None
    assert open_images((tmp_path / "a/x.png",)).ids == ("x.png",)


def test_relative_paths(tmp_path, monkeypatch):
    fill(tmp_path, "a/x.png", "b/x.png")
    monkeypatch.chdir(tmp_path / "a")
    assert open_images(["x.png", "../b/x.png"]).ids == ("a/x.png", "b/x.png")


def test_links_in_a_list_keep_their_names(tmp_path):
    fill(tmp_path, "store/0.png")
    (tmp_path / "one.png").symlink_to(tmp_path / "store/0.png")
    assert open_images([tmp_path / "one.png"]).ids == ("one.png",)


def test_a_path_listed_twice_is_an_error(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "b.png")
    monkeypatch.chdir(tmp_path)
    assert message_of(["a.png", "b.png", str(tmp_path / "a.png")]) == (
        "2 of the 3 images have the id 'a.png'; list each file once"
    )


def test_wrong_lists_of_paths(tmp_path):
    good = fill(tmp_path, "a.png") / "a.png"
    assert message_of([good, tmp_path / "b.png"]) == (
        f"no file for item 1 of the list of images at {tmp_path}/b.png; did you mean "
        f"{tmp_path}/a.png?"
    )
    assert message_of([good, tmp_path]) == (
        f"item 1 of the list of images, {tmp_path}, is a folder; pass one folder by itself, or "
        "list the files"
    )
    assert message_of([good, level(0)]) == "item 1 of a list of paths is a Image"
    assert message_of([]) == "the list of images is empty"
    assert message_of(()) == "the tuple of images is empty"


# --- images in memory and data sets


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


# --- classes


def test_class_folders_are_labels(tmp_path):
    fill(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    assert open_images(tmp_path).labels == ("cat", "cat", "dog")
    drawn = open_images(tmp_path, limit=2)
    assert drawn.labels == tuple(name.split("/")[0] for name in drawn.ids)


@pytest.mark.parametrize(
    "names",
    [("a.png", "b.png"), ("cat/1.png", "b.png"), ("train/cat/1.png", "val/cat/1.png")],
)
def test_other_layouts_have_no_labels(tmp_path, names):
    assert open_images(fill(tmp_path, *names)).labels is None


# --- drawing


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 60), limit=st.integers(1, 80), seed=st.integers(0, 2**32))
def test_a_draw_is_ordered_distinct_and_repeatable(size, limit, seed):
    pictures = [level(number) for number in range(size)]
    images = open_images(pictures, limit=limit, seed=seed)
    assert len(images) == min(size, limit)
    assert list(images.ids) == sorted(set(images.ids))
    assert open_images(pictures, limit=limit, seed=seed).ids == images.ids


def test_a_draw_is_spread_over_the_whole_folder(tmp_path):
    fill(tmp_path, *(f"{number:03d}.png" for number in range(200)))
    images = open_images(tmp_path, limit=50)
    assert images.ids != open_images(tmp_path).ids[:50]
    assert images.ids != open_images(tmp_path, limit=50, seed=1).ids
    assert sum(name > "100.png" for name in images.ids) in range(12, 38)
    assert numbers(images) == [int(name[:3]) for name in images.ids]


@pytest.mark.parametrize("limit", [0, -1])
def test_limits_below_one(limit):
    with pytest.raises(OptionError, match=f"^limit must be at least 1, not {limit}$"):
        open_images([level(0)], limit=limit)


def test_negative_seed():
    with pytest.raises(OptionError, match=r"^seed must not be negative, as -1 is$"):
        open_images([level(0)], seed=-1)


# --- an image set opened again


def test_an_image_set_is_returned_as_it_is():
    images = open_images([level(0), level(1)], skip_bad_images=True)
    assert open_images(images) is images
    assert open_images(images, seed=3) is images


def test_arguments_apply_to_an_image_set():
    images = open_images([level(number) for number in range(9)])
    fewer = open_images(images, limit=4, seed=5, skip_bad_images=True)
    assert len(images) == 9
    assert fewer.ids == open_images([level(number) for number in range(9)], limit=4, seed=5).ids
    assert fewer.skip_bad_images
    assert not images.skip_bad_images
    least = open_images(fewer, limit=2)
    assert set(least.ids) < set(fewer.ids)
    assert numbers(least) == [int(name[-5:]) for name in least.ids]


# --- skipping


def walk(images: ImageSet) -> list[int]:
    """What every loop over images does."""
    good = []
    for number in range(len(images)):
        try:
            good.append(images.load(number).getpixel((0, 0))[0])
        except ImageError as error:
            images.skip(number, error)
    return good


def test_skipping_is_recorded_by_number(tmp_path):
    fill(tmp_path, *(f"{number}.png" for number in range(5)))
    for number in (1, 3):
        (tmp_path / f"{number}.png").write_bytes(b"")
    images = open_images(tmp_path, skip_bad_images=True)
    assert walk(images) == [0, 2, 4]
    assert walk(images) == [0, 2, 4]
    assert images.skipped == {
        number: f"{tmp_path}/{number}.png is empty (0 bytes)" for number in (1, 3)
    }
    described = images.describe()
    assert described["n"] == 3
    assert described["skipped"] == [
        {"image": f"{number}.png", "reason": f"{tmp_path}/{number}.png is empty (0 bytes)"}
        for number in (1, 3)
    ]


def test_without_skipping_the_first_bad_image_stops(tmp_path):
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "b.png").write_bytes(b"")
    images = open_images(tmp_path)
    with pytest.raises(ImageError) as caught:
        walk(images)
    assert str(caught.value) == (
        f"{tmp_path}/b.png is empty (0 bytes); pass --skip-bad-images (skip_bad_images=True) to "
        "leave out such images"
    )
    assert images.skipped == {}


def test_skipping_from_many_threads():
    images = open_images([level(0)] * 200, skip_bad_images=True)
    threads = [
        threading.Thread(target=images.skip, args=(number, ImageError(f"bad {number}")))
        for number in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert images.skipped == {number: f"bad {number}" for number in range(200)}


def test_errors_and_sets_travel_between_processes(tmp_path):
    fill(tmp_path, "a.png")
    for images in (open_images(tmp_path), open_images([(level(0), "a.png")])):
        travelled = pickle.loads(pickle.dumps(images))
        assert (travelled.ids, travelled.sha256) == (images.ids, images.sha256)
        assert numbers(travelled) == [0]
    assert str(pickle.loads(pickle.dumps(ImageError("x is empty")))) == "x is empty"


def test_a_loader_of_torch_takes_an_image_set(tmp_path):
    images = open_images(fill(tmp_path, "a.png", "b.png", "c.png"))
    loaded = DataLoader(images, batch_size=2, collate_fn=list)
    assert [numbers(batch) for batch in loaded] == [[0, 1], [2]]


# --- the record


def test_record_of_a_folder(tmp_path):
    images = open_images(fill(tmp_path, "a.png", "b.png"))
    assert images.describe() == {
        "source": str(tmp_path), "n": 2, "sha256": images.sha256, "limit": None, "seed": None,
        "skipped": [],
    }  # fmt: skip
    drawn = open_images(tmp_path, limit=1, seed=4).describe()
    assert (drawn["n"], drawn["limit"], drawn["seed"]) == (1, 1, 4)
    assert repr(images) == f"<ImageSet of 2 images from {tmp_path}>"


def test_hash_follows_names_and_sizes(tmp_path):
    first = open_images(fill(tmp_path / "one", "a.png", "b.png"))
    second = open_images(fill(tmp_path / "two", "a.png", "b.png"))
    assert first.sha256 == second.sha256
    assert len(first.sha256) == 64
    (tmp_path / "two/b.png").write_bytes(b"other")
    assert open_images(tmp_path / "two").sha256 != first.sha256
    (tmp_path / "one/b.png").rename(tmp_path / "one/c.png")
    assert open_images(tmp_path / "one").sha256 != first.sha256


def test_hash_follows_names_and_pixels_in_memory():
    hashes = {
        open_images(items).sha256
        for items in (
            [(level(0), "a"), (level(1), "b")],
            [(level(0), "a"), (level(2), "b")],
            [(level(0), "a"), (level(1), "c")],
            [(level(1), "b"), (level(0), "a")],
            [(level(0).resize((3, 4)), "a"), (level(1), "b")],
        )
    }
    assert len(hashes) == 5
    same = [(np.asarray(level(0)), "a"), (level(1), "b")]
    assert open_images(same).sha256 in hashes


def test_notebook_view(tmp_path):
    fill(tmp_path, *(f"<{number}>.png" for number in range(12)))
    (tmp_path / "<1>.png").write_bytes(b"")
    images = open_images(tmp_path, limit=10)
    page = images._repr_html_()
    assert "<b>10 images</b>" in page
    assert "drawn with seed 0" in page
    assert page.count("<figure") == 8
    assert page.count('src="data:image/jpeg;base64,') + page.count("unreadable") == 8
    assert "<0>" not in page
    assert "http" not in page
    assert images.skipped == {}


def test_notebook_view_leaves_large_pictures_alone():
    images = open_images([Image.new("RGB", (500, 300))])
    assert len(images._repr_html_()) < 3000
    assert images[0].size == (500, 300)
    assert copy.copy(images)[0].size == (500, 300)
