"""Public names over the families, on small untrained networks of each."""

import pytest
import timm
from torch import nn

from mimprobe.errors import SiteError, UnknownNameError
from mimprobe.models.sites import attention_heads, layout

TINY = {"depth": 2, "embed_dim": 32, "num_heads": 4}


@pytest.mark.parametrize(
    ("name", "arguments", "family", "prefix"),
    [
        ("vit_tiny_patch16_224", TINY, "vit", 1),
        ("deit_tiny_distilled_patch16_224", TINY, "vit", 2),
        ("vit_small_patch14_reg4_dinov2", TINY | {"img_size": 56}, "vit", 5),
        ("vit_base_patch16_siglip_224", TINY, "vit", 0),
        ("beit_base_patch16_224", TINY, "beit", 1),
    ],
)
def test_plain_families(name, arguments, family, prefix):
    places = layout(timm.create_model(name, **arguments))
    assert places.family == family
    assert places.prefix_tokens == prefix
    assert tuple(places.sites) == (
        "blocks.0.attn.probs", "blocks.0.out", "blocks.1.attn.probs", "blocks.1.out",
    )  # fmt: skip
    assert [site.layer for site in places.sites.values()] == [0, 0, 1, 1]
    assert attention_heads(places["blocks.1.attn.probs"]) == 4


@pytest.mark.parametrize(
    ("name", "family"),
    [("swin_tiny_patch4_window7_224", "swin"), ("swinv2_tiny_window8_256", "swinv2")],
)
def test_staged_families(name, family):
    model = timm.create_model(name, depths=(2, 1, 3, 1), embed_dim=16, num_heads=(1, 2, 4, 8))
    places = layout(model)
    assert places.family == family
    assert places.attention_sites == tuple(
        f"stages.{stage}.blocks.{block}.attn.probs"
        for stage, blocks in enumerate((2, 1, 3, 1))
        for block in range(blocks)
    )
    assert [places[name].layer for name in places.feature_sites] == list(range(7))
    assert places["stages.3.blocks.0.out"].scale == 8
    assert attention_heads(places["stages.2.blocks.0.attn.probs"]) == 4


def test_resnet_has_features_only():
    places = layout(timm.create_model("resnet18"))
    assert places.attention_sites == ()
    assert places.feature_sites[-1] == "stages.3.blocks.1.out"
    with pytest.raises(
        SiteError, match=r"^no site 'blocks\.0\.attn\.probs': this resnet model has"
    ):
        places["blocks.0.attn.probs"]


def test_unknown_site_names_the_nearest():
    places = layout(timm.create_model("vit_tiny_patch16_224", **TINY))
    with pytest.raises(UnknownNameError, match=r"^unknown site 'block\.1\.out'; did you mean"):
        places["block.1.out"]


def test_block_with_foreign_attention_has_no_attention_site():
    model = timm.create_model("vit_tiny_patch16_224", **TINY)
    model.blocks[0].attn = nn.Identity()
    assert layout(model).attention_sites == ("blocks.1.attn.probs",)


def test_unknown_family_says_which_are_known():
    with pytest.raises(SiteError, match=r"^Linear is of no family .* VisionTransformer"):
        layout(nn.Linear(2, 2))
