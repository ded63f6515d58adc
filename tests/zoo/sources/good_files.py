"""Small good files of several sources, written, loaded and run once, for tests to damage."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from zoo.sources.made_files import images, load, numbers, write, write_card
from zoo.sources.resnet_formats import moco, moco_head, resnet
from zoo.sources.swin_formats import Sizes, mmpretrain_swin, swin, swinv2
from zoo.sources.vit_formats import Shapes, beit, linear, mae_decoder, simmim, vit

SWIN = Sizes(width=8, heads=(1, 2), window=2, side=16, depths=(1, 2), hidden=2)
VIT = {"width": 192, "depth": 2, "grid": 2, "patch": 4, "hidden": 64}
BEIT = {"width": 12, "depth": 2, "heads": 3, "grid": 3, "patch": 4, "hidden": 16}
RESNET = {"layers": (1, 1, 1, 1), "planes": (4, 4, 4, 4)}


@dataclass(frozen=True)
class Base:
    """A good file, and how it is loaded."""

    shapes: Shapes
    converter: str
    side: int
    top_key: str = "model"
    card: dict[str, Any] = field(default_factory=dict)
    input_size: int | None = None


SWIN_CARD = {
    "architecture": "swin_base_patch4_window7_224", "heads": SWIN.heads, "prefix": 0,
    "arguments": {"img_size": 16, "window_size": 2, "embed_dim": 8, "depths": SWIN.depths,
                  "num_heads": SWIN.heads, "mlp_ratio": 2.0, "num_classes": 0},
}  # fmt: skip
VIT_CARD = {
    "architecture": "vit_tiny_patch16_224", "heads": 3, "prefix": 1,
    "arguments": {"img_size": 8, "patch_size": 4, "depth": 2, "mlp_ratio": 64 / 192,
                  "num_classes": 0},
}  # fmt: skip
RESNET_CARD = {
    "architecture": "resnet50", "heads": 0, "prefix": 0,
    "arguments": {"layers": (1,) * 4, "channels": (4,) * 4, "num_classes": 0},
}  # fmt: skip
DECODER = mae_decoder(encoder=192, width=8, depth=1, grid=2, patch=4)
BASES = {
    "SimMIM ViT": Base(simmim(beit(**BEIT, mask_token=True), features=12, stride=4), "simmim", 12),
    "SimMIM ViT fine-tuned": Base(
        beit(**BEIT, shared=False, final="fc_norm", top=linear("head", 12, 5)), "as_is", 12
    ),
    "MAE": Base(vit(**VIT) | DECODER, "mae", 8),
    "Swin": Base(swin(SWIN, classes=5), "swin", 16),
    "SwinV2": Base(swinv2(SWIN, classes=5), "swin", 16),
    "mmpretrain": Base(mmpretrain_swin(SWIN), "mmpretrain_swin", 16, "state_dict"),
    "MoCo by card": Base(
        moco(resnet(**RESNET), moco_head(2, 16), queue=4), "moco", 32, "state_dict", RESNET_CARD
    ),
    "Swin by card, resized": Base(
        simmim(swin(SWIN, mask_token=True), features=16, stride=8), "simmim", 16, card=SWIN_CARD,
        input_size=8,
    ),
    "MAE by card, resized": Base(vit(**VIT) | DECODER, "mae", 8, card=VIT_CARD, input_size=12),
}  # fmt: skip


class Good:
    """A base written, loaded and run once."""

    def __init__(self, base: Base, folder: Any) -> None:
        self.base, self.folder = base, folder
        self.state = {name: representable(t) for name, t in numbers(base.shapes).items()}
        if base.card:
            write_card(folder, "made", file="made.pth", converter=base.converter, side=base.side,
                       top_key=base.top_key, **base.card)  # fmt: skip
        self.x = images(base.input_size or base.side, 1).float()
        self.loaded = self.load({base.top_key: self.state, "epoch": 3})
        self.output = self.run(self.loaded)
        assert self.output.std() > 0.1
        self.dropped = set(self.loaded.load_report.dropped)

    def load(self, content: Any) -> Any:
        path = write(self.folder / "made.pth", content)
        more = {"card": "made", "input_size": self.base.input_size} if self.base.card else {}
        return load(path, **more)

    def run(self, loaded: Any) -> Any:
        with torch.no_grad():
            return loaded.module.forward_features(self.x)


def representable(tensor: Tensor) -> Tensor:
    """Round to what float16 and bfloat16 hold exactly, so that another type changes nothing."""
    if not tensor.is_floating_point():
        return tensor
    return ((tensor * 64).round() / 64).clamp(-2, 2)
