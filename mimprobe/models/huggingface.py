"""The families of Hugging Face's transformers, under the same public names as timm's.

What belongs here: the one place where the class names and module paths of transformers' networks
are written down, and an encoder of MAE that keeps all patches in their order. What does not belong
here: how their attention is tapped (`huggingface_attention`), hooks, and loading
(`zoo.huggingface`). Classes are told by their names, and transformers is imported only for a
network that is one of its own, so it need not be installed.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mimprobe.errors import SiteError
from mimprobe.models.huggingface_attention import ATTENTION_CLASSES, class_name
from mimprobe.models.sites import Layout, Reading, Site, Tap, Window, block_sites, by_name
from mimprobe.models.switches import Switch


class Encoder(NamedTuple):
    """What is known of a class of encoders.

    Attributes:
        family: as in `Layout`.
        prefix_tokens: tokens before the patches, without the registers that a configuration counts.
        resizes: whether it interpolates its position embeddings to any input by itself.
    """

    family: str
    prefix_tokens: int
    resizes: bool


ENCODERS: Mapping[str, Encoder] = MappingProxyType(
    {
        "ViTModel": Encoder("vit", 1, resizes=False),
        "DeiTModel": Encoder("vit", 2, resizes=False),
        "ViTMAEModel": Encoder("vit", 1, resizes=False),
        "Dinov2Model": Encoder("vit", 1, resizes=True),
        "Dinov2WithRegistersModel": Encoder("vit", 1, resizes=True),
        "DINOv3ViTModel": Encoder("vit", 1, resizes=True),
        "CLIPVisionModel": Encoder("vit", 1, resizes=False),
        "SiglipVisionModel": Encoder("vit", 0, resizes=False),
        "BeitModel": Encoder("beit", 1, resizes=True),
        "Data2VecVisionModel": Encoder("beit", 1, resizes=True),
        "SwinModel": Encoder("swin", 0, resizes=False),
        "Swinv2Model": Encoder("swinv2", 0, resizes=False),
    }
)
"""Encoders by the name of their class, which is unique within transformers."""

HEADED: Mapping[str, str] = MappingProxyType(
    {
        "ViTForImageClassification": "vit",
        "ViTForMaskedImageModeling": "vit",
        "DeiTForImageClassification": "deit",
        "DeiTForImageClassificationWithTeacher": "deit",
        "DeiTForMaskedImageModeling": "deit",
        "ViTMAEForPreTraining": "vit",
        "Dinov2ForImageClassification": "dinov2",
        "Dinov2WithRegistersForImageClassification": "dinov2_with_registers",
        "CLIPVisionModelWithProjection": "vision_model",
        "CLIPForImageClassification": "vision_model",
        "SiglipForImageClassification": "vision_model",
        "BeitForImageClassification": "beit",
        "BeitForMaskedImageModeling": "beit",
        "Data2VecVisionForImageClassification": "data2vec_vision",
        "SwinForImageClassification": "swin",
        "SwinForMaskedImageModeling": "swin",
        "Swinv2ForImageClassification": "swinv2",
        "Swinv2ForMaskedImageModeling": "swinv2",
    }
)
"""Classes with a head, and where they keep their encoder."""

BLOCKS = ("layers", "encoder.layer", "encoder.layers", "model.layer")
"""Where an encoder keeps its blocks or stages."""

ATTENTION = ("attention.attention", "attention.self", "attention", "self_attn")
"""Where a block keeps the module that makes the probabilities."""

STEM = ("embeddings.patch_embeddings", "embeddings.patch_embedding")
"""Where an encoder keeps what the images enter."""


def layout(model: nn.Module) -> Layout | None:
    """List the sites of a network of transformers; None for any other.

    Raises:
        SiteError: this version of transformers builds the network in a way that is not known.
    """
    names = _class_names(model)
    encoder: Any = model
    for name in names & HEADED.keys():
        encoder = model.get_submodule(HEADED[name])
    found = _class_names(encoder) & ENCODERS.keys()
    if not found:
        return None
    return _encoder_layout(encoder, ENCODERS[found.pop()])


def _encoder_layout(encoder: Any, known: Encoder) -> Layout:
    staged = known.family in ("swin", "swinv2")
    blocks = _first_of(encoder, BLOCKS)
    if blocks is None:
        version = importlib.import_module("transformers").__version__
        raise SiteError(
            f"transformers {version} keeps the blocks of {type(encoder).__name__} where mimprobe "
            "does not look; install another version: pip install --upgrade 'mimprobe[hf]'"
        )
    stem = _first_of(encoder, STEM)
    assert stem is not None
    switches = (
        (Switch(encoder.embeddings, "random_masking", _all_patches),)
        if hasattr(encoder.embeddings, "random_masking")
        else ()
    )
    registers: int = getattr(encoder.config, "num_register_tokens", 0)
    return Layout(
        known.family, stem, known.prefix_tokens + registers,
        by_name(_staged_sites(blocks) if staged else _plain_sites(blocks)),
        _reading(encoder, known, staged=staged), switches, class_token=known.prefix_tokens > 0,
    )  # fmt: skip


def _plain_sites(blocks: Any) -> list[Site]:
    return [
        site
        for layer, block in enumerate(blocks)
        for site in block_sites(f"blocks.{layer}", layer, block, _tap(block))
    ]


def _staged_sites(stages: Any) -> list[Site]:
    """Name the blocks of Swin, whose maps are merged behind each stage."""
    sites: list[Site] = []
    layer = 0
    for number, stage in enumerate(stages):
        for position, block in enumerate(stage.blocks):
            name = f"stages.{number}.blocks.{position}"
            sites.extend(block_sites(name, layer, block, _tap(block), scale=2**number))
            layer += 1
    return sites


def _reading(encoder: Any, known: Encoder, *, staged: bool) -> Reading:
    height, width = patch = _pair(encoder.config.patch_size)
    # Swin can do without position embeddings; CLIP's have another name.
    fixed = not known.resizes and getattr(encoder.embeddings, "position_embeddings", 1) is not None
    return Reading(
        patch=patch,
        # Swin pads its input to whole patches, the others cut it.
        grid=(lambda size: (-(-size[0] // height), -(-size[1] // width)))
        if staged
        else (lambda size: (size[0] // height, size[1] // width)),
        tokens=lambda output: output[0] if isinstance(output, tuple) else output,
        map_size=(lambda inputs: _pair(inputs[1])) if staged else None,
        window=_window if staged else None,
        input_size=_pair(encoder.config.image_size) if fixed else None,
    )


def _window(block: Any) -> Window:
    """Read the window in the pass: at small maps, Swin shrinks it and gives up the shift then."""
    return Window(_pair(block.window_size), _pair(block.shift_size), pads_first=True)


def _tap(block: nn.Module) -> Tap | None:
    attention: Any = _first_of(block, ATTENTION, classes=ATTENTION_CLASSES)
    if attention is None:
        return None
    return ATTENTION_CLASSES[class_name(type(attention))](attention)


def _all_patches(sequence: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Stand in for MAE's `random_masking`, which shuffles the patches even where it keeps all."""
    if noise is not None:
        raise SiteError(
            "a pass with noise= masks and shuffles patches, so their places in the image are "
            "lost; MAE is observed unmasked: call the model with pixels only"
        )
    batch, patches, _ = sequence.shape
    order = torch.arange(patches, device=sequence.device).expand(batch, -1)
    return sequence, torch.zeros(batch, patches, device=sequence.device), order


def _first_of(
    module: nn.Module, paths: tuple[str, ...], classes: Mapping[str, Any] | None = None
) -> nn.Module | None:
    """Find the first path that leads to a module, of one of the classes if they are given."""
    for path in paths:
        found: Any = module
        for name in path.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.Module) and (classes is None or class_name(type(found)) in classes):
            return found
    return None


def _class_names(module: nn.Module) -> set[str]:
    """Name the class of a module and those it derives from."""
    return {class_name(kind) for kind in type(module).__mro__}


def _pair(size: Any) -> tuple[int, int]:
    """Read a size that may be one number for both sides."""
    rows, columns = size if isinstance(size, list | tuple) else (size, size)
    return int(rows), int(columns)
