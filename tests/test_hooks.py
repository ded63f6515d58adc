"""Capture: what is seen, that nothing is left behind, and that silence is an error."""

import gc
import weakref

import pytest
import timm
import torch
from attention_oracle import own_attention
from torch import nn

from mimprobe.errors import SilentSiteError, SiteError, UnknownNameError
from mimprobe.hooks import AttentionSeen, FeaturesSeen, capture
from mimprobe.models.sites import layout

FAMILIES = {
    "vit": ("vit_tiny_patch16_224", {"img_size": (64, 96), "depth": 3, "embed_dim": 48}),
    "deit": (
        "deit_tiny_distilled_patch16_224",
        {"img_size": (64, 96), "depth": 3, "embed_dim": 48},
    ),
    "registers": ("vit_small_patch14_reg4_dinov2", {"img_size": (56, 84), "depth": 2}),
    "beit": (
        "beit_base_patch16_224",
        {"img_size": (64, 96), "depth": 3, "embed_dim": 24, "num_heads": 3,
         "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_abs_pos_emb": False},
    ),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": (64, 96), "depths": (2, 2), "embed_dim": 16, "num_heads": (2, 4),
         "window_size": 4},
    ),
    "swinv2": (
        "swinv2_tiny_window8_256",
        {"img_size": (64, 96), "depths": (2, 2), "embed_dim": 16, "num_heads": (2, 4),
         "window_size": 4},
    ),
}  # fmt: skip
SMALL = {"img_size": (64, 96), "patch_size": 16, "depth": 2, "embed_dim": 48, "num_heads": 3}
MORE = {
    "eva02": ("eva02_tiny_patch14_224", SMALL),
    "dinov3": ("vit_small_patch16_dinov3", SMALL),
    "relative": ("vit_relpos_small_patch16_224", SMALL),
    "parallel": ("vit_base_patch16_xp_224", SMALL),
    "normed": ("vit_base_patch16_rpn_224", SMALL),
}
"""Families whose maps have tests of their own, in models/test_rotary.py."""


def built(name, arguments):
    torch.manual_seed(0)
    return timm.create_model(name, **arguments).eval()


@pytest.fixture(params=FAMILIES)
def network(request):
    return built(*FAMILIES[request.param])


@pytest.fixture(params=FAMILIES | MORE)
def any_network(request):
    return built(*(FAMILIES | MORE)[request.param])


def images_for(model):
    height, width = model.patch_embed.img_size
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_attention_is_the_softmax_of_the_weights(network):
    images = images_for(network)
    site = layout(network).attention_sites[0]
    with torch.no_grad(), capture(network, [site]) as seen:
        network(images)
    observed = seen[site]
    assert isinstance(observed, AttentionSeen)
    expected = own_attention(network, images)
    torch.testing.assert_close(observed.attention.double(), expected, rtol=1e-5, atol=1e-7)


def test_output_is_unchanged_and_nothing_is_left_behind(any_network):
    network = any_network
    images = images_for(network)
    fused = {n: m.fused_attn for n, m in network.named_modules() if hasattr(m, "fused_attn")}
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        before = network(images)
        with capture(network, layout(network).sites) as seen:
            during = network(images)
            assert len(list(seen.values())) == len(layout(network).sites)
        after = network(images)
    torch.testing.assert_close(during, before, rtol=1e-4, atol=1e-5)
    assert torch.equal(after, before)
    assert fused == {
        n: m.fused_attn for n, m in network.named_modules() if hasattr(m, "fused_attn")
    }
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_features_are_the_output_of_the_block(any_network):
    network = any_network
    images = images_for(network)
    places = layout(network)
    site = places[places.feature_sites[-1]]
    outputs = []
    with site.block.register_forward_hook(lambda m, i, o: outputs.append(o)), torch.no_grad():
        with capture(network, [site.name]) as seen:
            network(images)
    observed = seen[site.name]
    assert isinstance(observed, FeaturesSeen)
    flat = outputs[0] if outputs[0].ndim == 3 else outputs[0].flatten(1, 2)
    assert torch.equal(observed.tokens, flat)
    rows, columns = observed.geometry.grid
    assert observed.tokens.shape[1] == observed.geometry.prefix_tokens + rows * columns
    assert rows * observed.geometry.stride[0] == images.shape[-2]
    assert columns * observed.geometry.stride[1] == images.shape[-1]


def test_attention_is_captured_although_fused_is_the_default():
    model = timm.create_model("vit_tiny_patch16_224", depth=1).eval()
    assert model.blocks[0].attn.fused_attn
    with torch.no_grad(), capture(model, ["blocks.0.attn.probs"]) as seen:
        model(torch.zeros(1, 3, 224, 224))
    assert seen["blocks.0.attn.probs"].attention.shape == (1, 3, 197, 197)
    assert model.blocks[0].attn.fused_attn


def test_in_training_mode_the_map_is_the_one_before_dropout():
    model = timm.create_model("vit_tiny_patch16_224", depth=1, attn_drop_rate=0.9).train()
    with torch.no_grad(), capture(model, ["blocks.0.attn.probs"]) as seen:
        model(torch.zeros(1, 3, 224, 224))
    rows = seen["blocks.0.attn.probs"].attention.sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


