"""Image sets: what may be opened, what image i is, drawing, skipping, and the record of it."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import fill, level, message_of, numbers
from PIL import Image
from torch.utils.data import DataLoader

from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import ImageError, OptionError

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
        f"{archive} is a compressed archive; unpack it and name what comes out"
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
        "drawn_by_class": False, "skipped": [],
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
