"""From the names in somebody's checkpoint to the names in timm's network.

What belongs here: one pure function for each source, and the dict that names them. A converter says
for every tensor where it goes or why it is left out; what it does not know keeps its name, and is
then unexpected. What does not belong here: reading files (`weights`), sizes (`resize`), and putting
tensors into a network (`fill`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mimprobe.errors import CheckpointError


@dataclass(frozen=True)
class Converted:
    """Tensors under the network's names.

    Attributes:
        tensors: by the network's name.
        renamed: name in the file to the network's name, where they differ.
        dropped: name in the file to the reason why it is left out.
    """

    tensors: Mapping[str, Tensor]
    renamed: Mapping[str, str]
    dropped: Mapping[str, str]


class Dropped(str):
    """In the place of a new name: why a tensor is left out."""

    __slots__ = ()


RECOMPUTED = Dropped("computed anew from the sizes")
DECODER = Dropped("decoder of the pre-training, not part of the encoder")
MASK_TOKEN = Dropped("mask token of the pre-training; the encoder is shown whole images")
PROJECTION = Dropped("projection head of the pre-training, not part of the encoder")
OTHER_NETWORK = Dropped("another network of the pre-training")

BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask")
"""Last parts of the names of tables that timm computes itself."""


def as_is(tensors: Mapping[str, Tensor]) -> Converted:
    """Take timm's and torchvision's names, and those of DeiT, as they are."""
    return _placed(tensors, lambda key: key)


def data_parallel(tensors: Mapping[str, Tensor]) -> Converted:
    """Strip the `module.` of `DataParallel` and of MoCo's linear-probe files."""
    return _placed(tensors, lambda key: key.removeprefix("module."))


def own_trainer(tensors: Mapping[str, Tensor]) -> Converted:
    """Take the encoder of what mimprobe's trainer wrote."""
    training_only = Dropped("used in training only")
    return _placed(tensors, lambda key: _inside(key, "encoder.") or training_only)


def simmim(tensors: Mapping[str, Tensor]) -> Converted:
    """Take the encoder of SimMIM's pre-training: ViT, Swin and SwinV2 (microsoft/SimMIM).

    Fine-tuned files have no `encoder.` and no decoder; theirs are `beit_finetuned` and `swin`.
    """
    stages_end_in_downsampling = _downsamples_at_the_end(tensors, "encoder.")

    def place(key: str) -> str:
        name = _inside(key, "encoder.")
        if name is None:
            return DECODER if key.startswith("decoder.") else key
        if name == "mask_token":
            return MASK_TOKEN
        return _swin_name(name, stages_end_in_downsampling)

    return _placed(tensors, place)


def swin(tensors: Mapping[str, Tensor]) -> Converted:
    """Move the down-sampling of the original Swin and SwinV2 to where timm has it."""
    shifted = _downsamples_at_the_end(tensors, "")
    return _placed(tensors, lambda key: _swin_name(key, shifted))


def mae(tensors: Mapping[str, Tensor]) -> Converted:
    """Take the encoder of MAE: encoder-only, full, visualisation and fine-tuned files."""

    def place(key: str) -> str:
        if key == "mask_token":
            return MASK_TOKEN
        return DECODER if key.startswith("decoder_") else key

    return _placed(tensors, place)


def moco(tensors: Mapping[str, Tensor]) -> Converted:
    """Take the query encoder of MoCo v1 and v2, without its projection."""
    return _placed(tensors, lambda key: _of_moco(key, "module.encoder_q.", ("fc.",)))


def moco_v3(tensors: Mapping[str, Tensor]) -> Converted:
    """Take the base encoder of MoCo v3, without its projection (`head` of a ViT, `fc` of a ResNet).

    The stored sine-cosine positions are kept: other code lays them out differently.
    """
    return _placed(tensors, lambda key: _of_moco(key, "module.base_encoder.", ("fc.", "head.")))


def simclr(tensors: Mapping[str, Tensor]) -> Converted:
    """Take SimCLR's ResNet as `tonylins/simclr-converter` writes it, without the classifier.

    That converter stores the classifier's bias as an attribute of its weight, so that the `fc.bias`
    of the file is a random one.
    """
    unusable = Dropped("linear classifier; the file's bias is not the trained one")
    return _placed(tensors, lambda key: unusable if key.startswith("fc.") else key)


def dino(tensors: Mapping[str, Tensor]) -> Converted:
    """Take DINO's backbone: the flat files, or the teacher of a full checkpoint."""

    def place(key: str) -> str:
        name = key.removeprefix("module.")
        inside = _inside(name, "backbone.")
        if inside is not None:
            return inside
        return PROJECTION if name.startswith("head.") else name

    return _placed(tensors, place)


