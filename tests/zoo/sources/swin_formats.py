"""Names and shapes in the files of Swin and SwinV2, as their authors' code writes them.

The original lists the down-sampling at the end of its stage, and stores the tables that can be
computed from the sizes; timm does neither.
"""

from dataclasses import dataclass

from zoo.sources.vit_formats import Shapes, linear, norm


@dataclass(frozen=True)
class Sizes:
    """A Swin: the numbers that its shapes follow from."""

    width: int
    heads: tuple[int, ...]
    window: int
    side: int  # of the input in pixels
    depths: tuple[int, ...] = (2, 2, 2, 2)
    patch: int = 4
    hidden: int = 4  # of the MLP, in widths

    def at(self, stage: int) -> tuple[int, int]:
        """Side of a stage's map, and of its windows, which never exceed the map."""
        side = self.side // self.patch // 2**stage
        return side, min(side, self.window)


def swin(sizes: Sizes, *, mask_token: bool = False, classes: int = 0) -> Shapes:
    shapes = _stem(sizes, mask_token=mask_token)
    for stage, depth in enumerate(sizes.depths):
        width, (_, window) = sizes.width * 2**stage, sizes.at(stage)
        for number in range(depth):
            name = f"layers.{stage}.blocks.{number}"
            shapes |= {
                **_mask(sizes, stage, number),
                **norm(f"{name}.norm1", width),
                f"{name}.attn.relative_position_bias_table": (
                    (2 * window - 1) ** 2,
                    sizes.heads[stage],
                ),
                f"{name}.attn.relative_position_index": (window**2, window**2),
                **linear(f"{name}.attn.qkv", width, 3 * width),
                **_rest(name, width, sizes.hidden),
            }
        if stage < len(sizes.depths) - 1:
            shapes |= linear(
                f"layers.{stage}.downsample.reduction", 4 * width, 2 * width, bias=False
            )
            shapes |= norm(f"layers.{stage}.downsample.norm", 4 * width)
    return shapes | _top(sizes, classes)


def swinv2(
    sizes: Sizes, *, mask_token: bool = False, classes: int = 0, positions: str = "cpb_mlp"
) -> Shapes:
    """SwinV2; SimMIM's pre-training calls the network of the positions `rpe_mlp`."""
    shapes = _stem(sizes, mask_token=mask_token)
    for stage, depth in enumerate(sizes.depths):
        width, (_, window) = sizes.width * 2**stage, sizes.at(stage)
        for number in range(depth):
            name = f"layers.{stage}.blocks.{number}"
            reach = 2 * window - 1
            shapes |= {
                **_mask(sizes, stage, number),
                **norm(f"{name}.norm1", width),
                f"{name}.attn.logit_scale": (sizes.heads[stage], 1, 1),
                f"{name}.attn.q_bias": (width,),
                f"{name}.attn.v_bias": (width,),
                f"{name}.attn.relative_coords_table": (1, reach, reach, 2),
                f"{name}.attn.relative_position_index": (window**2, window**2),
                **linear(f"{name}.attn.{positions}.0", 2, 512),
                **linear(f"{name}.attn.{positions}.2", 512, sizes.heads[stage], bias=False),
                **linear(f"{name}.attn.qkv", width, 3 * width, bias=False),
                **_rest(name, width, sizes.hidden),
            }
        if stage < len(sizes.depths) - 1:
            shapes |= linear(
                f"layers.{stage}.downsample.reduction", 4 * width, 2 * width, bias=False
            )
            shapes |= norm(f"layers.{stage}.downsample.norm", 2 * width)
    return shapes | _top(sizes, classes)


def mmpretrain_swin(sizes: Sizes) -> Shapes:
    """mmpretrain's SimMIM: a backbone with its own names, and a decoder in the neck."""
    name = "backbone."
    shapes: Shapes = {
        f"{name}mask_token": (1, 1, sizes.width),
        f"{name}patch_embed.projection.weight": (sizes.width, 3, sizes.patch, sizes.patch),
        f"{name}patch_embed.projection.bias": (sizes.width,),
        **norm(f"{name}patch_embed.norm", sizes.width),
    }
    for stage, depth in enumerate(sizes.depths):
        width, (_, window) = sizes.width * 2**stage, sizes.at(stage)
        for number in range(depth):
            place = f"{name}stages.{stage}.blocks.{number}"
            shapes |= {
                **norm(f"{place}.norm1", width),
                f"{place}.attn.w_msa.relative_position_bias_table": (
                    (2 * window - 1) ** 2,
                    sizes.heads[stage],
                ),
                f"{place}.attn.w_msa.relative_position_index": (window**2, window**2),
                **linear(f"{place}.attn.w_msa.qkv", width, 3 * width),
                **linear(f"{place}.attn.w_msa.proj", width, width),
                **norm(f"{place}.norm2", width),
                **linear(f"{place}.ffn.layers.0.0", width, sizes.hidden * width),
                **linear(f"{place}.ffn.layers.1", sizes.hidden * width, width),
            }
        if stage < len(sizes.depths) - 1:
            place = f"{name}stages.{stage}.downsample"
            shapes |= norm(f"{place}.norm", 4 * width)
            shapes |= linear(f"{place}.reduction", 4 * width, 2 * width, bias=False)
    features = sizes.width * 2 ** (len(sizes.depths) - 1)
    stride = sizes.patch * 2 ** (len(sizes.depths) - 1)
    return {
        **shapes,
        **norm(f"{name}norm{len(sizes.depths) - 1}", features),
        "neck.decoder.0.weight": (stride**2 * 3, features, 1, 1),
        "neck.decoder.0.bias": (stride**2 * 3,),
    }


def _stem(sizes: Sizes, *, mask_token: bool) -> Shapes:
    return {
        **({"mask_token": (1, 1, sizes.width)} if mask_token else {}),
        "patch_embed.proj.weight": (sizes.width, 3, sizes.patch, sizes.patch),
        "patch_embed.proj.bias": (sizes.width,),
        **norm("patch_embed.norm", sizes.width),
    }


def _mask(sizes: Sizes, stage: int, number: int) -> Shapes:
    """The mask that shifted blocks store: every second one, where there are several windows."""
    side, window = sizes.at(stage)
    if number % 2 == 0 or side <= sizes.window:
        return {}
    windows = (side // window) ** 2
    return {f"layers.{stage}.blocks.{number}.attn_mask": (windows, window**2, window**2)}


def _rest(name: str, width: int, hidden: int) -> Shapes:
    return {
        **linear(f"{name}.attn.proj", width, width),
        **norm(f"{name}.norm2", width),
        **linear(f"{name}.mlp.fc1", width, hidden * width),
        **linear(f"{name}.mlp.fc2", hidden * width, width),
    }


def _top(sizes: Sizes, classes: int) -> Shapes:
    features = sizes.width * 2 ** (len(sizes.depths) - 1)
    return norm("norm", features) | (linear("head", features, classes) if classes else {})
