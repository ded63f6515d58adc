"""The bundled cards against the public files' full names and shapes, without any memory."""

from functools import cache

import pytest
import torch
from zoo.sources.full_size import REAL
from zoo.sources.made_files import HALVES, IMAGENET, UNIT, without_memory

from mimprobe.models.sites import attention_heads, layout
from mimprobe.zoo.build import create
from mimprobe.zoo.card import read_card
from mimprobe.zoo.carded import check_card
from mimprobe.zoo.convert import CONVERTERS
from mimprobe.zoo.shelf import bundled_directory

OURS = ("simmim-tiny40", "supervised-tiny40")
"""Trained here: their files are in the repository."""


def bundled():
    return sorted(path.stem for path in bundled_directory().glob("*.toml"))


@cache
def built(architecture, arguments):
    with torch.device("meta"):
        return create(architecture, dict(arguments))


def network(card):
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in card.arguments.items()}
    return built(card.architecture, tuple(sorted(frozen.items())))


def card_of(name):
    return read_card(bundled_directory() / f"{name}.toml")


def test_every_card_is_described_here():
    assert set(bundled()) - set(OURS) == set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_a_card_fits_its_file(name):
    card, real = card_of(name), REAL[name]
    module = network(card)
    tensors = without_memory(real.shapes)
    converted = CONVERTERS[card.weights.converter](tensors)
    own, found = (
        {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in state.items()}
        for state in (module.state_dict(), converted.tensors)
    )
    assert found == own
    assert card.weights.missing == card.weights.unexpected == {}
    origins = {converted.renamed.get(key, key) for key in tensors.keys() - converted.dropped.keys()}
    assert origins == own.keys()


@pytest.mark.parametrize("name", REAL)
def test_a_card_counts_right(name):
    card, real = card_of(name), REAL[name]
    module = network(card)
    check_card(card, module)
    places = layout(module)
    heads = [attention_heads(places[site]) for site in places.attention_sites]
    assert (tuple(dict.fromkeys(heads)) or (0,)) == card.heads == real.heads
    assert places.prefix_tokens == card.prefix_tokens == real.prefix
    count = sum(parameter.numel() for parameter in module.parameters())
    assert card.parameters == count
    assert count / 1e6 == pytest.approx(real.millions, rel=2e-3)


RESAMPLED = {"moco": "bilinear"}


@pytest.mark.parametrize("name", REAL)
def test_a_card_prepares_images_as_its_source_does(name):
    """Mean and standard deviation are the source's, whatever timm says of the architecture."""
    card = card_of(name)
    expected = UNIT if name.startswith("simclr") else HALVES if name == "beit_base" else IMAGENET
    preprocessing = card.preprocessing
    assert (preprocessing.mean, preprocessing.std) == expected
    assert preprocessing.crop_pct == 0.875
    assert preprocessing.interpolation == RESAMPLED.get(name.partition("_")[0], "bicubic")
    module = network(card)
    built_for = getattr(module, "patch_embed", None)
    if built_for is not None:
        assert preprocessing.input_size == built_for.img_size
    side = 256 if "256" in name else 224
    smaller = name.startswith("simmim_swin") and not name.endswith(("finetuned", "224"))
    assert preprocessing.input_size == ((192, 192) if smaller or "192" in name else (side, side))


@pytest.mark.parametrize("name", REAL)
def test_a_card_is_of_the_right_kind(name):
    kinds = {
        "deit_base_distilled": "distilled", "deit": "supervised", "swin": "supervised",
        "swinv2": "supervised", "mae": "mim", "simmim": "mim", "beit": "mim",
        "moco": "contrastive", "simclr": "contrastive", "dino": "contrastive",
    }  # fmt: skip
    card = card_of(name)
    assert card.kind == kinds.get(name, kinds[name.partition("_")[0]])
    non_commercial = name.startswith(("mae", "moco"))
    assert card.licence == ("CC BY-NC 4.0" if non_commercial else card.licence)
    assert card.licence in {"MIT", "Apache-2.0", "CC BY-NC 4.0"}
    top = {"moco": "state_dict", "simclr": "state_dict", "dino": None}
    assert card.weights.top_key == top.get(name.partition("_")[0], "model")
