"""What a weights file is, from its names and shapes alone.

What belongs here: which source wrote a file, which network it belongs to, and what neither names
nor shapes can tell. What does not: loading it (`load`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CheckpointError, MimprobeError
from mimprobe.models.sites import attention_heads, layout
from mimprobe.zoo.build import create
from mimprobe.zoo.convert import CONVERTERS
from mimprobe.zoo.families import network_of
from mimprobe.zoo.network import Network
from mimprobe.zoo.weights import WeightsFile

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Source:
    """Somebody's way to write checkpoints.

    Attributes:
        title: for people.
        converter: its renaming.
        kind: of training; `other` where the format does not decide it.
        fits: tells its files by the names of their tensors.
        heads: attention heads by width, where this source has one choice only.
        scale: mean and standard deviation of the input; None where the format does not decide it.
        interpolation: of its evaluation.
    """

    title: str
    converter: str
    kind: str
    fits: Callable[[Mapping[str, Tensor]], bool]
    heads: Mapping[int, int] | None = None
    scale: tuple[tuple[float, float, float], tuple[float, float, float]] | None = IMAGENET
    interpolation: str = "bicubic"


def _starts(*prefixes: str) -> Callable[[Mapping[str, Tensor]], bool]:
    return lambda names: any(name.startswith(prefixes) for name in names)


def _from_tensorflow(tensors: Mapping[str, Tensor]) -> bool:
    """Tell SimCLR's: a wide stem, which nobody else has, or TensorFlow's order: outputs last."""
    stem = tensors.get("conv1.weight")
    if stem is None or stem.ndim != 4 or "layer1.0.conv3.weight" not in tensors:
        return False
    return stem.shape[0] > 64 or (stem.shape[0] == 64 and stem.stride()[0] == 1)


STANDARD_HEADS = {192: 3, 768: 12, 1024: 16, 1280: 16}
"""Heads by width that all public ViTs share; 384 is not among them: 6 in DeiT, 12 in MoCo v3."""

SOURCES = (
    Source(
        "MoCo v1 or v2 pre-training", "moco", "contrastive", _starts("module.encoder_q."),
        interpolation="bilinear",
    ),
    Source(
        "MoCo v3 pre-training", "moco_v3", "contrastive", _starts("module.base_encoder."),
        heads={384: 12, 768: 12, 1024: 16, 1280: 16}, interpolation="bilinear",
    ),
    Source(
        "mmpretrain's SimMIM (Swin)", "mmpretrain_swin", "mim",
        lambda names: any(".attn.w_msa." in name for name in names),
    ),
    Source(
        "SimMIM pre-training", "simmim", "mim",
        lambda names: "encoder.mask_token" in names or "decoder.0.weight" in names,
        heads=STANDARD_HEADS,
    ),
    Source(
        "MAE with its decoder", "mae", "mim", _starts("decoder_embed.", "decoder_blocks."),
        heads=STANDARD_HEADS,
    ),
    Source(
        "DINO, a full checkpoint's teacher", "dino", "contrastive",
        _starts("backbone.", "module.backbone."), heads={192: 3, 384: 6, 768: 12},
    ),
    Source("BEiT pre-training", "beit", "mim", _starts("lm_head."), scale=HALVES),
    Source(
        "SimCLR, converted from TensorFlow", "simclr", "contrastive",
        _from_tensorflow, scale=((0.0,) * 3, (1.0,) * 3),
    ),
    Source("Swin or SwinV2", "swin", "other", _starts("layers.0.blocks.0.")),
    Source("DataParallel", "data_parallel", "other", _starts("module."), scale=None),
    Source("plain names, as timm and torchvision write them", "as_is", "other", _starts(""),
           scale=None),
)  # fmt: skip
"""In the order in which they are tried."""

OWN_TRAINER = Source(
    "mimprobe's trainer",
    "mimprobe",
    "other",
    lambda names: not names,
    scale=None,
)
"""Its files are known by their metadata."""


@dataclass(frozen=True)
class Recognition:
    """What a file is.

    Attributes:
        source: who wrote it, for people.
        converter: the renaming that applies.
        kind: of training; `other` where the file does not tell.
        network: architecture with its arguments; where `choices` has several, one of them.
        choices: networks that fit the file equally well.
        preprocessing: what the network expects of an image.
        assumed: what the file does not say and was taken from custom, in sentences.
    """

    source: str
    converter: str
    kind: str
    network: Network
    choices: tuple[Network, ...]
    preprocessing: Preprocessing
    assumed: tuple[str, ...]


def source_of(file: WeightsFile) -> Source:
    """Tell whose way of naming a file follows."""
    return next(one for one in SOURCES if one.fits(file.tensors))


def recognise(file: WeightsFile, known: Mapping[str, Any] | None = None) -> Recognition:
    """Tell what a file is.

    Args:
        file: the file.
        known: arguments of the network that the user knows, such as `{"num_heads": 12}`.

    Raises:
        CheckpointError: it is of no known source or family, or its shapes contradict each other.
    """
    source = source_of(file)
    converted = CONVERTERS[source.converter](file.tensors)
    try:
        network = network_of(converted.tensors, file.tensors)
    except MimprobeError as error:
        raise CheckpointError(f"{file.path} ({source.title}): {error}") from error
    if "num_heads" in (known or {}) and network.open_heads:
        network = replace(_with_heads(network, (known or {})["num_heads"]), open_heads=())
    choices, told = _settled(network, source)
    choices = _agreeing(choices, known or {})
    _require_same_shapes(file, source, choices[0], converted.tensors)
    preprocessing, scale_told = _preprocessing(source, choices[0])
    told = (*network.assumed, *told, *scale_told)
    if source.kind == "other":
        told = (*told, "how it was trained is not in the file (--kind)")
    return Recognition(
        source.title, source.converter, source.kind, choices[0], choices, preprocessing, told
    )


def refusal(file: WeightsFile, found: Recognition) -> str:
    """Say why a file is not loaded without further words, and which words would do."""
    listed = " or ".join(_words(network) for network in found.choices)
    return (
        f"{file.path} does not say which network it is: {listed} would fit; name one with arch= "
        "and arch_args= (--arch, --arch-args)"
    )


def check_heads(module: nn.Module, source: Source, what: str) -> None:
    """Compare a plain ViT's heads with those that every model of the source has.

    Raises:
        CheckpointError: they differ: the file would load whole, and be wrong.
    """
    if not isinstance(module, VisionTransformer) or source.heads is None:
        return
    places = layout(module)
    built = attention_heads(places[places.attention_sites[0]])
    known = source.heads.get(module.embed_dim, built)
    if known != built:
        raise CheckpointError(
            f"{what} would have {built} heads, but {source.title} has {known} at width "
            f"{module.embed_dim}; add arch_args={{'num_heads': {known}}} (--arch-args)"
        )


def preprocessing_of(module: nn.Module, source: Source) -> Preprocessing:
    """Give the source's preprocessing for a network, or timm's where the source has none."""
    usual = Preprocessing.from_timm(module)
    if source.scale is None:
        return usual
    mean, std = source.scale
    return Preprocessing(usual.input_size, mean, std, source.interpolation, crop_pct=0.875)


def _words(network: Network) -> str:
    return f"{network.architecture} with {network.told}"


def _settled(network: Network, source: Source) -> tuple[tuple[Network, ...], tuple[str, ...]]:
    """Decide the number of heads of a ViT, or list the choices."""
    if not network.open_heads:
        return (network, *network.others), ()
    by_width = source.heads or STANDARD_HEADS
    if network.width in by_width:
        heads = by_width[network.width]
        known = (
            f"as in every model of this source ({source.title})"
            if source.heads
            else "as in every public ViT of this width"
        )
        told = f"{heads} heads, {known}; the shapes would be the same with another number"
        return (_with_heads(network, heads),), (told,)
    return tuple(_with_heads(network, heads) for heads in network.open_heads), ()


def _agreeing(choices: tuple[Network, ...], known: Mapping[str, Any]) -> tuple[Network, ...]:
    """Keep the choices that agree with what the user knows; all, if none does."""
    kept = [
        choice
        for choice in choices
        if all(choice.arguments.get(key, value) == value for key, value in known.items())
    ]
    open_keys = {
        key
        for choice in choices
        for key, value in choice.arguments.items()
        if value != choices[0].arguments.get(key)
    }
    if not kept and open_keys and open_keys <= known.keys():
        return (replace(choices[0], arguments={**choices[0].arguments, **known}),)
    return tuple(kept) or choices


def _with_heads(network: Network, heads: int) -> Network:
    return replace(
        network,
        arguments={**network.arguments, "num_heads": heads},
        heads=(heads,),
        told=f'{{"num_heads": {heads}}}',
    )


def _require_same_shapes(
    file: WeightsFile, source: Source, network: Network, tensors: Mapping[str, Tensor]
) -> None:
    """Build the network without memory and compare: nothing is guessed past this point."""
    with torch.device("meta"):
        own = create(network.architecture, network.arguments).state_dict()
    wrong = sorted(own.keys() ^ tensors.keys()) + [
        key for key in sorted(own.keys() & tensors.keys()) if own[key].shape != tensors[key].shape
    ]
    if wrong:
        wrong = ["".join(c if c.isprintable() else "?" for c in k) for k in wrong]
        shown = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise CheckpointError(
            f"{file.path} looks like {network.architecture} ({source.title}), but differs in "
            f"{shown}; name the network with arch= and arch_args= (--arch, --arch-args), or write "
            "a card (docs/checkpoints.md)"
        )


def _preprocessing(source: Source, network: Network) -> tuple[Preprocessing, tuple[str, ...]]:
    mean, std = source.scale or IMAGENET
    told = () if source.scale else ("ImageNet's mean and standard deviation",)
    size = network.input_size
    found = Preprocessing(size, mean, std, source.interpolation, crop_pct=0.875)
    return found, told


def describe(found: Recognition) -> dict[str, Any]:
    """Give what is known of a file as data, for the command line and the manifest."""
    return {
        "source": found.source,
        "converter": found.converter,
        "kind": found.kind,
        "architecture": found.network.architecture,
        "arguments": dict(found.network.arguments),
        "heads": list(found.network.heads),
        "prefix_tokens": found.network.prefix_tokens,
        "preprocessing": found.preprocessing.describe(),
        "assumed": list(found.assumed),
    }
