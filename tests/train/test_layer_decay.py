"""Layers and scales against the authors' rules, written again without a network."""

import pytest
import timm
from blocks_by_hand import blocks_of, build

from mimprobe.models.surgery import drop_block, drop_last
from mimprobe.train.layer_decay import decayed_groups, layer_ids, layer_scales

SWIN = {"embed_dim": 12, "num_heads": (1, 2, 3, 4), "img_size": 64, "window_size": 2}
VIT = {"embed_dim": 12, "num_heads": 2, "img_size": 32}


def vit_rule(name, depth):
    """Embeddings 0, block b is b + 1, everything else is depth + 1."""
    if name in ("cls_token", "mask_token", "pos_embed") or name.split(".")[0] == "patch_embed":
        return 0
    parts = name.split(".")
    return int(parts[1]) + 1 if parts[0] == "blocks" else depth + 1


def swin_rule(name, depths):
    """As in the authors' code, where a stage ends with its down-sampling; timm's begins with it."""
    parts = name.split(".")
    if parts[0] == "patch_embed":
        return 0
    if parts[0] != "layers":
        return sum(depths) + 1
    stage = int(parts[1])
    if parts[2] == "downsample":
        stage -= 1
        return sum(depths[: stage + 1])
    return sum(depths[:stage]) + int(parts[3]) + 1


@pytest.mark.parametrize(
    ("arch", "arguments"),
    [
        ("vit_base_patch16_224", {**VIT, "depth": 5, "global_pool": "avg"}),
        ("beit_base_patch16_224", {**VIT, "depth": 3, "use_abs_pos_emb": True}),
        (
            "beit_base_patch16_224",
            {**VIT, "depth": 3, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True},
        ),
    ],
)
def test_layers_of_vits(arch, arguments):
    ids, count = layer_ids(timm.create_model(arch, **arguments))
    assert count == arguments["depth"] + 2
    assert ids == {name: vit_rule(name, arguments["depth"]) for name in ids}
    assert set(ids.values()) == set(range(count))
    if "use_shared_rel_pos_bias" in arguments:
        assert ids["rel_pos_bias.relative_position_bias_table"] == count - 1


@pytest.mark.parametrize("arch", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_layers_of_swins_count_through_the_stages(arch):
    depths = (2, 1, 3, 1)
    ids, count = layer_ids(timm.create_model(arch, depths=depths, **SWIN))
    assert count == 9
    assert ids == {name: swin_rule(name, depths) for name in ids}
    assert [ids[f"layers.{stage}.downsample.reduction.weight"] for stage in (1, 2, 3)] == [2, 3, 6]
    assert ids["layers.2.blocks.0.mlp.fc1.weight"] == 4


def test_scales_of_the_published_settings():
    assert layer_scales(0.65, 14) == [0.65**power for power in range(13, -1, -1)]
    swin_base = layer_scales(0.9, 2 + 2 + 18 + 2 + 2)
    assert len(swin_base) == 26
    assert swin_base[0] == pytest.approx(0.9**25)
    assert swin_base[-1] == 1.0


def test_every_parameter_is_in_one_group_with_its_scale_and_decay(make_config):
    network = timm.create_model("vit_base_patch16_224", depth=3, **VIT)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = decayed_groups(network, make_config(layer_decay=0.5, weight_decay=0.1))
    seen = {}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in seen
            seen[name] = group
            assert group["lr_scale"] == 0.5 ** (4 - vit_rule(name, 3))
            assert group["weight_decay"] == (
                0.0 if parameter.ndim == 1 or name in ("cls_token", "pos_embed") else 0.1
            )
    assert set(seen) == set(names.values())


def test_other_networks_are_grouped_by_timm():
    ids, count = layer_ids(timm.create_model("resnet18"))
    assert (ids["conv1.weight"], ids["fc.weight"]) == (0, count - 1)
    blocks = [
        ids[f"layer{stage}.{block}.conv1.weight"] for stage in (1, 2, 3, 4) for block in (0, 1)
    ]
    assert blocks == sorted(set(blocks))


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_dropped_blocks_count_no_layer(name):
    """What is left has the layers of a network of that depth."""
    network = build(name)
    k = 2 if name == "vit" else 1
    smaller = build(name, depth=2) if name == "vit" else build(name, depths=(2, 4, 1))
    assert layer_ids(drop_last(network, k)) == layer_ids(smaller)
    layers, count = layer_ids(drop_block(network, 1))
    assert count == layer_ids(network)[1] - 1
    assert layers[_first(network, 2)] == 2
    assert layer_ids(drop_block(network, 0))[0][_first(network, 1)] == 1


def _first(network, number):
    """Name the first parameter of a block."""
    parameter = next(blocks_of(network)[number].parameters())
    return next(name for name, one in network.named_parameters() if one is parameter)
