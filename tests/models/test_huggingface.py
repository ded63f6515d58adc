"""Networks of Hugging Face's transformers: the same sites, seen in the same way as timm's."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mimprobe.errors import SilentSiteError, SiteError
from mimprobe.hooks import capture
from mimprobe.models.device import exact_pass
from mimprobe.models.sites import attention_heads, layout

transformers = pytest.importorskip("transformers", reason="needs mimprobe[hf]")

UNMASKED = [
    "vit", "vit classifier", "deit", "beit", "beit shared", "data2vec", "dinov2", "registers",
    "clip", "clip projected", "siglip", "dinov3", "swin", "swin simmim", "swinv2",
]  # fmt: skip
MASKED = ["mae", "mae pretraining"]
FAMILIES = {
    "deit": ("vit", 2), "beit": ("beit", 1), "data2vec": ("beit", 1), "registers": ("vit", 5),
    "dinov3": ("vit", 5), "siglip": ("vit", 0), "swin": ("swin", 0), "swinv2": ("swinv2", 0),
}  # fmt: skip
"""Family and prefix tokens by the first word of a name; the others are ViT with one."""


FIRST_NORMS = {"norm1", "layer_norm1", "layernorm_before"}


def outputs_of(module, run):
    """Run, and give what a module returned."""
    outputs = []
    with module.register_forward_hook(lambda m, i, output: outputs.append(output)):
        with torch.no_grad():
            run()
    return [output[0] if isinstance(output, tuple) else output for output in outputs]


def test_public_names(name, model):
    places = layout(model)
    family, prefix = FAMILIES.get(name.split()[0], ("vit", 1))
    assert (places.family, places.prefix_tokens) == (family, prefix)
    staged = family.startswith("swin")
    blocks = (
        [f"stages.{stage}.blocks.{block}" for stage in range(2) for block in range(2)]
        if staged
        else ["blocks.0", "blocks.1"]
    )
    assert places.attention_sites == tuple(f"{block}.attn.probs" for block in blocks)
    assert places.feature_sites == tuple(f"{block}.out" for block in blocks)
    assert [places[site].layer for site in places.feature_sites] == list(range(len(blocks)))
    heads = [attention_heads(places[site]) for site in places.attention_sites]
    assert heads == ([2, 2, 4, 4] if staged else [3, 3])


def eager_attentions(model, images, inner):
    """What the network itself gives as its attentions, in all layers, without mimprobe."""
    seen = []
    blocks = [site.block for site in layout(model).sites.values() if site.attention is None]
    hooks = [
        inner(block).register_forward_hook(lambda m, i, output: seen.append(output[1]))
        for block in blocks
    ]
    with torch.no_grad():
        model(images, output_attentions=True)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("name", UNMASKED)
def test_attention_is_what_an_eager_pass_returns(name, build, pixels, inner):
    default, eager = build(name), build(name, attn_implementation="eager")
    images = pixels(default)
    sites = layout(default).attention_sites
    expected = eager_attentions(eager, images, inner)
    assert len(expected) == len(sites)
    for model in (default, eager):
        with torch.no_grad(), capture(model, sites) as seen:
            model(images)
        for site, attention in zip(sites, expected, strict=True):
            torch.testing.assert_close(seen[site].attention, attention, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", ["autocast", torch.bfloat16, torch.float16])
def test_half_precision(model, pixels, way):
    images = pixels(model)
    places = layout(model)
    if way != "autocast":
        model.to(way)
    with exact_pass(torch.device("cpu"), "bfloat16" if way == "autocast" else "float32"):
        with capture(model, places.sites) as seen:
            model(images)
    with torch.no_grad(), capture(model.float(), places.attention_sites) as full:
        model(images)
    for site in places.attention_sites:
        rows = seen[site].attention.sum(-1)
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows, torch.ones_like(rows), rtol=0, atol=1e-5)
    for site in places.attention_sites[:1]:  # later ones see what rounding made of the input
        torch.testing.assert_close(seen[site].attention, full[site].attention, rtol=0, atol=0.05)


def test_features_are_the_output_of_the_block(model, pixels):
    places, images = layout(model), pixels(model)
    site = places[places.feature_sites[-1]]
    with capture(model, [site.name]) as seen:
        (output,) = outputs_of(site.block, lambda: model(images))
    tokens, geometry = seen[site.name].tokens, seen[site.name].geometry
    assert torch.equal(tokens, output)
    rows, columns = geometry.grid
    assert tokens.shape[1] == geometry.prefix_tokens + rows * columns
    assert (rows * geometry.stride[0], columns * geometry.stride[1]) == tuple(images.shape[2:])


def relative_bias(table, grid):
    """Look up BEiT's bias pair by pair; the last rows are for the class token."""
    rows, columns = grid
    places = [(row, column) for row in range(rows) for column in range(columns)]
    bias = torch.empty(table.shape[1], len(places) + 1, len(places) + 1)
    bias[:, 0, :] = table[-3][:, None]
    bias[:, :, 0] = table[-2][:, None]
    bias[:, 0, 0] = table[-1]
    for i, (row, column) in enumerate(places):
        for j, (other_row, other_column) in enumerate(places):
            down, right = row - other_row + rows - 1, column - other_column + columns - 1
            bias[:, i + 1, j + 1] = table[down * (2 * columns - 1) + right]
    return bias


