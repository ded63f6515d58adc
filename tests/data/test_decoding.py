"""Every kind of image file, against pixel values worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import encoded, grey, saved
from PIL import Image, ImageOps

from mimprobe.data.decoding import decode, decode_file
from mimprobe.errors import ImageError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP_RAMP = RAMP.astype(np.uint16) * 257


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def png(colour_type: int, depth: int, rows: list[bytes], width: int, *chunks: tuple) -> bytes:
    """Write a PNG chunk by chunk: Pillow cannot write 16-bit colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    middle = b"".join(chunk(*each) for each in chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IDAT", packed)
        + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.gif"])
def test_rgb_of_lossless_formats_is_exact(tmp_path, name):
    colours = np.zeros((4, 5, 3), dtype=np.uint8)
    colours[0, 0], colours[3, 4], colours[1, 2] = (255, 0, 0), (1, 2, 3), (9, 200, 77)
    path = saved(tmp_path / name, Image.fromarray(colours))
    assert np.array_equal(pixels(decode_file(path)), colours)


def test_lossless_webp_is_exact(tmp_path):
    path = saved(tmp_path / "a.webp", Image.fromarray(grey(RAMP)), lossless=True)
    assert np.array_equal(pixels(decode_file(path)), grey(RAMP))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.bmp", "a.gif"])
def test_grey_becomes_three_equal_channels(tmp_path, name):
    path = saved(tmp_path / name, Image.fromarray(RAMP))
    assert np.array_equal(pixels(decode_file(path)), grey(RAMP))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pbm", "a.bmp"])
def test_one_bit_is_black_and_white(tmp_path, name):
    bits = np.array([[True, False, True], [False, False, True]])
    path = saved(tmp_path / name, Image.fromarray(bits))
    assert np.array_equal(pixels(decode_file(path)), grey(np.where(bits, 255, 0)))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_ramp_is_scaled_not_clipped(tmp_path, name):
    path = saved(tmp_path / name, Image.fromarray(DEEP_RAMP))
    with Image.open(path) as raw:
        assert raw.mode == "I;16"
    assert np.array_equal(pixels(decode_file(path)), grey(RAMP))


def test_sixteen_bits_through_mode_i(tmp_path):
    path = saved(tmp_path / "a.pgm", Image.fromarray(DEEP_RAMP))
    with Image.open(path) as raw:
        assert raw.mode == "I"
    assert np.array_equal(pixels(decode_file(path)), grey(RAMP))
    wide = saved(tmp_path / "a.tif", Image.fromarray(DEEP_RAMP.astype(np.int32)))
    assert np.array_equal(pixels(decode_file(wide)), grey(RAMP))


def test_big_endian_sixteen_bits():
    image = Image.frombytes("I;16B", (16, 16), DEEP_RAMP.astype(">u2").tobytes())
    assert np.array_equal(pixels(decode(image)), grey(RAMP))


@settings(deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=1, max_size=64))
@example([0, 128, 129, 256, 257, 65406, 65407, 65535])
def test_sixteen_bit_values_are_divided_by_257_and_rounded(values):
    image = Image.fromarray(np.array([values], dtype=np.uint16))
    expected = np.rint(np.array([values]) / 257)
    assert np.array_equal(pixels(decode(image))[..., 0], expected)


def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path):
    row = struct.pack(">6H", 0x1234, 0xFFFF, 0x0101, 0x8080, 0, 0xFE00)
    (tmp_path / "a.png").write_bytes(png(2, 16, [row], 2))
    assert pixels(decode_file(tmp_path / "a.png")).tolist() == [[[18, 255, 1], [128, 0, 254]]]


def test_sixteen_bit_grey_with_alpha(tmp_path):
    row = struct.pack(">4H", 0x4040, 0xFFFF, 0x4040, 0)
    (tmp_path / "a.png").write_bytes(png(4, 16, [row], 2))
    assert pixels(decode_file(tmp_path / "a.png")).tolist() == [[[64] * 3, [255] * 3]]


def test_sixteen_bit_transparent_value_is_white(tmp_path):
    content = png(0, 16, [struct.pack(">3H", 514, 257, 515)], 3, (b"tRNS", struct.pack(">H", 514)))
    (tmp_path / "a.png").write_bytes(content)
    assert pixels(decode_file(tmp_path / "a.png"))[..., 0].tolist() == [[255, 1, 2]]


def test_floating_point_between_zero_and_one(tmp_path):
    values = RAMP.astype(np.float32) / 255
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    assert np.array_equal(pixels(decode_file(path)), grey(RAMP))


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        (np.array([[0, 255]], np.float32),
         "has floating-point values from 0 to 255; convert it to 8 or 16 bits, or to the range "
         "0 to 1"),
        (np.array([[0.5, np.nan]], np.float32),
         "has floating-point values from nan to nan; convert it to 8 or 16 bits, or to the range "
         "0 to 1"),
        (np.array([[-1, 70000]], np.int32),
         "has whole values from -1 to 70000; convert it to 8 or 16 bits, or to the range "
         "0 to 65535"),
    ],
)  # fmt: skip
def test_numbers_without_a_known_range_are_refused(tmp_path, values, fact):
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    with pytest.raises(ImageError) as caught:
        decode_file(path)
    assert str(caught.value) == f"{path} {fact}"


