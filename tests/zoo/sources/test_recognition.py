"""What `recognise` and `load_model(path)` make of a file that nobody described."""

from functools import cache

import pytest
import torch
from zoo.sources.full_size import REAL, H, sized
from zoo.sources.made_files import (
    HALVES,
    IMAGENET,
    UNIT,
    as_file,
    inside,
    load,
    numbers,
    without_memory,
    write,
)
from zoo.sources.resnet_formats import resnet, simclr
from zoo.sources.swin_formats import mmpretrain_swin
from zoo.sources.vit_formats import linear, moco_v3, under, vit

from mimprobe.errors import CheckpointError, MimprobeError
from mimprobe.zoo.convert import CONVERTERS
from mimprobe.zoo.recognise import describe, recognise, refusal
from mimprobe.zoo.shelf import find_card

ASKS_FOR_HEADS = ("deit_small", "dino_vit_small")
"""Plain names at width 384: 6 heads in these, 12 in MoCo v3's linear probes."""

SOURCES = {
    "moco_v1": ("MoCo v1 or v2", "contrastive"),
    "moco_v2": ("MoCo v1 or v2", "contrastive"),
    "moco_v3": ("MoCo v3", "contrastive"),
    "simclr": ("SimCLR", "contrastive"),
    "beit": ("BEiT", "mim"),
    "swin": ("Swin", "other"),
    "deit": ("plain names", "other"),
    "dino": ("plain names", "other"),
}


WINDOWS = {
    "swin_base": 7, "swinv2_base_window8_256": 8, "swinv2_base_window16_256": 16,
    "simmim_swin_base_100ep": 6, "simmim_swin_base_100ep_finetuned_192": 6,
    "simmim_swin_base_100ep_finetuned_224": 7, "simmim_swin_large_800ep_finetuned": 14,
}  # fmt: skip
"""Of the Swins; of all others 12."""


def expected_source(name):
    if name.startswith("simmim"):
        if "finetuned" not in name:
            return "SimMIM pre-training", "mim"
        return ("Swin" if "swin" in name else "plain names"), "other"
    if name.startswith("mae"):
        decoder = name.endswith(("_full", "_visualize"))
        return ("MAE with its decoder", "mim") if decoder else ("plain names", "other")
    return next(value for start, value in SOURCES.items() if name.startswith(start))


def file_of(name):
    """The real file, without numbers; SimCLR's in the memory order that its converter leaves."""
    tensors = without_memory(REAL[name].shapes)
    if name.startswith("simclr"):
        tensors = {
            key: tensor.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
            if tensor.ndim == 4 else tensor
            for key, tensor in tensors.items()
        }  # fmt: skip
    return as_file(tensors)


def distinct():
    """One card for each different file."""
    found = {}
    for name, real in REAL.items():
        found.setdefault(tuple(real.shapes.items()), name)
    return [name for name in found.values() if name not in ASKS_FOR_HEADS]


@cache
def recognised(name):
    return recognise(file_of(name))


@pytest.mark.parametrize("name", distinct())
def test_a_public_file_is_recognised_as_its_card_says(name):
    """That the network fits the file whole is checked by `recognise` itself."""
    card, real, found = find_card(name), REAL[name], recognised(name)
    assert len(found.choices) == 1
    arguments = found.network.arguments
    heads = arguments.get("num_heads", 0)
    assert (heads if isinstance(heads, tuple) else (heads,)) == real.heads
    assert (found.network.heads or (0,)) == real.heads
    assert found.network.prefix_tokens == real.prefix
    assert found.preprocessing.input_size == card.preprocessing.input_size
    for key in ("img_size", "num_classes", "width", "global_pool"):
        if key in card.arguments and not name.startswith("simclr"):
            assert arguments[key] == card.arguments[key]
    if "swin" in name:
        assert arguments["window_size"] == WINDOWS.get(name, 12)


@pytest.mark.parametrize("name", [*distinct(), "moco_v2_resnet50_800ep"])
def test_a_public_file_is_of_its_source_and_prepared_as_its_card_says(name):
    found, (source, kind) = recognised(name), expected_source(name)
    assert (found.source[: len(source)], found.kind) == (source, kind)
    found, card = found.preprocessing, find_card(name).preprocessing
    assert (found.mean, found.std) == (card.mean, card.std)
    if source != "plain names":
        assert found == card


