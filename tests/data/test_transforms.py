"""Preprocessing: timm's own, as data, for every shape of input."""

import json
import tomllib

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image
from torch import nn

from mimprobe.data.transforms import CROP_MODES, INTERPOLATIONS, Preprocessing
from mimprobe.errors import CardError, OptionError, UnknownNameError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENTRIES = {
    "input_size": [192, 192],
    "mean": list(MEAN),
    "std": list(STD),
    "interpolation": "bicubic",
    "crop_pct": 0.9,
}


def photo(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(width * height)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "vit_base_patch16_224.mae", "deit_tiny_patch16_224",
     "swin_tiny_patch4_window7_224", "beit_base_patch16_224", "resnet50", "resnet50.tv_in1k",
     "convnext_atto"],
)  # fmt: skip
def test_equals_the_transform_of_timm(name):
    config = timm.get_pretrained_cfg(name).to_dict()
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))
    ours = Preprocessing.from_timm(config).transform()
    for image in (photo(300, 200), photo(180, 400), photo(32, 32)):
        assert torch.equal(ours(image), theirs(image))


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("vit_base_patch16_224", {"depth": 1, "embed_dim": 48}),
        ("beit_base_patch16_224", {"depth": 1, "embed_dim": 48}),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "embed_dim": 12, "num_heads": (1, 1)}),
        ("resnet50", {"layers": (1, 1, 1, 1)}),
    ],
)
def test_a_model_and_its_configuration_agree(name, small):
    model = timm.create_model(name, pretrained=False, num_classes=0, **small)
    preprocessing = Preprocessing.from_timm(model)
    assert preprocessing == Preprocessing.from_timm(model.pretrained_cfg)
    assert preprocessing.input_size == (224, 224)
    config = timm.data.resolve_model_data_config(model)
    theirs = timm.data.create_transform(**config)
    assert torch.equal(preprocessing.transform()(photo(99, 70)), theirs(photo(99, 70)))


@pytest.mark.parametrize(("asked", "size"), [(96, (96, 96)), ((96, 48), (96, 48))])
def test_a_model_built_for_another_size_gets_its_own(asked, size):
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=1, img_size=asked)
    preprocessing = Preprocessing.from_timm(model)
    assert preprocessing.input_size == size
    with torch.inference_mode():
        model(preprocessing.transform()(photo(80, 60))[None])


def test_values_by_hand():
    preprocessing = Preprocessing((8, 8), (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), "bilinear", 1.0)
    pixels = preprocessing.transform()(Image.new("RGB", (20, 10), (255, 0, 51)))
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == torch.float32
    for channel, value in zip(pixels, (1.0, -1.0, 0.2), strict=True):
        assert torch.allclose(channel, torch.tensor(value))


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize("size", [(224, 112), (112, 224), (64, 64), (5, 7)])
@pytest.mark.parametrize("shape", [(32, 32), (400, 100), (100, 400), (1, 1), (223, 225)])
def test_every_input_has_height_then_width(crop_mode, crop_pct, size, shape):
    preprocessing = Preprocessing(size, MEAN, STD, "bicubic", crop_pct, crop_mode)
    assert preprocessing.transform()(photo(*shape)).shape == (3, *size)


def test_non_square_input_keeps_proportions_and_the_centre():
    # A white square in the middle of a wide picture stays a square in the middle.
    picture = Image.new("RGB", (600, 300))
    picture.paste((255, 255, 255), (250, 100, 350, 200))
    preprocessing = Preprocessing((224, 112), (0.0,) * 3, (1.0,) * 3, "bilinear", 1.0)
    white = preprocessing.transform()(picture)[0] > 0.5
    rows, columns = white.any(1).nonzero().flatten(), white.any(0).nonzero().flatten()
    # 224 / 300 of 100 px
    assert len(rows) == pytest.approx(75, abs=1)
    assert len(columns) == pytest.approx(75, abs=1)
    assert rows.float().mean().item() == pytest.approx(111.5, abs=0.6)
    assert columns.float().mean().item() == pytest.approx(55.5, abs=0.6)


def test_centre_crop_shows_no_border():
    for size in ((224, 112), (112, 224), (192, 192)):
        preprocessing = Preprocessing(size, (0.0,) * 3, (1.0,) * 3, "bicubic", 0.9)
        for shape in ((31, 17), (1000, 333), (224, 112)):
            white = Image.new("RGB", shape, "white")
            assert preprocessing.transform()(white).min() == 1


def test_nothing_is_random():
    preprocessing = Preprocessing.from_dict(ENTRIES)
    first = preprocessing.transform()(photo(300, 200))
    torch.manual_seed(1)
    assert torch.equal(first, preprocessing.transform()(photo(300, 200)))


