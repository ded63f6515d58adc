"""Tar files and WebDataset shards: what is in them, in which order, and what is wrong with them."""

import io
import pickle
import tarfile

import pytest
from pictures import level, message_of, numbers

from mimprobe.data.images import open_images
from mimprobe.data.sources import expanded
from mimprobe.errors import ImageError


def png(number):
    content = io.BytesIO()
    level(number).save(content, "PNG")
    return content.getvalue()


def pack(path, files, **options):
    """Write a tar file; a file that is a number is a picture that says it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in files.items():
            content = png(content) if isinstance(content, int) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path):
    """Three shards of two samples each, with a class and something else beside each picture."""
    for shard in range(3):
        files = {}
        for sample in (1, 0):
            number = 2 * shard + sample
            files[f"{number:04}.png"] = number
            files[f"{number:04}.cls"] = f"{number % 4}\n".encode()
            files[f"{number:04}.json"] = b"{}"
        pack(tmp_path / f"train-{shard:03}.tar", files)
    return tmp_path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_file(tmp_path, form):
    deep = "/".join(["a folder with a long name"] * 3) + "/c.png"
    path = pack(
        tmp_path / "photos.tar", {"b/2.png": 2, "./a/1.PNG": 1, deep: 3, "notes.txt": b"x"},
        format=form,
    )  # fmt: skip
    images = open_images(path)
    assert images.ids == ("a folder with a long name/a folder with a long name/"
                          "a folder with a long name/c.png", "a/1.PNG", "b/2.png")  # fmt: skip
    assert numbers(images) == [3, 1, 2]
    assert images.source == str(path)
    assert images.labels is None
    assert images.describe()["n"] == 3


def test_folders_in_a_tar_file_are_classes(tmp_path):
    path = pack(tmp_path / "photos.tar", {"dog/1.png": 1, "cat/2.png": 2, "cat/._3.png": b"x"})
    images = open_images(path)
    assert images.labels == ("cat", "dog")
    assert open_images(path, limit=1, seed=0).labels in (("cat",), ("dog",))


def test_links_within_a_tar_file_are_what_they_link_to(tmp_path):
    path = pack(tmp_path / "photos.tar", {"1.png": 1})
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("2.png")
        link.type, link.linkname = tarfile.LNKTYPE, "1.png"
        archive.addfile(link)
    assert numbers(open_images(path)) == [1, 1]


@pytest.mark.parametrize(
    "pattern", ["train-{000..002}.tar", "train-*.tar", "", "train-00{0,1,2}.tar"]
)
def test_shards_of_a_webdataset(shards, pattern):
    images = open_images(f"wds:{shards}/{pattern}")
    assert images.ids == tuple(f"train-{n // 2:03}.tar/{n:04}.png" for n in range(6))
    assert numbers(images) == list(range(6))
    assert images.labels == ("0", "1", "2", "3", "0", "1")
    some = open_images(f"wds:{shards}/{pattern}", limit=3, seed=1)
    assert some.labels == tuple(str(number % 4) for number in numbers(some))


def test_without_a_class_for_every_image_there_are_none(shards):
    pack(shards / "train-003.tar", {"0006.png": 6})
    assert open_images(f"wds:{shards}").labels is None


def test_a_list_of_images_is_known_by_names_and_sizes(shards):
    one, same = open_images(f"wds:{shards}"), open_images(f"wds:{shards}/train-*.tar")
    assert one.sha256 == same.sha256
    assert one.sha256 != open_images(f"wds:{shards}/train-{{000..001}}.tar").sha256


def test_several_processes_may_read(shards):
    images = pickle.loads(pickle.dumps(open_images(f"wds:{shards}")))
    assert numbers(images) == list(range(6))


def test_braces():
    assert expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expanded("{a,b}/{1..2}") == ["a/1", "a/2", "b/1", "b/2"]
    assert expanded("plain.tar") == ["plain.tar"]


def test_damaged_images_in_an_archive_are_named(tmp_path):
    path = pack(tmp_path / "photos.tar", {"1.png": 1, "2.png": png(2)[:45], "3.png": b""})
    images = open_images(path, skip_bad_images=True)
    with pytest.raises(ImageError, match=r"photos\.tar: 2\.png is truncated or damaged"):
        images.load(1)
    with pytest.raises(ImageError, match=r"photos\.tar: 3\.png is empty"):
        images.load(2)


def test_wrong_archives_are_one_clear_line(tmp_path):
    whole = pack(tmp_path / "whole.tar", {f"{n}.png": n for n in range(4)}).read_bytes()
    third = whole.index(b"2.png")
    cases = {
        "empty.tar": (b"", "is no whole tar file: empty file"),
        "text.tar": (b"hello" * 300, "is no whole tar file: "),
        "cut.tar": (whole[: third + 600], "is no whole tar file: unexpected end of data"),
        "header.tar": (
            whole[:third] + b"\xff" * 300 + whole[third + 300 :],
            f"is no whole tar file: damaged at byte {third:,} of {len(whole):,}",
        ),
        "nothing.tar": (pack(tmp_path / "n.tar", {}).read_bytes(), "holds no files; images end in"),
        "texts.tar": (
            pack(tmp_path / "t.tar", {"a.txt": b"x"}).read_bytes(),
            "holds 1 files, none of them an image; images end in",
        ),
    }
    for name, (content, told) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert told in message_of(tmp_path / name), name
        assert message_of(f"wds:{tmp_path}/{name}").startswith(f"{tmp_path}/{name} ")


def test_shards_that_are_not_there(tmp_path):
    pack(tmp_path / "train-000.tar", {"1.png": 1})
    assert message_of(f"wds:{tmp_path}/train-{{000..001}}.tar") == (
        f"no tar file at {tmp_path}/train-001.tar; did you mean {tmp_path}/train-000.tar?"
    )
    assert message_of(f"wds:{tmp_path}/val-*.tar") == f"no tar files at wds:{tmp_path}/val-*.tar"
    assert "fetch the shards first" in message_of("wds:https://example.org/a.tar")
    assert "use hfds:NAME" in message_of("hfids:imagenet")


def test_a_path_that_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wds:photos").mkdir()
    level(7).save(tmp_path / "wds:photos" / "a.png")
    assert numbers(open_images("wds:photos")) == [7]