def beit(tensors: Mapping[str, Tensor]) -> Converted:
    """Take BEiT's encoder; also SimMIM's fine-tuned ViT, which has BEiT's names."""

    def place(key: str) -> str:
        if key == "mask_token":
            return MASK_TOKEN
        return PROJECTION if key.startswith("lm_head.") else key

    return _placed(tensors, place)


def mmpretrain_swin(tensors: Mapping[str, Tensor]) -> Converted:
    """Take the Swin of mmpretrain's SimMIM.

    Its patch merging lays out four neighbours as `nn.Unfold` does, channel by channel and row by
    row; timm's has them neighbour by neighbour and column by column.
    """

    def place(key: str) -> str:
        name = _inside(key, "backbone.")
        if name is None:
            return Dropped("not part of the backbone")
        if name == "mask_token":
            return MASK_TOKEN
        for pattern, new in _MMPRETRAIN_SWIN:
            name = pattern.sub(new, name)
        return _swin_name(name, True)

    found = _placed(tensors, place)
    merged = {
        name: _merging_columns(tensor) if ".downsample." in name else tensor
        for name, tensor in found.tensors.items()
    }
    return Converted(merged, found.renamed, found.dropped)


CONVERTERS: dict[str, Callable[[Mapping[str, Tensor]], Converted]] = {
    "as_is": as_is,
    "beit": beit,
    "data_parallel": data_parallel,
    "dino": dino,
    "mae": mae,
    "mimprobe": own_trainer,
    "mmpretrain_swin": mmpretrain_swin,
    "moco": moco,
    "moco_v3": moco_v3,
    "simclr": simclr,
    "simmim": simmim,
    "swin": swin,
}
"""By the name that a card gives."""

_MMPRETRAIN_SWIN = [
    (re.compile(old), new)
    for old, new in (
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"^stages\.", "layers."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        (r"^norm\d+\.", "norm."),
    )
]


def _placed(tensors: Mapping[str, Tensor], place: Callable[[str], str]) -> Converted:
    """Apply `place` to every name, and leave out the tables that timm computes itself.

    Raises:
        CheckpointError: two tensors of the file would get the same name.
    """
    kept: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for key, tensor in tensors.items():
        name = place(key)
        if not isinstance(name, Dropped) and name.rsplit(".", 1)[-1] in BUFFERS:
            name = RECOMPUTED
        if isinstance(name, Dropped):
            dropped[key] = str(name)
        elif name in kept:
            raise CheckpointError(f"{origin[name]} and {key} would both become {name}")
        else:
            kept[name], origin[name] = tensor, key
    renamed = {key: name for name, key in origin.items() if key != name}
    return Converted(kept, renamed, dropped)


def _inside(key: str, prefix: str) -> str | None:
    """Strip a prefix from the start, once; None where it is not there."""
    return key.removeprefix(prefix) if key.startswith(prefix) else None


def _of_moco(key: str, encoder: str, projection: tuple[str, ...]) -> str:
    name = _inside(key, encoder)
    if name is not None:
        return PROJECTION if name.startswith(projection) else name
    return OTHER_NETWORK if key.startswith("module.") else key


def _downsamples_at_the_end(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    """Tell the original Swin, whose first stage ends in down-sampling, from timm's."""
    return f"{prefix}layers.0.downsample.reduction.weight" in tensors


def _swin_name(name: str, shifted: bool) -> str:
    """Give timm's name; where stages end in down-sampling, timm starts the next one with it."""
    name = name.replace(".attn.rpe_mlp.", ".attn.cpb_mlp.")
    if not shifted:
        return name
    if name.startswith("head."):
        return f"head.fc.{name.removeprefix('head.')}"
    stage = re.match(r"layers\.(\d+)\.downsample\.", name)
    if stage is None:
        return name
    return f"layers.{int(stage[1]) + 1}.downsample.{name[stage.end() :]}"


def _merging_columns(tensor: Tensor) -> Tensor:
    """Reorder the last axis from (channel, row, column) to (column, row, channel)."""
    if tensor.ndim == 0 or tensor.shape[-1] % 4:
        return tensor  # of no size that fits, which the filling tells
    channels = tensor.shape[-1] // 4
    unfolded = tensor.reshape(*tensor.shape[:-1], channels, 2, 2)
    return unfolded.transpose(-1, -3).reshape(tensor.shape)
