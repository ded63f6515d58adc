"""torchvision's vision transformer, whose blocks never ask for the probabilities."""

from itertools import product

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import mimprobe
from mimprobe.errors import SilentSiteError, SiteError
from mimprobe.hooks import capture
from mimprobe.models.sites import attention_heads, layout

STEM = [torchvision.models.vision_transformer.ConvStemConfig(8, 3, 4)] * 2


def network(**changes):
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        **{"image_size": 48, "patch_size": 16, "num_layers": 2, "num_heads": 4, "hidden_dim": 32,
           "mlp_dim": 48} | changes
    )  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def images(size=48):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def asked_for(block, tokens):
    """What `nn.MultiheadAttention` itself gives when it is asked for its weights."""
    tokens = block.ln_1(tokens)
    return block.self_attention(
        tokens, tokens, tokens, need_weights=True, average_attn_weights=False
    )[1]


def inputs_of(blocks, run):
    seen = []
    hooks = [block.register_forward_pre_hook(lambda m, i: seen.append(i[0])) for block in blocks]
    run()
    for hook in hooks:
        hook.remove()
    return seen


def test_public_names():
    places = layout(torchvision.models.vit_b_16())
    assert places.family == "vit"
    assert places.prefix_tokens == 1
    assert places.attention_sites == tuple(f"blocks.{layer}.attn.probs" for layer in range(12))
    assert places.feature_sites == tuple(f"blocks.{layer}.out" for layer in range(12))
    assert attention_heads(places["blocks.11.attn.probs"]) == 12


@pytest.mark.parametrize("changes", [{}, {"num_heads": 1}, {"conv_stem_configs": STEM}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.inference_mode()
def test_maps_are_the_weights_that_can_be_asked_for(changes, dtype):
    model = network(**changes).to(dtype)
    places = layout(model)
    with capture(model, places.sites) as seen:
        blocks = [places[name].block for name in places.feature_sites]
        inputs = inputs_of(blocks, lambda: model(images().to(dtype)))
    for layer, (block, tokens) in enumerate(zip(blocks, inputs, strict=True)):
        observed = seen[f"blocks.{layer}.attn.probs"]
        assert observed.geometry.grid == (3, 3)
        assert observed.geometry.stride == (16, 16)
        assert observed.attention.dtype == dtype
        torch.testing.assert_close(
            observed.attention, asked_for(block, tokens), rtol=1e-4, atol=1e-6
        )
        features = seen[f"blocks.{layer}.out"].tokens
        torch.testing.assert_close(features, block(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_output_is_bit_for_bit_what_it_was(training):
    model = network(attention_dropout=0.3, dropout=0.1).train(training)
    outputs = []
    for half, sites in product((False, True), ((), layout(model).sites)):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=half), capture(model, sites) as seen:
            outputs.append(model(images()))
        assert len(list(seen.values())) == len(sites)
    assert torch.equal(*outputs[:2])
    assert torch.equal(*outputs[2:])
    assert not any("forward" in vars(module) for module in model.modules())


@torch.inference_mode()
def test_the_kernel_that_goes_round_the_fused_function_rounds_only_otherwise():
    model = network()
    before = model(images())
    with capture(model, layout(model).sites):
        during = model(images())
        assert torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(during, before, rtol=1e-4, atol=1e-5)
    assert torch.equal(model(images()), before)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert torch.equal(model(images()), during)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_a_block_that_takes_the_weights_itself_is_silent():
    model = network()
    model.encoder.layers[1].self_attention.register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"need_weights": True}), with_kwargs=True
    )
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        model(images())
    assert seen["blocks.0.attn.probs"].attention.shape == (2, 4, 10, 10)
    with pytest.raises(SilentSiteError, match=r"^site 'blocks\.1\.attn\.probs' saw nothing"):
        seen["blocks.1.attn.probs"]


def test_a_foreign_attention_is_no_site():
    model = network()
    model.encoder.layers[0].self_attention = nn.Identity()
    assert layout(model).attention_sites == ("blocks.1.attn.probs",)


def test_another_input_size_is_told():
    model = network()
    with pytest.raises(SiteError, match=r"^this vit model takes images of 48 x 48 pixels, not of"):
        with capture(model, layout(model).sites):
            model(images(64))


def test_probe_takes_it_with_a_transform():
    generator = np.random.default_rng(0)
    pictures = [
        Image.fromarray(generator.integers(0, 256, (48, 48, 3), np.uint8)) for _ in range(5)
    ]
    result = mimprobe.probe(
        {"tv": network()}, pictures, transform=torchvision.transforms.ToTensor(), device="cpu"
    )
    heads = result["attention_entropy"].query("head.notna()")
    assert sorted(set(heads["site"])) == ["blocks.0.attn.probs", "blocks.1.attn.probs"]
    assert heads["value"].between(0, np.log(9)).all()
    assert result.manifest["models"][0]["family"] == "vit"
