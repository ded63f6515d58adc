"""Reconstructions as arrays: what is shown, hidden, painted and pasted."""

import numpy as np
import pytest
import torch
from PIL import Image

import mimprobe
from mimprobe.data.masks import random_mask
from mimprobe.errors import (
    CheckpointError,
    ImageError,
    NonFiniteError,
    NothingVisibleError,
    OptionError,
    UnknownNameError,
)

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def scenes():
    return mimprobe.drawn_scenes(3, size=64)


@pytest.fixture(scope="module")
def model():
    return mimprobe.load_model("simmim-tiny40", device="cpu")


@pytest.fixture(scope="module")
def shown(model, scenes):
    return mimprobe.reconstruct(model, scenes, device="cpu", seed=5)


def test_arrays_have_names_and_shapes(shown, scenes):
    assert (shown.model, shown.kind) == ("simmim-tiny40", "mim")
    assert shown.ids == tuple(name for _, name in scenes)
    assert shown.masking == "random mask, ratio 0.6, patches of 16 px"
    assert shown.pictures.shape == shown.output.shape == (3, 64, 64, 3)
    assert shown.mask.shape == (3, 8, 8)
    for number, (scene, _) in enumerate(scenes):
        np.testing.assert_allclose(shown.pictures[number], np.asarray(scene) / 255, atol=1e-6)


def test_masks_come_from_the_seed_and_the_number_of_the_image(shown, model, scenes):
    for number in range(3):
        expected = random_mask(
            (8, 8), cell=2, ratio=0.6, generator=np.random.default_rng((5, number))
        )
        assert (shown.mask[number] == expected).all()
    assert len({one.tobytes() for one in shown.mask}) == 3
    first = mimprobe.reconstruct(model, scenes[:1], device="cpu", seed=5)
    np.testing.assert_array_equal(first.output[0], shown.output[0])


def test_output_and_error_are_those_of_the_trainer(shown, model):
    """The mean error of an image is the training's loss of that image."""
    from mimprobe.experiments.painters import painter_of

    painter = painter_of(model).eval()
    for number in range(3):
        x = torch.from_numpy((shown.pictures[number] - MEAN) / STD).permute(2, 0, 1)[None].float()
        mask = torch.from_numpy(shown.mask[number])[None]
        with torch.no_grad():
            painted = painter.objective.reconstruct(x, mask)[0].permute(1, 2, 0).numpy()
            loss = painter.objective(x, mask).item()
        np.testing.assert_allclose(shown.output[number], np.clip(painted * STD + MEAN, 0, 1),
                                   atol=1e-5)  # fmt: skip
        assert shown.error[number] == pytest.approx(loss, rel=1e-4)


def test_masked_and_pasted_pictures(shown):
    for number in range(3):
        for y in range(0, 64, 5):
            for x in range(0, 64, 5):
                hidden = shown.mask[number, y // 8, x // 8]
                assert shown.hidden[number, y, x] == hidden
                grey = (shown.masked[number, y, x] == 0.5).all()
                source = shown.output if hidden else shown.pictures
                assert grey == hidden
                np.testing.assert_array_equal(shown.pasted[number, y, x], source[number, y, x])


def test_it_paints_better_than_the_mean_of_what_is_visible(model):
    """On other scenes than it was trained on: the model has learned something."""
    shown = mimprobe.reconstruct(model, mimprobe.drawn_scenes(16, size=64), device="cpu")
    flat = []
    for picture, hidden in zip(shown.pictures, shown.hidden, strict=True):
        guess = picture[~hidden].mean(0)
        flat.append((np.abs(picture - guess) / STD)[hidden].mean())
    assert shown.error.mean() < 0.85 * np.mean(flat)


def test_some_images_of_a_reconstruction(shown):
    one = shown.only([2])
    assert one.ids == shown.ids[2:]
    np.testing.assert_array_equal(one.pasted[0], shown.pasted[2])


def test_boxes_and_mask_images(model, scenes, tmp_path):
    boxed = mimprobe.reconstruct(model, scenes[:1], mask=(8, 0, 30, 9), device="cpu")
    assert np.argwhere(boxed.mask[0]).tolist() == [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3]]
    assert boxed.masking == "box 8 0 30 9"
    pixels = np.zeros((64, 64), np.uint8)
    pixels[0:9, 8:30] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    for mask in (tmp_path / "mask.png", str(tmp_path / "mask.png"), Image.fromarray(pixels)):
        found = mimprobe.reconstruct(model, scenes[:1], mask=mask, device="cpu")
        np.testing.assert_array_equal(found.output, boxed.output)


def test_a_mask_as_large_as_the_photo_is_cropped_like_it(model):
    """A wide photo loses its sides; so does its mask, or it would hide another place."""
    photo = Image.new("RGB", (192, 64), (120, 80, 40))
    mask = Image.new("L", (192, 64))
    mask.paste(255, (64, 0, 72, 8))  # the first patch of the middle third
    found = mimprobe.reconstruct(model, [(photo, "wide")], mask=mask, device="cpu")
    assert np.argwhere(found.mask[0]).tolist() == [[0, 0]]
    small = mask.resize((96, 64), Image.Resampling.NEAREST)  # of another size: stretched
    found = mimprobe.reconstruct(model, [(photo, "wide")], mask=small, device="cpu")
    assert np.argwhere(found.mask[0]).tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"mask": "blok"}, UnknownNameError, "did you mean 'block'?"),
        ({"mask": "nowhere.png"}, UnknownNameError, "also possible: a box, or an image file"),
        ({"mask": (0, 0, 64, 64)}, NothingVisibleError, "the box hides all patches"),
        ({"mask": (0, 0, 9, 9), "mask_ratio": 0.5}, OptionError, "belong to random, square, block"),
        ({"mask_patch": 12}, OptionError, "mask patch 12 px is not a multiple"),
        ({"mask_patch": 24}, OptionError, "does not divide into mask cells"),
        ({"mask_ratio": 1.0}, OptionError, "mask ratio 1 is not between 0 and 1"),
        ({"mask_ratio": 0.99}, NothingVisibleError, "hides all 16 mask patches"),
    ],
)
def test_bad_masks(model, scenes, changes, error, told):
    with pytest.raises(error) as caught:
        mimprobe.reconstruct(model, scenes, device="cpu", **changes)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "reference", ["timm:resnet18", "hf:facebook/vit-mae-base", "random:simmim-tiny40"]
)
def test_references_without_decoder_are_refused_before_anything_is_fetched(scenes, reference):
    with pytest.raises(CheckpointError, match=f"{reference} has no decoder"):
        mimprobe.reconstruct(reference, scenes)


def test_damaged_images_are_named_and_skipped_on_request(model, scenes, tmp_path):
    scenes[0][0].save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG damaged")
    with pytest.raises(ImageError, match=r"b\.png .*--skip-bad-images"):
        mimprobe.reconstruct(model, tmp_path, device="cpu")
    images = mimprobe.open_images(tmp_path, skip_bad_images=True)
    assert mimprobe.reconstruct(model, images, device="cpu").ids == ("a.png",)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match="none of the 1 images"):
        mimprobe.reconstruct(
            model, mimprobe.open_images(tmp_path, skip_bad_images=True), device="cpu"
        )


def test_a_broken_network_is_told(scenes):
    broken = mimprobe.load_model("simmim-tiny40", device="cpu")
    with torch.no_grad():
        broken.module.norm.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="painted NaN or infinity on image 'scene-0000'"):
        mimprobe.reconstruct(broken, scenes, device="cpu")
