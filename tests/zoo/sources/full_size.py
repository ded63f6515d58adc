"""What the public files hold, at their full size: names and shapes, heads, and published counts.

Written from the authors' code and papers, not from the cards, which are checked against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.sources.resnet_formats import moco, moco_head, resnet, simclr
from zoo.sources.swin_formats import Sizes, swin, swinv2
from zoo.sources.vit_formats import Shapes, beit, linear, mae_decoder, moco_v3, simmim, vit


@dataclass(frozen=True)
class Real:
    """A public file.

    Attributes:
        shapes: of the tensors below its top key.
        heads: of all blocks, or of each stage; 0 without attention.
        prefix: tokens before the patches.
        millions: of parameters, as published, to three digits.
    """

    shapes: Shapes
    heads: tuple[int, ...]
    prefix: int
    millions: float


B = {"width": 768, "depth": 12, "grid": 14, "patch": 16}
L = {"width": 1024, "depth": 24, "grid": 14, "patch": 16}
H = {"width": 1280, "depth": 32, "grid": 16, "patch": 14}
MAE = {"base": (B, 12, 85.8, 86.6), "large": (L, 16, 303.3, 304.3), "huge": (H, 16, 630.8, 632.0)}


def _mae() -> Mapping[str, Real]:
    found = {}
    for size, (sizes, heads, bare, classified) in MAE.items():
        encoder = vit(**sizes)
        decoder = mae_decoder(
            encoder=sizes["width"], width=512, depth=8, grid=sizes["grid"], patch=sizes["patch"]
        )
        tuned = vit(**sizes, final="fc_norm", heads=linear("head", sizes["width"], 1000))
        found[f"mae_vit_{size}"] = Real(encoder, (heads,), 1, bare)
        found[f"mae_vit_{size}_full"] = Real(encoder | decoder, (heads,), 1, bare)
        found[f"mae_vit_{size}_visualize"] = Real(encoder | decoder, (heads,), 1, bare)
        found[f"mae_vit_{size}_finetuned"] = Real(tuned, (heads,), 1, classified)
    return found


def _deit() -> Mapping[str, Real]:
    found = {}
    for size, width, heads, count in (
        ("tiny", 192, 3, 5.72), ("small", 384, 6, 22.05), ("base", 768, 12, 86.6),
    ):  # fmt: skip
        shapes = vit(width=width, depth=12, grid=14, heads=linear("head", width, 1000))
        found[f"deit_{size}"] = Real(shapes, (heads,), 1, count)
    both = linear("head", 768, 1000) | linear("head_dist", 768, 1000)
    shapes = vit(**B, prefix=("cls_token", "dist_token"), heads=both)
    return found | {"deit_base_distilled": Real(shapes, (12,), 2, 87.3)}


def _contrastive() -> Mapping[str, Real]:
    small = vit(width=384, depth=12, grid=14)
    found = {
        "dino_vit_small": Real(small, (6,), 1, 21.7),
        "dino_vit_base": Real(vit(**B), (12,), 1, 85.8),
        "moco_v3_vit_small": Real(
            moco_v3(small, head="head", layers=3, features=384), (12,), 1, 21.7
        ),
        "moco_v3_vit_base": Real(
            moco_v3(vit(**B), head="head", layers=3, features=768), (12,), 1, 85.8
        ),
    }
    for name, version in (
        ("moco_v1_resnet50", 1), ("moco_v2_resnet50_200ep", 2), ("moco_v2_resnet50_800ep", 2),
    ):  # fmt: skip
        found[name] = Real(moco(resnet(), moco_head(version, 2048)), (0,), 0, 23.5)
    for epochs in (100, 300, 1000):
        shapes = moco_v3(resnet(), head="fc", layers=2, features=2048)
        found[f"moco_v3_resnet50_{epochs}ep"] = Real(shapes, (0,), 0, 23.5)
    for width, count in ((1, 23.5), (2, 93.9), (4, 375.0)):
        found[f"simclr_resnet50_{width}x"] = Real(simclr(width), (0,), 0, count)
    return found


def _beit_like() -> Mapping[str, Real]:
    words = beit(**B, heads=12, mask_token=True, top=linear("lm_head", 768, 8192))
    encoder = beit(**B, heads=12, mask_token=True)
    tuned = beit(**B, heads=12, shared=False, final="fc_norm", top=linear("head", 768, 1000))
    return {
        "beit_base": Real(words, (12,), 1, 85.7),
        "simmim_vit_base": Real(simmim(encoder, features=768, stride=16), (12,), 1, 85.7),
        "simmim_vit_base_finetuned": Real(tuned, (12,), 1, 86.5),
    }


def sized(width: int, heads: int, window: int, side: int) -> Sizes:
    stages = tuple(heads * 2**stage for stage in range(4))
    return Sizes(width, stages, window, side, depths=(2, 2, 18, 2))


def _swin() -> Mapping[str, Real]:
    def pre_trained(sizes: Sizes, count: float) -> Real:
        shapes = simmim(swin(sizes, mask_token=True), features=8 * sizes.width, stride=32)
        return Real(shapes, sizes.heads, 0, count)

    def classifier(sizes: Sizes, count: float) -> Real:
        return Real(swin(sizes, classes=1000), sizes.heads, 0, count)

    base, large = sized(128, 4, 6, 192), sized(192, 6, 12, 192)
    return {
        "swin_base": classifier(sized(128, 4, 7, 224), 87.8),
        "simmim_swin_base_100ep": pre_trained(base, 86.7),
        "simmim_swin_base_800ep": pre_trained(base, 86.7),
        "simmim_swin_large_800ep": pre_trained(large, 195.0),
        "simmim_swin_base_100ep_finetuned_192": classifier(base, 87.8),
        "simmim_swin_base_100ep_finetuned_224": classifier(sized(128, 4, 7, 224), 87.8),
        "simmim_swin_base_800ep_finetuned": classifier(sized(128, 4, 7, 224), 87.8),
        "simmim_swin_large_800ep_finetuned": classifier(sized(192, 6, 14, 224), 196.7),
    }


def _swinv2() -> Mapping[str, Real]:
    found = {}
    for size, width, heads, count in (
        ("small", 96, 3, 49.0), ("base", 128, 4, 86.9), ("large", 192, 6, 195.0),
        ("huge", 352, 11, 655.0), ("giant", 448, 14, 1061.0),
    ):  # fmt: skip
        sizes = sized(width, heads, 12, 192)
        encoder = swinv2(sizes, mask_token=True, positions="rpe_mlp")
        shapes = simmim(encoder, features=8 * width, stride=32)
        found[f"simmim_swinv2_{size}_1k_500k"] = Real(shapes, sizes.heads, 0, count)
    for name, sizes, classes, count in (
        ("window8_256", sized(128, 4, 8, 256), 1000, 87.9),
        ("window16_256", sized(128, 4, 16, 256), 1000, 87.9),
        ("window12_192_22k", sized(128, 4, 12, 192), 21841, 109.3),
    ):
        shapes = swinv2(sizes, classes=classes)
        found[f"swinv2_base_{name}"] = Real(shapes, sizes.heads, 0, count)
    return found


REAL: Mapping[str, Real] = {
    **_mae(), **_deit(), **_contrastive(), **_beit_like(), **_swin(), **_swinv2(),
}  # fmt: skip
"""By the name of the card."""
