"""Small untrained networks of each family, pictures in folders by class, and whole tests."""

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

import mimprobe
from mimprobe.data.transforms import Preprocessing

PREPARE = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0, "squash").transform()

PLAIN = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "num_heads": 3, "num_classes": 0}
STAGED = {
    "img_size": 16, "patch_size": 2, "window_size": 2, "embed_dim": 8, "depths": (2, 4),
    "num_heads": (2, 4), "num_classes": 0,
}  # fmt: skip
NETWORKS = {
    "vit": lambda: timm.models.VisionTransformer(**PLAIN, depth=4),
    "vit with fc_norm": lambda: timm.models.VisionTransformer(**PLAIN, depth=3, global_pool="avg"),
    "beit": lambda: timm.models.Beit(**PLAIN, depth=4, use_shared_rel_pos_bias=True),
    "swin": lambda: timm.models.SwinTransformer(**STAGED),
    "swinv2": lambda: timm.models.SwinTransformerV2(**STAGED),
}


def network(name):
    """Build one, with weights that make every block matter."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def pixels(count=5, seed=1):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def class_folder(folder, each, seed, classes=("dots", "lines", "noise")):
    """Draw pictures whose class is the colour that they have more of."""
    draw = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            picture = draw.integers(0, 160, (16, 16, 3), dtype=np.uint8)
            picture[..., number % 3] += 60
            Image.fromarray(picture).save(folder / name / f"{index}.png")
    return folder


def outcome_of(test, folders, models=("vit",), **arguments):
    modules = {name: network(name) for name in models}
    settings = {"device": "cpu", "transform": PREPARE, "seeds": 2} | arguments
    return mimprobe.layer_test(modules, test, *folders, **settings)
