"""Small networks whose pass is written out, with the blocks in any order that a test wants."""

import timm
import torch
from torch import nn

PLAIN = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "img_size": 32}
STAGED = {"embed_dim": 12, "depths": (2, 4, 2), "num_heads": (2, 2, 4), "window_size": 4,
          "img_size": 64}  # fmt: skip
NETWORKS = {
    "vit": ("vit_tiny_patch16_224", PLAIN),
    "vit without class": (
        "vit_tiny_patch16_224", {**PLAIN, "class_token": False, "global_pool": "avg"},
    ),
    "vit scaled": ("deit3_small_patch16_224", PLAIN),
    "beit": ("beit_base_patch16_224", PLAIN),
    "swin": ("swin_tiny_patch4_window7_224", STAGED),
    "swinv2": ("swinv2_tiny_window8_256", STAGED),
}  # fmt: skip
OTHERS = {
    "relpos": ("vit_relpos_small_patch16_224", PLAIN),
    "shared relpos": ("vit_srelpos_small_patch16_224", PLAIN),
    "eva": ("eva02_base_patch14_224", PLAIN),
    "dinov3": ("vit_small_patch16_dinov3", PLAIN),
}
"""Their passes are not written out: what stays with a place differs too much."""


def build(name, *, seed=0, **changes):
    """Build a network in evaluation mode whose every weight matters."""
    architecture, arguments = {**NETWORKS, **OTHERS}[name]
    torch.manual_seed(seed)
    network = timm.create_model(architecture, **{"num_classes": 5, **arguments, **changes})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def blocks_of(network):
    """List the blocks in execution order."""
    if hasattr(network, "blocks"):
        return list(network.blocks)
    return [block for stage in network.layers for block in stage.blocks]


@torch.no_grad()
def outputs(network, images, blocks):
    """Run the network with these blocks in place of its own; None leaves one out."""
    queue = iter(blocks)
    if hasattr(network, "blocks"):
        x, shared = _embedded(network, images)
        for _ in network.blocks:
            block = next(queue)
            x = x if block is None else block(x, **shared)
        return network.forward_head(network.norm(x))
    x = network.patch_embed(images)
    for stage in network.layers:
        x = stage.downsample(x)
        for _ in stage.blocks:
            block = next(queue)
            x = x if block is None else block(x)
    return network.forward_head(network.norm(x))


def _embedded(network, images):
    x = network.patch_embed(images)
    prefix = [] if network.cls_token is None else [network.cls_token.expand(len(x), -1, -1)]
    beit = hasattr(network, "rel_pos_bias")
    if network.pos_embed is not None and network.pos_embed.shape[1] == x.shape[1]:
        x = torch.cat([*prefix, x + network.pos_embed], 1)  # DeiT III: no position of the class
    else:
        x = torch.cat([*prefix, x], 1)
        x = x if network.pos_embed is None else x + network.pos_embed
    shared = None if not beit or network.rel_pos_bias is None else network.rel_pos_bias()
    return x, ({"shared_rel_pos_bias": shared} if beit else {})


@torch.no_grad()
def passed(network, images):
    """Run a network as it is."""
    return network(images)
