"""Networks in half precision: maps that are rounded nowhere, and the numbers of a float32 run."""

import contextlib
import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from attention_oracle import own_attention
from torchvision import transforms

import mimprobe
from mimprobe.data.drawn import drawn_scenes
from mimprobe.hooks import capture
from mimprobe.models.device import exact_pass
from mimprobe.models.interception import watched
from mimprobe.models.sites import Site, Tap, layout

PLAIN = {"patch_size": 8, "depth": 4, "embed_dim": 96, "num_heads": 3}
STAGED = {"depths": (2, 2), "embed_dim": 48, "num_heads": (3, 6), "window_size": 4}
NETWORKS = {
    "vit": ("vit_tiny_patch16_224", PLAIN),
    "beit": ("beit_base_patch16_224", PLAIN),
    "eva": ("eva02_tiny_patch14_224", PLAIN),
    "dinov3": ("vit_small_patch16_dinov3", PLAIN),
    "swin": ("swin_tiny_patch4_window7_224", STAGED),
    "swinv2": ("swinv2_tiny_window8_256", STAGED),
}
MAPS = ["vit", "beit", "swin", "swinv2"]
HALF = [torch.bfloat16, torch.float16]
TO_TENSOR = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize([0.45] * 3, [0.25] * 3)]
)
SCENES = drawn_scenes(16, size=64)
OF_HEADS = ("attention_distance", "attention_entropy", "head_kl", "prefix_mass")
"""Tables whose every row is looked at; others have rows for single patches, pairs, frequencies."""


def build(name):
    """Make a network whose attention is far from uniform: untrained heads look everywhere."""
    torch.manual_seed(0)
    if name == "torchvision":
        model = torchvision.models.VisionTransformer(64, 8, 4, 3, 96, 192)
    else:
        model = timm.create_model(
            NETWORKS[name][0], img_size=64, num_classes=0, **NETWORKS[name][1]
        )
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("qkv.weight", "q_proj.weight", "k_proj.weight", "in_proj_weight")):
                parameter.mul_(3 if name == "torchvision" else 1 if name == "swinv2" else 8)
            elif key.endswith("logit_scale"):
                parameter.fill_(3.0)
            elif key.endswith(("norm1.weight", "norm2.weight")):  # 0 in a new SwinV2
                parameter.fill_(1.0)
            elif key.endswith("bias_table"):
                parameter.normal_()
    return model.eval()


@pytest.fixture(params=[*NETWORKS, "torchvision"])
def network(request):
    return build(request.param)


def measured(model, precision="float32"):
    return mimprobe.probe(
        {"m": model}, SCENES, transform=TO_TENSOR, precision=precision, device="cpu"
    )


def assert_agree(found, exact):
    """Compare means of each metric, and rows of whole heads a little less closely, with that mean.

    Shares of attention that goes to prefix or masked keys can be as small as one likes, and are
    compared as they are: their whole is one.
    """
    assert found.tables.keys() == exact.tables.keys()
    for name, table in exact.items():
        for metric, rows in table.groupby("metric"):
            truth = rows["value"].to_numpy()
            values = found[name].query("metric == @metric")["value"].to_numpy()
            whole = 1.0 if metric.endswith("_mass") else np.nanmean(np.abs(truth))
            # What follows from features has the rounding of the network itself in it.
            share = 2e-3 if "attention" in name or "head" in name else 1e-2
            assert np.nanmean(values) == pytest.approx(np.nanmean(truth), abs=share * whole), metric
            if name in OF_HEADS:
                np.testing.assert_allclose(values, truth, rtol=0, atol=5e-3 * whole, err_msg=metric)


def test_attention_of_these_networks_is_far_from_uniform(network):
    entropy = measured(network)["attention_entropy"]
    share = entropy.query("metric == 'attention_entropy_normalised'")["value"]
    assert share.mean() < 0.8


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_autocast_agrees_with_float32(network, precision):
    assert_agree(measured(network, precision), measured(network))


@pytest.mark.parametrize("dtype", HALF)
def test_a_network_in_half_precision_agrees_with_its_weights_in_float32(network, dtype):
    network.to(dtype)
    found = measured(network)
    assert next(network.parameters()).dtype == dtype
    assert_agree(found, measured(copy.deepcopy(network).float()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simmim-tiny40", "supervised-tiny40"])
def test_trained_networks_under_autocast_agree_with_float32(name):
    scenes = drawn_scenes(32)
    found, exact = (
        mimprobe.probe(name, scenes, device="cpu", precision=precision)
        for precision in ("bfloat16", "float32")
    )
    for table in ("attention_distance", "attention_entropy", "head_kl", "prefix_mass", "cka"):
        means = [result[table].groupby("metric")["value"].mean() for result in (found, exact)]
        np.testing.assert_allclose(*means, rtol=2e-3)


def images(model):
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("way", [*HALF, "autocast"])
@pytest.mark.parametrize("fused", [True, False])
def test_a_map_is_rounded_nowhere(name, way, fused):
    model = build(name)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    if way != "autocast":
        model.to(way)
    site = layout(model).attention_sites[0]
    with exact_pass(torch.device("cpu"), "bfloat16" if way == "autocast" else "float32"):
        with capture(model, [site]) as seen:
            model(images(model))
            expected = own_attention(model, images(model))
    attention = seen[site].attention
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention.double(), expected, rtol=2e-5, atol=1e-7)
    assert (attention.to(torch.bfloat16) != attention).float().mean() > 0.9


@pytest.mark.parametrize("dtype", HALF)
def test_images_are_rounded_where_they_meet_the_network(network, dtype):
    network.to(dtype)
    with torch.no_grad(), capture(network, layout(network).sites) as seen:
        from_float32 = network(images(network))
        first = dict(seen)
        assert torch.equal(network(images(network).to(dtype)), from_float32)
    assert all(
        torch.equal(first[name].attention, seen[name].attention)
        for name in layout(network).attention_sites
    )
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"type|dtype"):
        network(images(network))


@pytest.mark.parametrize("name", ["vit", "beit", "eva", "dinov3"])
@torch.no_grad()
def test_a_fused_network_in_half_precision_gives_bit_for_bit_what_it_gave(name):
    model = build(name).bfloat16()
    before = model(images(model).bfloat16())
    with capture(model, layout(model).sites):
        assert torch.equal(model(images(model)), before)


def test_gradients_flow_through_a_map_that_is_made_in_the_open():
    """Through its queries and keys too, and to what they are without observing it."""
    attention = build("swinv2").layers[0].blocks[0].attn.bfloat16()
    tokens = torch.randn(3, 16, 48, generator=torch.Generator().manual_seed(2)).bfloat16()
    site = Site(
        "stages.0.blocks.0.attn.probs", 0, attention, Tap(3, attention.attn_drop, attention)
    )
    gradients = []
    for context in (contextlib.nullcontext(), watched(site, lambda seen: None)):
        with context:
            attention(tokens).square().sum().backward()
        gradients.append(attention.qkv.weight.grad[: 2 * 48].float().flatten())
        attention.zero_grad()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99
