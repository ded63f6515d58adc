"""Networks whose positions enter at queries and keys: rotations, and biases of the logits."""

import math

import pytest
import timm
import torch
from torch import nn

from mimprobe.hooks import capture
from mimprobe.models.sites import attention_heads, layout

SMALL = {"img_size": (64, 96), "patch_size": 16, "depth": 2, "embed_dim": 48, "num_heads": 3}
ROTARY = {
    "eva02": ("eva02_tiny_patch14_224", {}, 1),
    "eva02, projected apart": ("eva02_base_patch14_224", {}, 1),
    "dinov3": ("vit_small_patch16_dinov3", {}, 5),
    "dinov3, grouped": (
        "vit_small_patch16_dinov3",
        {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 1}, 5,
    ),
    "mixed": ("vit_small_patch16_rope_mixed_224", {}, 1),
    "without": ("eva_giant_patch14_224", {}, 1),
}  # fmt: skip


def build(name, **arguments):
    torch.manual_seed(0)
    model = timm.create_model(name, **SMALL | arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def images(model):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *model.patch_embed.img_size, generator=generator)


def capture_with_inputs(model, layer):
    """Observe a layer, and give its map and what its attention module was given."""
    inputs, site = [], f"blocks.{layer}.attn.probs"
    maker = layout(model)[site].attention.maker
    hook = maker.register_forward_pre_hook(
        lambda m, args, kwargs: inputs.append((args[0], kwargs)), with_kwargs=True
    )
    with hook, torch.no_grad(), capture(model, [site]) as seen:
        model(images(model))
    return seen[site], maker, *inputs[0]


def rotated(vectors, embedding, halves):
    """Turn pairs of channels as complex numbers, by the angles of a table of sines and cosines."""
    sine, cosine = embedding.chunk(2, dim=-1)
    if halves:
        real, imaginary = vectors.chunk(2, dim=-1)
        sine, cosine = (part.chunk(2, dim=-1)[0] for part in (sine, cosine))
    else:
        real, imaginary = vectors[..., 0::2], vectors[..., 1::2]
        sine, cosine = sine[..., 0::2], cosine[..., 0::2]
    turned = torch.complex(real, imaginary) * torch.complex(cosine, sine)
    if halves:
        return torch.cat([turned.real, turned.imag], dim=-1)
    return torch.stack([turned.real, turned.imag], dim=-1).flatten(-2)


def queries_and_keys(attention, tokens):
    if attention.qkv is None:
        query, key = attention.q_proj(tokens), attention.k_proj(tokens)
    else:
        query, key, _ = nn.functional.linear(tokens, attention.qkv.weight).chunk(3, dim=-1)
        own = attention.qkv.bias
        if own is not None:
            query, key = query + own.chunk(3)[0], key + own.chunk(3)[1]
        elif getattr(attention, "q_bias", None) is not None:
            query = query + attention.q_bias
    size = tokens.shape[-1] // attention.num_heads
    return [part.unflatten(-1, (-1, size)).transpose(1, 2).double() for part in (query, key)]


@pytest.mark.parametrize("case", ROTARY)
@torch.no_grad()
def test_attention_is_the_softmax_of_rotated_queries_and_keys(case):
    name, arguments, prefix = ROTARY[case]
    model = build(name, **arguments)
    assert layout(model).family == "eva"
    assert layout(model).prefix_tokens == prefix
    observed, attention, tokens, given = capture_with_inputs(model, 1)
    query, key = queries_and_keys(attention, tokens)
    assert (given["rope"] is None) == (case == "without")
    if given["rope"] is not None:
        for part in (query, key):
            table = given["rope"].double()
            part[:, :, prefix:] = rotated(part[:, :, prefix:], table, attention.rotate_half)
    group = query.shape[1] // key.shape[1]
    assert group == (3 if "grouped" in case else 1)
    expected = torch.empty(2, 3, 24 + prefix, 24 + prefix, dtype=torch.float64)
    for head in range(3):
        logits = query[:, head] @ key[:, head // group].mT / math.sqrt(16)
        expected[:, head] = logits.exp() / logits.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(observed.attention.double(), expected, rtol=1e-4, atol=1e-6)
    assert observed.geometry.grid == (4, 6)
    assert observed.geometry.prefix_tokens == prefix
    assert attention.fused_attn


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("class_token", [False, True])
@torch.no_grad()
def test_attention_with_a_relative_bias(shared, class_token):
    model = build(
        "vit_relpos_small_patch16_224", class_token=class_token, shared_rel_pos=shared,
        global_pool="avg",
    )  # fmt: skip
    assert (layout(model).family, layout(model).prefix_tokens) == ("vit_relpos", int(class_token))
    observed, attention, tokens, _ = capture_with_inputs(model, 1)
    bias = (model.shared_rel_pos if shared else attention.rel_pos).get_bias()
    query, key = queries_and_keys(attention, tokens)
    logits = query @ key.mT / math.sqrt(16) + bias.double()
    torch.testing.assert_close(
        observed.attention.double(), logits.softmax(-1), rtol=1e-4, atol=1e-6
    )


@torch.no_grad()
def test_a_block_that_is_its_own_attention():
    model = build("vit_base_patch16_xp_224", class_token=False, global_pool="avg")
    observed, block, tokens, _ = capture_with_inputs(model, 1)
    assert attention_heads(layout(model)["blocks.1.attn.probs"]) == 3
    projected = block.in_proj(block.in_norm(tokens))[..., -3 * 48 : -48]  # behind the MLP's part
    query, key = (
        part.unflatten(-1, (3, 16)).transpose(1, 2) for part in projected.chunk(2, dim=-1)
    )
    query, key = block.q_norm(query), block.k_norm(key)
    expected = (query @ key.mT / 4).softmax(-1)
    torch.testing.assert_close(observed.attention, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["vit_small_patch16_18x2_224", "vit_dwee_patch16_reg1_gap_256"])
def test_blocks_of_several_attentions_have_none_that_can_be_named(name):
    """Two side by side, or the difference of two, whose rows do not sum to one."""
    places = layout(timm.create_model(name, **SMALL | {"num_heads": 4}))
    assert places.attention_sites == ()
    assert places.feature_sites == ("blocks.0.out", "blocks.1.out")


def test_a_rotary_network_takes_any_size_that_it_is_made_for():
    model = build("eva02_tiny_patch14_224", dynamic_img_size=True)
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        model(torch.zeros(1, 3, 96, 32))
    assert seen["blocks.1.attn.probs"].geometry.grid == (6, 2)
    assert seen["blocks.1.out"].tokens.shape == (1, 13, 48)