@pytest.mark.parametrize("name", ASKS_FOR_HEADS)
def test_a_plain_vit_small_is_refused_with_its_candidates(name):
    file, found = file_of(name), recognised(name)
    assert [choice.heads for choice in found.choices] == [(6,), (12,)]
    told = refusal(file, found)
    assert '"num_heads": 6' in told
    assert '"num_heads": 12' in told
    assert "\n" not in told
    for heads in (6, 12):
        (settled,) = recognise(file, {"num_heads": heads}).choices
        assert settled.arguments["num_heads"] == heads


@pytest.mark.parametrize("name", ["deit_base", "mae_vit_base", "moco_v3_vit_small"])
def test_heads_that_no_shape_tells_are_told_as_assumed(name):
    told = recognised(name).assumed
    assert any("12 heads" in sentence for sentence in told)


@pytest.mark.parametrize("name", ["swin_base", "simmim_swin_base_800ep", "simmim_vit_base"])
def test_heads_that_the_shapes_tell_are_not_called_assumed(name):
    assert not any("heads" in sentence for sentence in recognised(name).assumed)


def test_moco_v3s_linear_probes():
    shapes = under("module.", vit(width=768, depth=12, grid=14, heads=linear("head", 768, 1000)))
    found = recognise(as_file(without_memory(shapes)))
    assert (found.source, found.converter) == ("DataParallel", "data_parallel")
    assert (found.network.architecture, found.network.heads) == ("vit_base_patch16_224", (12,))
    small = under("module.", vit(width=384, depth=12, grid=14, heads=linear("head", 384, 1000)))
    assert len(recognise(as_file(without_memory(small))).choices) == 2
    net = under("module.", resnet(top=linear("fc", 2048, 1000)))
    found = recognise(as_file(without_memory(net)))
    assert found.network.architecture == "resnet50"
    assert found.network.arguments["num_classes"] == 1000


def test_a_full_checkpoint_of_dino():
    for prefix in ("backbone.", "module.backbone."):
        found = recognise(as_file(without_memory(under(prefix, REAL["dino_vit_small"].shapes))))
        assert (found.source[:4], found.network.heads) == ("DINO", (6,))


@pytest.mark.parametrize(("width", "heads", "window"), [(128, 4, 6), (192, 6, 12)])
def test_mmpretrains_swin(width, heads, window):
    found = recognise(as_file(without_memory(mmpretrain_swin(sized(width, heads, window, 192)))))
    assert found.source == "mmpretrain's SimMIM (Swin)"
    assert found.kind == "mim"
    assert found.network.heads == (heads, 2 * heads, 4 * heads, 8 * heads)
    assert found.network.arguments["window_size"] == window
    assert found.preprocessing.input_size == (192, 192)


def test_swinv2_without_its_stored_tables_is_refused_with_its_candidates():
    shapes = {
        name: shape for name, shape in REAL["swinv2_base_window8_256"].shapes.items()
        if not name.endswith(("attn_mask", "relative_coords_table", "relative_position_index"))
    }  # fmt: skip
    file = as_file(without_memory(shapes))
    found = recognise(file)
    windows = [
        (choice.arguments["img_size"], choice.arguments["window_size"]) for choice in found.choices
    ]
    assert windows == [(256, 8), (256, 16), (192, 12)]
    assert all(f'"window_size": {window}' in refusal(file, found) for _, window in windows)
    (settled,) = recognise(file, {"window_size": 16}).choices
    assert settled.arguments["window_size"] == 16


@pytest.mark.parametrize(
    ("name", "part", "shape"),
    [
        ("swinv2_base_window8_256", "layers.0.blocks.0.attn.relative_coords_table", (1, 7, 7, 2)),
        ("swinv2_base_window8_256", "layers.0.blocks.0.attn.relative_coords_table",
         (1, 1, 15, 15, 2)),
        ("swinv2_base_window8_256", "layers.0.blocks.1.attn_mask", (128, 64, 64)),
        ("swinv2_base_window8_256", "layers.0.blocks.1.attn_mask", (16, 64, 64)),
        ("swin_base", "layers.0.blocks.1.attn_mask", (128, 49, 49)),
        ("swin_base", "layers.0.blocks.1.attn_mask", (256, 49, 49)),
        ("simmim_swin_large_800ep", "encoder.layers.0.blocks.1.attn_mask", (17, 144, 144)),
    ],
)  # fmt: skip
def test_stored_tables_that_contradict_each_other_are_no_guide(name, part, shape):
    """They alone tell a SwinV2's window and a Swin's input size: one wrong table, another net."""
    real = REAL[name].shapes
    assert part in real
    with pytest.raises(CheckpointError):
        recognise(as_file(without_memory({**real, part: shape})))


