"""Files that are no image, or a damaged, forbidden or dangerous one: one clear line each."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, grey, saved
from PIL import Image, ImageFile

from mimprobe.data.decoding import decode_file
from mimprobe.errors import ImageError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def message_of(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        decode_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_truncated_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG")
    path.write_bytes(content[: len(content) // 2])
    start = f"{path} is truncated or damaged: image file is truncated ("
    assert message_of(path).startswith(start)


def test_jpeg_cut_in_its_header(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(Image.fromarray(RAMP), "JPEG")[:30])
    assert message_of(path).startswith(f"{path} is truncated or damaged: ")


def test_png_with_a_flipped_byte(tmp_path):
    path = tmp_path / "a.png"
    content = bytearray(encoded(Image.fromarray(RAMP), "PNG"))
    content[-20] ^= 0xFF
    path.write_bytes(content)
    assert message_of(path).startswith(f"{path} is truncated or damaged: ")


def test_web_page_named_jpg(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("<!DOCTYPE html>\n<html>Not found</html>")
    assert message_of(path) == f"{path} is not an image: it starts with b'<!DOCTYPE html>\\n'"


def test_empty_file(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    assert message_of(path) == f"{path} is empty (0 bytes)"


def test_formats_that_start_programs_are_not_opened(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(Image.new("RGB", (8, 8)), "EPS"))
    assert message_of(path).startswith(f"{path} is not an image: it starts with b'%!PS-Adobe")


def test_missing_file_folder_and_broken_link(tmp_path):
    path = tmp_path / "a.jpg"
    assert message_of(path) == f"{path} cannot be read: No such file or directory"
    path.symlink_to(tmp_path / "gone.jpg")
    assert message_of(path) == f"{path} cannot be read: No such file or directory"
    (tmp_path / "b.jpg").mkdir()
    assert message_of(tmp_path / "b.jpg").endswith("b.jpg cannot be read: Is a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    path.chmod(0)
    assert message_of(path) == f"{path} cannot be read: Permission denied"


@pytest.mark.parametrize("limit", [100, 150])
def test_decompression_bombs(tmp_path, monkeypatch, limit):
    # 256 pixels are more than twice the first limit, which is Pillow's error, and more than once
    # the second, which is only its warning.
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert message_of(path) == f"{path} is too large to be safe: more than {limit} pixels"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_that_is_only_a_warning(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    assert message_of(path) == f"{path} is too large to be safe: more than 150 pixels"


def test_the_limit_may_be_switched_off(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_file(path).size == (16, 16)


def test_settings_of_pillow_stay_as_they_are(tmp_path):
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    path = saved(tmp_path / "a.jpg", Image.fromarray(RAMP))
    decode_file(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ImageError):
        decode_file(path)
    after = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    assert after == before
    assert before[0] is False


SEEDS = [
    encoded(Image.fromarray(grey(RAMP)), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF")
]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_bytes_give_a_picture_or_an_image_error(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        outcome = decode_file(path).mode
    except ImageError as error:
        outcome = str(error)
    assert outcome == "RGB" or (outcome.startswith(f"{path} ") and "\n" not in outcome)