def test_equal_ones_hash_equally():
    one, other = Preprocessing.from_dict(ENTRIES), Preprocessing.from_dict(ENTRIES)
    assert {one: 1}[other] == 1
    assert one != Preprocessing.from_dict({**ENTRIES, "crop_pct": 1})


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_description_can_be_read_back(interpolation):
    one = Preprocessing((224, 112), MEAN, STD, interpolation, 0.9, "squash")
    assert one.describe() == {
        "input_size": [224, 112], "mean": list(MEAN), "std": list(STD),
        "interpolation": interpolation, "crop_pct": 0.9, "crop_mode": "squash",
    }  # fmt: skip
    assert Preprocessing.from_dict(json.loads(json.dumps(one.describe()))) == one
    one.transform()(photo(40, 30))


def test_section_of_a_card():
    section = tomllib.loads(
        "input_size = [224, 224]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n"
        'interpolation = "bilinear"\ncrop_pct = 1\n'
    )
    assert Preprocessing.from_dict(section) == Preprocessing(
        (224, 224), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", 1.0, "center"
    )


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"input_size": 224}, CardError,
         "input_size must be height and width in whole pixels, not 224"),
        ({"input_size": [3, 224, 224]}, CardError,
         "input_size must be height and width in whole pixels, not [3, 224, 224]"),
        ({"input_size": [224.0, 224]}, CardError,
         "input_size must be height and width in whole pixels, not [224.0, 224]"),
        ({"input_size": [224, 0]}, OptionError, "input_size must be positive, not (224, 0)"),
        ({"mean": 0.5}, CardError,
         "mean must be three numbers, for red, green and blue, not 0.5"),
        ({"mean": [0.5, 0.5]}, CardError,
         "mean must be three numbers, for red, green and blue, not [0.5, 0.5]"),
        ({"mean": [0.5, 0.5, "a"]}, CardError, "mean must be a number, not 'a'"),
        ({"mean": [123.7, 116.3, 103.5]}, OptionError,
         "mean is of pixels between 0 and 1, so it cannot be (123.7, 116.3, 103.5)"),
        ({"mean": [0.5, float("nan"), 0.5]}, OptionError,
         "mean is of pixels between 0 and 1, so it cannot be (0.5, nan, 0.5)"),
        ({"std": [0.2, 0.2, 0]}, OptionError,
         "std is of pixels between 0 and 1, so it cannot be (0.2, 0.2, 0.0)"),
        ({"std": [58.4, 57.1, 57.4]}, OptionError,
         "std is of pixels between 0 and 1, so it cannot be (58.4, 57.1, 57.4)"),
        ({"crop_pct": "90%"}, CardError, "crop_pct must be a number, not '90%'"),
        ({"crop_pct": True}, CardError, "crop_pct must be a number, not True"),
        ({"crop_pct": 90}, OptionError, "crop_pct must be above 0 and at most 1, not 90.0"),
        ({"crop_pct": 0}, OptionError, "crop_pct must be above 0 and at most 1, not 0.0"),
        ({"interpolation": "bicubik"}, UnknownNameError,
         "unknown interpolation 'bicubik'; did you mean 'bicubic'? (known: bicubic, bilinear, box, "
         "hamming, lanczos, nearest)"),
        ({"interpolation": "random"}, UnknownNameError,
         "unknown interpolation 'random' (known: bicubic, bilinear, box, hamming, lanczos, "
         "nearest)"),
        ({"crop_mode": "centre"}, UnknownNameError,
         "unknown crop mode 'centre'; did you mean 'center'? (known: border, center, squash)"),
        ({"crop_percentage": 1}, UnknownNameError,
         "unknown preprocessing entry 'crop_percentage'; did you mean 'crop_pct'? (known: "
         "crop_mode, crop_pct, input_size, interpolation, mean, std)"),
    ],
)  # fmt: skip
def test_wrong_entries(change, kind, message):
    with pytest.raises(kind) as caught:
        Preprocessing.from_dict({**ENTRIES, **change})
    assert str(caught.value) == message


def test_missing_entries():
    with pytest.raises(CardError, match="^preprocessing lacks mean, std$"):
        Preprocessing.from_dict(
            {key: value for key, value in ENTRIES.items() if key not in ("mean", "std")}
        )


def test_modules_from_elsewhere():
    with pytest.raises(OptionError) as caught:
        Preprocessing.from_timm(nn.Linear(2, 2))
    assert str(caught.value) == (
        "Linear does not say how images are prepared for it; pass transform= (PIL image to tensor)"
    )


def test_models_of_other_channels():
    config = {**timm.get_pretrained_cfg("resnet18").to_dict(), "input_size": (1, 28, 28)}
    with pytest.raises(OptionError, match="^the model takes images of 1 channels, not RGB$"):
        Preprocessing.from_timm(config)