@pytest.mark.parametrize("name", [*UNMASKED[:11], *MASKED])
def test_attention_is_the_softmax_of_the_weights(model, pixels, inner, by_head):
    block = layout(model)["blocks.1.out"].block
    inputs = []
    with block.register_forward_pre_hook(lambda m, i: inputs.append(i[0])), torch.no_grad():
        with capture(model, ["blocks.1.attn.probs"]) as seen:
            model(pixels(model))
        norm = next(part for name, part in block.named_children() if name in FIRST_NORMS)
        query, key = by_head(inner(block), norm(inputs[0]))
        logits = query @ key.mT / 8**0.5
        tables = [value for key, value in model.state_dict().items() if "bias_table" in key]
        if tables:  # one for each layer, or one for all
            logits = logits + relative_bias(tables[-1], (4, 4))
    torch.testing.assert_close(
        seen["blocks.1.attn.probs"].attention, logits.softmax(-1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", MASKED)
def test_mae_is_observed_unmasked_and_in_order(model, pixels):
    """Against a pass of its own that is told to mask nothing and to keep the order."""
    places, images = layout(model), pixels(model)
    with torch.no_grad(), capture(model, places.sites) as seen:
        model(images)
    assert model.config.mask_ratio == 0.75
    assert len(places.attention_sites) == 2  # of the encoder, none of the decoder
    block, order = places["blocks.1.out"].block, torch.arange(16.0)

    def own_features(noise):
        return outputs_of(block, lambda: model(images, noise=noise.expand(2, 16)))[0]

    assert own_features(order).shape[1] == 5
    model.config.mask_ratio = 0.0
    found = seen["blocks.1.out"].tokens
    torch.testing.assert_close(found, own_features(order), rtol=1e-5, atol=1e-6)
    assert (found - own_features(order.flip(0))).abs().max() > 0.1
    with capture(model, places.sites), pytest.raises(SiteError, match="masks and shuffles"):
        model(images, noise=torch.rand(2, 16))


def test_another_input_size_is_told(build):
    model = build("vit", image_size=(32, 48))
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        model(torch.zeros(1, 3, 32, 48))
    assert seen["blocks.0.attn.probs"].geometry.grid == (4, 6)
    with pytest.raises(
        SiteError, match=r"^this vit model takes images of 32 x 48 pixels, not of 48 x 32"
    ):
        with capture(model, layout(model).sites):
            model(torch.zeros(1, 3, 48, 32))


@pytest.mark.parametrize(
    "name", ["dinov2", "registers", "dinov3", "beit", "beit shared", "data2vec"]
)
def test_families_that_resize_their_positions_take_any_size(model):
    with torch.no_grad(), capture(model, layout(model).sites) as seen:
        model(torch.zeros(1, 3, 48, 48))
    assert seen["blocks.1.attn.probs"].geometry.grid == (6, 6)


def test_a_pass_that_broke_off_leaves_nothing_of_the_one_before(build, pixels):
    model = build("vit")
    with torch.no_grad(), capture(model, ["blocks.1.attn.probs"]) as seen:
        model(pixels(model))
        with pytest.raises(ValueError, match="channel"):  # behind the hook that forgets
            model(torch.zeros(2, 4, 32, 32))
    with pytest.raises(SilentSiteError, match=r"^site 'blocks\.1\.attn\.probs' saw nothing"):
        seen["blocks.1.attn.probs"]


def test_a_foreign_attention_is_no_site(build):
    model = build("vit")
    layout(model)["blocks.0.out"].block.attention = nn.Identity()
    assert layout(model).attention_sites == ("blocks.1.attn.probs",)


def test_a_class_that_is_derived_from_a_known_one(build):
    class Mine(transformers.ViTModel):
        pass

    assert layout(Mine(build("vit").config)).family == "vit"


def test_other_networks_of_transformers_are_refused():
    model = transformers.IJepaModel(
        transformers.IJepaConfig(
            hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=32,
            image_size=32, patch_size=8,
        )
    )  # fmt: skip
    with pytest.raises(SiteError, match=r"^IJepaModel is of no family .* ViTMAEModel"):
        layout(model)


def test_blocks_somewhere_else_are_told(build, monkeypatch):
    monkeypatch.setattr("mimprobe.models.huggingface.BLOCKS", ("elsewhere",))
    with pytest.raises(SiteError, match=r"^transformers .* keeps the blocks of ViTModel where"):
        layout(build("vit"))


def test_transformers_is_not_imported_for_timm():
    program = (
        "import sys, timm, mimprobe\n"
        "mimprobe.layout(timm.create_model('vit_tiny_patch16_224', depth=1))\n"
        "sys.exit('transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