def test_vit_huge_has_patches_of_14_pixels():
    found = recognise(as_file(without_memory(vit(**H))))
    assert found.network.arguments["patch_size"] == 14
    assert found.network.heads == (16,)


@pytest.mark.parametrize("width", [2, 4])
def test_a_wide_resnet_is_simclrs(width):
    """No other source has one, so that even a copy in plain memory order leaves no doubt."""
    found = recognise(as_file(without_memory(simclr(width))))
    assert found.source.startswith("SimCLR")
    assert (found.preprocessing.mean, found.preprocessing.std) == UNIT


def test_a_plain_resnet50_says_that_its_preprocessing_is_assumed():
    """It may be torchvision's, or a copy of SimCLR's 1x."""
    found = recognise(as_file(without_memory(simclr(1))))
    assert (found.preprocessing.mean, found.preprocessing.std) == IMAGENET
    assert "ImageNet's mean and standard deviation" in found.assumed


@pytest.mark.parametrize("width", [384, 768])
def test_moco_v3_has_12_heads_at_every_width(width):
    encoder = vit(width=width, depth=12, grid=14)
    shapes = moco_v3(encoder, head="head", layers=3, features=width)
    assert recognise(as_file(without_memory(shapes))).network.heads == (12,)


def test_a_description_is_ready_for_a_manifest():
    told = describe(recognised("beit_base"))
    assert told["heads"] == [12]
    assert told["prefix_tokens"] == 1
    assert told["converter"] in CONVERTERS
    assert told["preprocessing"]["mean"] == list(HALVES[0])


@pytest.mark.parametrize(("width", "heads"), [(48, 3), (384, 12), (384, 3), (192, 6)])
def test_a_number_of_heads_that_the_user_knows_is_taken(tmp_path, width, heads):
    """Also where it is not among the customary ones; then custom is not said to be assumed."""
    path = write(tmp_path / "w.pth", numbers(vit(width=width, depth=1, grid=2, patch=4)))
    loaded = load(path, arch_args={"num_heads": heads})
    assert loaded.module.blocks[0].attn.num_heads == heads
    assert not any("heads" in sentence for sentence in loaded.load_report.assumed)


@pytest.mark.parametrize(
    "names",
    [
        {"stages.0.blocks.0.conv_dw.weight": (96, 1, 7, 7), "stem.0.weight": (96, 3, 4, 4)},
        {"features.0.weight": (64, 3, 3, 3), "features.0.bias": (64,)},
        {"visual.positional_embedding": (197, 768), "logit_scale": ()},
        {"encoder.layer.0.attention.self.query.weight": (768, 768)},
        {"w": (1,)},
        {"module.backbone.body.weight": (3, 3), "module.backbone.mask_token": (1, 1, 3)},
        {"patch_embed.proj.weight": (768, 3, 16, 16), "blocks.0.norm1.weight": (768,)},
        {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 3, 3)},
        {"pos_embed": (1, 4, 8), "blocks.0.attn.qkv.weight": (24, 8)},
        {"cls_token": (1, 1, 8), "pos_embed": (), "blocks.0.attn.qkv.weight": (24, 8),
         "patch_embed.proj.weight": (8, 3, 2, 2)},
        {"layers.0.blocks.0.attn.cpb_mlp.0.weight": (512, 2)},
        {"layers.0.blocks.0.attn.relative_position_bias_table": (9,)},
    ],
)  # fmt: skip
def test_another_network_ends_in_one_line(tmp_path, names):
    path = write(tmp_path / "other.pth", {"state_dict": numbers(names)})
    with pytest.raises(MimprobeError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [2, 3])
def test_patches_that_are_no_square_grid_ask_for_the_size(tmp_path, side):
    state = numbers(vit(width=48, depth=1, grid=side, patch=8))
    state["pos_embed"] = torch.zeros(1, 7, 48)
    with pytest.raises(CheckpointError, match="6 positions|7 positions") as caught:
        load(write(tmp_path / "w.pth", inside(state, "")))
    assert "img_size" in str(caught.value)
