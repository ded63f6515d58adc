"""Which files are images, in which order, and what is said when there are none."""

import os
from pathlib import Path

import pytest

from mimprobe.data.listing import EXTENSIONS, check_exists, image_names, printable
from mimprobe.errors import ImageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def listed(root: Path) -> list[str]:
    return image_names(root)


def test_recursive_and_sorted_by_path(tmp_path):
    names = ["b/2.jpg", "b/10.jpg", "a.jpg", "a/z.png", "a/b/c.webp", "Z.jpg", "a-b/x.jpg"]
    touch(tmp_path, *names)
    assert listed(tmp_path) == sorted(names)


def test_extensions_in_either_case_and_nothing_else(tmp_path):
    touch(tmp_path, *(f"a{number}{end.upper()}" for number, end in enumerate(EXTENSIONS)))
    touch(tmp_path, "labels.csv", "a.jpg.txt", "jpg", "a.JPEG~", "notes")
    assert len(listed(tmp_path)) == len(EXTENSIONS)


def test_hidden_files_and_folders_are_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "b/.cache/c.jpg", ".jpg")
    assert listed(tmp_path) == ["a.jpg"]


def test_a_hidden_root_is_searched(tmp_path):
    touch(tmp_path, ".photos/a.jpg")
    assert listed(tmp_path / ".photos") == ["a.jpg"]


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path):
    touch(tmp_path, "foo.jpg/a.png", "b.jpg")
    assert listed(tmp_path) == ["b.jpg", "foo.jpg/a.png"]


def test_unusual_names(tmp_path):
    names = ["a b.jpg", "Ärger/日本語 🦋.jpg", "x" * 250 + ".jpg", 'quote\'s "%d".png']
    touch(tmp_path, *names)
    assert listed(tmp_path) == sorted(names)


def test_names_that_are_not_utf8_are_made_printable(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(b"x")
    assert printable(listed(tmp_path)[0]) == r"caf\xe9.jpg"


def test_links_to_files_and_folders_are_followed(tmp_path):
    touch(tmp_path, "elsewhere/a.jpg", "elsewhere/deep/b.jpg", "photos/c.jpg")
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/d.jpg").symlink_to(tmp_path / "elsewhere/a.jpg")
    assert listed(tmp_path / "photos") == ["c.jpg", "d.jpg", "linked/a.jpg", "linked/deep/b.jpg"]


def test_loops_of_links_are_harmless(tmp_path):
    touch(tmp_path, "outside.jpg", "photos/a.jpg", "photos/b/c.jpg")
    (tmp_path / "photos/b/up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/out").symlink_to(tmp_path)
    (tmp_path / "photos/self").symlink_to(tmp_path / "photos/self")
    assert listed(tmp_path / "photos") == ["a.jpg", "b/c.jpg"]


def test_a_linked_folder_is_listed_once_by_its_real_name(tmp_path):
    touch(tmp_path, "z/a.jpg")
    (tmp_path / "b").symlink_to(tmp_path / "z")
    (tmp_path / "zz").symlink_to(tmp_path / "z")
    assert listed(tmp_path) == ["z/a.jpg"]


def test_broken_links_are_listed_as_missing_images(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "b.txt").symlink_to(tmp_path / "gone")
    assert listed(tmp_path) == ["a.jpg", "b.jpg"]


def test_pipes_are_not_opened(tmp_path):
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    assert listed(tmp_path) == ["a.jpg"]


def message_of(call, *arguments) -> str:
    with pytest.raises(ImageError) as caught:
        call(*arguments)
    return str(caught.value)


def test_empty_folder(tmp_path):
    expected = f"{tmp_path} has no files; name a folder that holds images"
    assert message_of(image_names, tmp_path) == expected
    touch(tmp_path, ".hidden.jpg")
    assert message_of(image_names, tmp_path) == expected


def test_folder_without_images(tmp_path):
    touch(tmp_path, "a.txt", "b.txt", "c.csv", "deep/LICENSE")
    assert message_of(image_names, tmp_path) == (
        f"{tmp_path} has no images among its 4 files (2 .txt, 1 .csv, 1 no extension); image "
        f"files end in {', '.join(EXTENSIONS)}"
    )


def test_folder_with_many_kinds_of_files(tmp_path):
    touch(tmp_path, "a.a", "a.b", "a.c", "a.d", "a.e")
    assert "(1 .a, 1 .b, 1 .c, 1 .d, ...)" in message_of(image_names, tmp_path)


def test_folder_of_archives(tmp_path):
    touch(tmp_path, "train.tar.gz", "val.zip", "README.md")
    assert message_of(image_names, tmp_path) == (
        f"{tmp_path} has no images, only archives to unpack first (train.tar.gz, val.zip)"
    )


def test_missing_folder_names_the_nearest_one(tmp_path, monkeypatch):
    (tmp_path / "imagenet" / "val").mkdir(parents=True)
    assert message_of(check_exists, tmp_path / "imagnet" / "val", "image folder") == (
        f"no image folder at {tmp_path}/imagnet/val; did you mean {tmp_path}/imagenet?"
    )
    assert message_of(check_exists, tmp_path / "zzz", "image folder") == (
        f"no image folder at {tmp_path}/zzz; {tmp_path} has no zzz"
    )
    monkeypatch.chdir(tmp_path)
    assert message_of(check_exists, Path("imagenets"), "image folder") == (
        "no image folder at imagenets; did you mean imagenet?"
    )
    assert message_of(check_exists, Path("imagenet/test"), "image folder") == (
        f"no image folder at imagenet/test; {tmp_path}/imagenet has no test"
    )


def test_names_that_cannot_exist(tmp_path):
    for name in ("x" * 300, "nul\0byte"):
        assert message_of(check_exists, tmp_path / name, "image folder").startswith("no image fold")


def test_path_below_a_file(tmp_path):
    touch(tmp_path, "a.jpg")
    assert message_of(check_exists, tmp_path / "a.jpg" / "b", "image folder") == (
        f"no image folder at {tmp_path}/a.jpg/b; {tmp_path}/a.jpg has no b"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search everything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_forbidden_folder(tmp_path, mode):
    touch(tmp_path, "photos/closed/a.jpg")
    closed = tmp_path / "photos" / "closed"
    closed.chmod(mode)
    try:
        found = message_of(image_names, tmp_path / "photos")
        below = message_of(check_exists, closed / "a.jpg", "image folder")
    finally:
        closed.chmod(0o700)
    assert found == f"folder {closed} cannot be searched: Permission denied"
    assert below == f"{closed}/a.jpg cannot be read: Permission denied"


def test_a_result_inside_the_folder_is_no_source_of_images(tmp_path):
    touch(tmp_path, "a.jpg", "out/manifest.json", "out/per_image.npz", "out/figures/cka.png")
    assert listed(tmp_path) == ["a.jpg"]
    assert listed(tmp_path / "out") == ["figures/cka.png"]  # asked for by name
    (tmp_path / "out" / "per_image.npz").unlink()
    assert listed(tmp_path) == ["a.jpg", "out/figures/cka.png"]
