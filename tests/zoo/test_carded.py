"""A card's weights: in the cache, handed over, and checked against the card."""

import hashlib
from dataclasses import replace

import pytest
import timm
import torch

from mimprobe.errors import CardError, CheckpointError
from mimprobe.zoo.carded import adopt_weights, card_weights, fill_from_card, present_weights
from mimprobe.zoo.load import load_model
from mimprobe.zoo.shelf import find_card
from mimprobe.zoo.weights import read_weights


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIMPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MIMPROBE_OFFLINE", "1")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def card():
    """MAE's ViT-B with one block."""
    found = find_card("mae_vit_base")
    return replace(found, arguments={**found.arguments, "depth": 1})


@pytest.fixture
def network(card):
    return timm.create_model(card.architecture, **card.arguments)


def stored(network, path, card):
    torch.save({"model": network.state_dict()}, path)
    digits = hashlib.md5(path.read_bytes()).hexdigest()
    return replace(card, weights=replace(card.weights, checksum=f"md5:{digits[:6]}"))


def test_the_cache_is_looked_into_before_the_internet(cache, card, network):
    assert present_weights(card) is None
    with pytest.raises(CheckpointError, match="mae_pretrain_vit_base.pth"):
        card_weights(card)  # offline
    stored(network, cache / card.weights.file, card)
    assert card_weights(card) == present_weights(card) == cache / card.weights.file


def test_the_first_digits_of_a_checksum_are_enough(cache, card, network):
    path = cache / card.weights.file
    card = stored(network, path, card)
    report = fill_from_card(network, read_weights(path), card)
    assert report.checked == "md5 as published (its first 6 digits)"
    assert report.converter == "mae"


def test_another_file_is_refused(cache, card, network):
    path = cache / card.weights.file
    stored(network, path, card)
    with pytest.raises(CheckpointError) as caught:
        fill_from_card(network, read_weights(path), card)
    assert str(caught.value) == (
        f"{path} is not the file that card 'mae_vit_base' describes, or is damaged (md5 "
        f"{hashlib.md5(path.read_bytes()).hexdigest()}, expected 8cad7c); 'mimprobe models fetch "
        "mae_vit_base --again' replaces it"
    )


def test_a_file_is_handed_over_if_it_is_the_right_one(cache, card, network, tmp_path):
    mine = tmp_path / "download.pth"
    right = stored(network, mine, card)
    with pytest.raises(CheckpointError, match="is not the file that card"):
        adopt_weights(card, mine)
    assert list(cache.iterdir()) == []
    assert adopt_weights(right, mine) == cache / card.weights.file
    assert (cache / card.weights.file).read_bytes() == mine.read_bytes()


def test_without_an_address_the_way_is_told(cache):
    with pytest.raises(CheckpointError) as caught:
        load_model("simclr_resnet50_1x")
    assert str(caught.value) == (
        "the weights of simclr_resnet50_1x are not here: convert the TensorFlow release of "
        "google-research/simclr with tonylins/simclr-converter; then put the file at "
        f"{cache / 'resnet50-1x.pth'}, or give it with 'mimprobe models fetch simclr_resnet50_1x "
        "--from FILE'"
    )


def test_an_unknown_converter(cache, card, network):
    path = cache / card.weights.file
    card = stored(network, path, card)
    wrong = replace(card, weights=replace(card.weights, converter="simmin"))
    with pytest.raises(CardError, match=r"unknown converter 'simmin'; did you mean 'simmim'\?"):
        fill_from_card(network, read_weights(path), wrong)