def test_no_two_maps_are_alive_at_once():
    model = timm.create_model("vit_tiny_patch16_224", depth=4).eval()
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def reduce(seen):
        nonlocal most
        alive.append(weakref.ref(seen.attention.untyped_storage()))
        most = max(most, sum(reference() is not None for reference in alive))
        return seen.attention.sum()

    gc.disable()  # freed by reference counting, not by luck
    try:
        with torch.no_grad(), capture(model, layout(model).attention_sites, reduce=reduce):
            model(torch.zeros(1, 3, 224, 224))
    finally:
        gc.enable()
    assert len(alive) == 4
    assert most == 1


def test_reduce_is_called_inside_the_pass_and_its_value_is_kept():
    model = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    order = []

    def reduce(seen):
        order.append(seen.site)
        return seen.layer * 10

    with model.norm.register_forward_hook(lambda *_: order.append("norm")), torch.no_grad():
        with capture(model, layout(model).attention_sites, reduce=reduce) as seen:
            model(torch.zeros(1, 3, 224, 224))
    assert order == ["blocks.0.attn.probs", "blocks.1.attn.probs", "norm"]
    assert dict(seen) == {"blocks.0.attn.probs": 0, "blocks.1.attn.probs": 10}


def test_everything_is_put_back_when_the_pass_fails():
    model = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    with (
        pytest.raises(RuntimeError, match="stop"),
        capture(
            model,
            layout(model).sites,
            reduce=lambda seen: (_ for _ in ()).throw(RuntimeError("stop")),
        ),
    ):
        model(torch.zeros(1, 3, 224, 224))
    assert all(block.attn.fused_attn for block in model.blocks)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_unknown_second_name_leaves_no_hook_of_the_first():
    model = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    with pytest.raises(UnknownNameError, match=r"did you mean 'blocks\.1\.attn\.probs'\?"):
        with capture(model, ["blocks.0.attn.probs", "blocks.1.attn.prob"]):
            pass
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.blocks[0].attn.fused_attn


def test_a_silent_site_is_an_error():
    model = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    with capture(model, ["blocks.0.attn.probs"]) as seen:
        pass
    with pytest.raises(SilentSiteError, match=r"^site 'blocks\.0\.attn\.probs' saw nothing"):
        seen["blocks.0.attn.probs"]
    with pytest.raises(SiteError, match=r"^site 'blocks\.1\.out' was not asked for"):
        seen["blocks.1.out"]


def test_a_site_that_a_pass_goes_round_is_an_error_and_not_the_last_pass():
    model = timm.create_model("vit_tiny_patch16_224", depth=2).eval()
    with torch.no_grad(), capture(model, ["blocks.1.attn.probs"]) as seen:
        model(torch.zeros(1, 3, 224, 224))
        model.blocks = model.blocks[:1]
        model(torch.zeros(1, 3, 224, 224))
    with pytest.raises(SilentSiteError):
        seen["blocks.1.attn.probs"]


def test_a_map_that_is_not_probabilities_is_refused():
    model = timm.create_model("vit_tiny_patch16_224", depth=1).eval()
    model.blocks[0].attn.attn_drop = nn.Sequential(nn.Dropout())
    scaled = model.blocks[0].attn.attn_drop.register_forward_pre_hook(
        lambda m, args: (args[0] * 2,)
    )
    with scaled, torch.no_grad(), capture(model, ["blocks.0.attn.probs"]):
        with pytest.raises(SiteError, match="sum to one only within 1"):
            model(torch.zeros(1, 3, 224, 224))


def test_a_model_without_attention_says_so():
    model = timm.create_model("resnet18")
    with pytest.raises(SiteError, match="no attention that can be observed"):
        with capture(model, ["stages.0.blocks.0.attn.probs"]):
            pass


def test_dynamic_image_size_is_seen_from_the_pass():
    model = timm.create_model("vit_tiny_patch16_224", depth=1, dynamic_img_size=True).eval()
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        model(torch.zeros(1, 3, 96, 160))
        assert seen["blocks.0.attn.probs"].geometry.grid == (6, 10)
        model(torch.zeros(1, 3, 64, 32))
    assert seen["blocks.0.out"].geometry.grid == (4, 2)


def test_swin_on_a_map_that_the_window_does_not_divide():
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=(100, 72), depths=(2, 2), embed_dim=8,
        num_heads=(1, 2), window_size=7,
    ).eval()  # fmt: skip
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        model(torch.zeros(2, 3, 100, 72))
    shifted = seen["stages.0.blocks.1.attn.probs"]
    assert shifted.geometry.grid == (25, 18)
    assert shifted.geometry.shift == (3, 3)
    assert shifted.geometry.windows == 12
    assert shifted.attention.shape == (24, 1, 49, 49)
    assert seen["stages.1.blocks.0.out"].geometry.grid == (13, 9)
    assert seen["stages.1.blocks.0.out"].geometry.stride == (8, 8)