def test_cmyk_jpeg_as_adobe_writes_it(tmp_path):
    # Pillow writes the Adobe marker and inverted inks: full cyan must come back as cyan.
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (255, 0, 0, 0)), quality=100)
    assert b"Adobe" in path.read_bytes()
    assert np.all(pixels(decode_file(path)) == (0, 255, 255))
    black = saved(tmp_path / "b.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 255)), quality=100)
    assert np.all(pixels(decode_file(black)) == 0)


def test_cmyk_tiff(tmp_path):
    path = saved(tmp_path / "a.tif", Image.new("CMYK", (2, 2), (0, 255, 0, 0)))
    assert np.all(pixels(decode_file(path)) == (255, 0, 255))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_transparency_is_laid_over_white(tmp_path, name):
    colours = np.array([[[200, 0, 100, a] for a in (0, 1, 51, 128, 254, 255)]], dtype=np.uint8)
    path = saved(tmp_path / name, Image.fromarray(colours), lossless=True, exact=True)
    share = colours[..., 3:] / 255
    expected = np.rint(colours[..., :3] * share + 255 * (1 - share))
    assert np.array_equal(pixels(decode_file(path)), expected)


def test_grey_with_alpha(tmp_path):
    values = np.array([[[40, 0], [40, 255], [40, 128]]], dtype=np.uint8)
    path = saved(tmp_path / "a.png", Image.frombytes("LA", (3, 1), values.tobytes()))
    assert pixels(decode_file(path))[..., 0].tolist() == [[255, 40, 147]]


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 8, 7])
    path = saved(tmp_path / "a.png", image)
    assert pixels(decode_file(path)).tolist() == [[[255, 0, 0], [0, 255, 0], [9, 8, 7]]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_palette_with_a_transparent_entry(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 8, 7])
    path = saved(tmp_path / "a.png", image, transparency=transparency)
    assert pixels(decode_file(path)).tolist() == [[[255, 0, 0], [255, 255, 255], [9, 8, 7]]]


def test_palette_with_half_transparent_entries(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    path = saved(tmp_path / "a.png", image, transparency=bytes([51, 255]))
    assert pixels(decode_file(path)).tolist() == [[[255, 204, 204], [0, 255, 0]]]


@pytest.mark.parametrize(("mode", "hidden"), [("1", 0), ("L", 7), ("RGB", (1, 2, 3))])
def test_one_transparent_colour(tmp_path, mode, hidden):
    path = saved(tmp_path / "a.png", Image.new(mode, (2, 2), hidden), transparency=hidden)
    assert np.all(pixels(decode_file(path)) == 255)


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_alpha(mode):
    bands = 2 if mode == "La" else 4
    image = Image.frombytes(mode, (2, 1), bytes([100] * (bands - 1) + [255] + [0] * bands))
    assert pixels(decode(image)).tolist() == [[[100] * 3, [255] * 3]]


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "LAB", "RGBX", "PA"])
def test_rare_modes_become_rgb(mode):
    assert decode(Image.new(mode, (2, 3))).size == (2, 3)
    assert decode(Image.new(mode, (2, 3))).mode == "RGB"


CORNERS = np.array([[10, 20, 30], [40, 50, 60]], dtype=np.uint8)
HELD = {  # What is stored when the picture CORNERS is held as each orientation says.
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.T,
    6: np.rot90(CORNERS, 1),
    7: CORNERS[::-1, ::-1].T,
    8: np.rot90(CORNERS, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "deep.png", "palette.png"])
def test_all_orientations_come_out_upright(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(HELD[orientation]))
    if name == "deep.png":
        stored = Image.fromarray(np.ascontiguousarray(HELD[orientation]).astype(np.uint16) * 257)
    if name == "palette.png":
        stored.putpalette([level for level in range(256) for _ in range(3)])
    path = saved(tmp_path / name, stored, exif=exif, lossless=True)
    assert np.array_equal(pixels(decode_file(path)), grey(CORNERS))
    with Image.open(io.BytesIO(path.read_bytes())) as raw:
        assert np.array_equal(ImageOps.exif_transpose(raw).convert("L").size, CORNERS.shape[::-1])


def test_orientation_of_a_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.new("L", (64, 32))
    stored.paste(255, (0, 0, 32, 32))
    picture = decode_file(saved(tmp_path / "a.jpg", stored, exif=exif, quality=95))
    # The left half of what is stored is the upper half of what was seen.
    assert picture.size == (32, 64)
    assert pixels(picture)[:32].min() > 250
    assert pixels(picture)[32:].max() < 5


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_unknown_orientations_are_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(CORNERS), exif=exif)
    assert np.array_equal(pixels(decode_file(path)), grey(CORNERS))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\x09\0"]
)
def test_damaged_exif_does_not_matter(tmp_path, exif):
    path = saved(tmp_path / "a.webp", Image.fromarray(grey(CORNERS)), exif=exif, lossless=True)
    assert np.array_equal(pixels(decode_file(path)), grey(CORNERS))


def test_metadata_are_left_behind(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = saved(tmp_path / "a.png", Image.fromarray(CORNERS), exif=exif, icc_profile=b"x" * 200)
    picture = decode_file(path)
    # Whoever applies the orientation again must find none.
    assert picture.info == {}
    assert 0x0112 not in picture.getexif()


def test_first_frame_counts(tmp_path):
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    for name in ("a.gif", "a.tif", "a.png", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **options)
        assert np.all(pixels(decode_file(path)) == 10), name


def test_the_content_decides_not_the_name(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(Image.fromarray(RAMP), "PNG"))
    assert np.array_equal(pixels(decode_file(path)), grey(RAMP))


def test_an_image_in_memory_is_left_as_it_was():
    image = Image.fromarray(grey(RAMP))
    image.info["comment"] = "mine"
    picture = decode(image)
    picture.paste(0, (0, 0, 16, 16))
    assert image.info == {"comment": "mine"}
    assert np.array_equal(np.asarray(image), grey(RAMP))
