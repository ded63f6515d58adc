"""How a timm model was trained, by its name."""

import pytest

from mimprobe.zoo.hubs import _kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vit_base_patch16_224.mae", "mim"),
        ("vit_base_patch16_224.dino", "contrastive"),
        ("vit_base_patch14_dinov2.lvd142m", "contrastive"),
        ("vit_base_patch14_reg4_dinov2.lvd142m", "contrastive"),
        ("vit_base_patch16_clip_224.laion2b", "contrastive"),
        ("vit_base_patch16_clip_224.openai", "contrastive"),
        ("vit_base_patch16_siglip_224.webli", "contrastive"),
        ("vit_huge_patch14_gap_224.in1k_ijepa", "mim"),
        ("beit_base_patch16_224.in22k_ft_in22k", "supervised"),
        ("vit_base_patch16_clip_224.laion2b_ft_in1k", "supervised"),
        ("deit_base_patch16_224.fb_in1k", "supervised"),
        ("deit_base_distilled_patch16_224.fb_in1k", "distilled"),
        ("resnet50.a1_in1k", "supervised"),
        ("vit_base_patch16_224.augreg_in21k", "supervised"),
        ("swin_base_patch4_window7_224.ms_in22k", "supervised"),
        ("somebody.else", "other"),
    ],
)
def test_kind_of_training(name, kind):
    assert _kind_of(name, name.partition(".")[2]) == kind
