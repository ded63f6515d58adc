"""References of every kind, on files that the tests make."""

import json
import shutil

import pytest
import safetensors.torch
import timm
import torch

from mimprobe.errors import CardError, CheckpointError, OptionError, UnknownNameError
from mimprobe.models.sites import layout
from mimprobe.zoo import shelf as shelves
from mimprobe.zoo.card import read_card
from mimprobe.zoo.lineup import line_up
from mimprobe.zoo.load import load_model
from mimprobe.zoo.shelf import bundled_directory, card_names, find_card
from mimprobe.zoo.weights import file_sha256

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
ARCH = "vit_tiny_patch16_224"


@pytest.fixture
def network():
    torch.manual_seed(5)
    return timm.create_model(ARCH, num_classes=7, **SMALL).eval()


def write_own_file(network, path, **changes):
    """Write what our trainer writes."""
    tensors = {f"encoder.{key}": value.half() for key, value in network.state_dict().items()}
    tensors["mask_token"] = torch.zeros(1, 1, 24).half()
    document = {
        "format": 1, "kind": "mim", "arch": ARCH, "arch_args": SMALL | {"num_classes": 7},
        "preprocessing": {
            "input_size": [32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic", "crop_pct": 1.0,
        },
    } | changes  # fmt: skip
    safetensors.torch.save_file(tensors, path, {"mimprobe": json.dumps(document)})


def write_card(folder, weights, **changes):
    values = {"name": "small", "heads": 3, "prefix": 1, "sha256": file_sha256(weights)} | changes
    (folder / f"{values['name']}.toml").write_text(
        f"""
name = "{values["name"]}"
title = "a small one"
kind = "mim"
source = "this test"
licence = "MIT"

[weights]
file = "{weights.name}"
checksum = "sha256:{values["sha256"]}"
converter = "mimprobe"

[architecture]
name = "{ARCH}"
heads = {values["heads"]}
prefix_tokens = {values["prefix"]}

[architecture.arguments]
img_size = 32
patch_size = 8
embed_dim = 24
depth = 2
num_heads = 3
num_classes = 7

[preprocessing]
input_size = [32, 32]
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
interpolation = "bicubic"
crop_pct = 1.0
"""
    )


@pytest.fixture
def shelf(network, tmp_path, monkeypatch):
    """A folder of cards in place of the bundled one."""
    write_own_file(network, tmp_path / "small.safetensors")
    write_card(tmp_path, tmp_path / "small.safetensors")
    monkeypatch.setattr(shelves, "bundled_directory", lambda: tmp_path)
    monkeypatch.setenv("MIMPROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def assert_same_function(one, other, rtol=1e-4):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(one(images), other(images), rtol=rtol, atol=1e-4)


def test_a_card(shelf, network):
    loaded = load_model("small", device="cpu")
    assert_same_function(loaded.module, network.half().float())
    assert loaded.kind == "mim"
    assert loaded.preprocessing.input_size == (32, 32)
    assert set(loaded.load_report.matched) == set(network.state_dict())
    assert loaded.load_report.renamed["encoder.cls_token"] == "cls_token"
    assert loaded.load_report.dropped == {"mask_token": "used in training only"}
    assert loaded.load_report.checked == "sha256 as published"
    assert not loaded.module.training
    assert "small" in loaded._repr_html_()


def test_a_card_whose_file_has_one_flipped_byte(shelf):
    path = shelf / "small.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match="is not the file that card 'small' describes, or is damaged"
    ):
        load_model("small", device="cpu")


@pytest.mark.parametrize("changes", [{"heads": 6}, {"prefix": 2}])
def test_a_card_that_contradicts_its_network(shelf, changes):
    write_card(shelf, shelf / "small.safetensors", name="other", **changes)
    with pytest.raises(CheckpointError, match=r"^card 'other' says .* has \[3\] and 1$"):
        load_model("other", device="cpu")


def test_unknown_names_say_the_nearest(shelf):
    with pytest.raises(UnknownNameError, match=r"^unknown model 'smal'; did you mean 'small'\?"):
        load_model("smal")
    with pytest.raises(UnknownNameError, match=r"did you mean 'vit_base_patch16_224'\?"):
        load_model("random:vit_base_patch16_22")
    with pytest.raises(UnknownNameError, match=r"did you mean 'resnet50'"):
        load_model("timm:resnet5O")


def test_random_is_seeded_and_leaves_the_global_generator(shelf):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, same = (load_model("random:small", device="cpu") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    other = load_model("random:small", device="cpu", seed=1)
    assert one.sha256 == same.sha256 != other.sha256
    assert one.kind == "untrained"
    assert layout(one.module).prefix_tokens == 1


def test_our_own_file_needs_no_arch(network, tmp_path):
    write_own_file(network, tmp_path / "mine.safetensors")
    loaded = load_model(tmp_path / "mine.safetensors", device="cpu")
    assert (loaded.name, loaded.kind) == ("mine", "mim")
    assert_same_function(loaded.module, network.half().float())
    assert "content not verifiable" in loaded.load_report.checked


def test_a_file_that_says_its_architecture_is_asked_first(network, tmp_path):
    write_own_file(network, tmp_path / "mine.safetensors")
    loaded = load_model(tmp_path / "mine.safetensors", arch="resnet50", device="cpu")
    assert loaded.architecture == ARCH


def test_a_timm_name_without_its_scheme_is_told():
    for text in ("vit_base_patch16_224", "vit_base_patch16_224.mae"):
        with pytest.raises(UnknownNameError, match=rf"did you mean 'timm:{text}'\?"):
            load_model(text)


def test_damaged_metadata(network, tmp_path):
    write_own_file(network, tmp_path / "mine.safetensors", preprocessing={})
    with pytest.raises(CheckpointError, match=r"^the metadata of .* are damaged"):
        load_model(tmp_path / "mine.safetensors")


def test_a_file_with_arch_reads_the_classes_off_the_file_and_warns(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="preprocessing of w.pth is taken from timm's"):
        loaded = load_model(tmp_path / "w.pth", arch=ARCH, arch_args=SMALL, device="cpu")
    assert_same_function(loaded.module, network)
    assert loaded.sha256 == file_sha256(tmp_path / "w.pth")


def test_a_file_that_leaves_a_choice_asks_for_it(tmp_path):
    network = timm.create_model("vit_small_patch16_224", depth=1, num_heads=12, num_classes=0)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "w.pth")
    assert str(caught.value) == (
        f"{tmp_path}/w.pth does not say which network it is: vit_small_patch16_224 with "
        '{"num_heads": 6} or vit_small_patch16_224 with {"num_heads": 12} would fit; name one with '
        "arch= and arch_args= (--arch, --arch-args)"
    )
    with pytest.warns(UserWarning, match=r"^w\.pth is taken for plain names"):
        loaded = load_model(tmp_path / "w.pth", arch_args={"num_heads": 12}, device="cpu")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(loaded.module(images), network.eval()(images))


def test_a_file_of_another_architecture_lists_what_does_not_fit(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"does not fit the architecture, nothing was loaded"):
        load_model(tmp_path / "w.pth", arch="resnet18", arch_args={"num_classes": 7})
    with pytest.raises(CheckpointError, match=r"missing in the file: blocks\.2\."):
        load_model(tmp_path / "w.pth", arch=ARCH, arch_args=SMALL | {"depth": 3})


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        load_model(tmp_path / "none.pth")


def test_timm_without_network_is_one_line(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to the hub\nsecond line")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(CheckpointError) as caught:
        load_model("timm:resnet18")
    assert str(caught.value) == "the weights of timm:resnet18 could not be had: no route to the hub"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("licence =", "license ="), "lacks licence in the top"),
        (('file = "', 'files = "'), r"lacks file in section \[weights\]"),
        (('checksum = "', 'sha256 = "'), r"unknown entry in section \[weights\] 'sha256'"),
        (('checksum = "sha256:', 'checksum = "sha1:'), "checksum 'sha1:"),
        (('kind = "mim"', 'kind = "mims"'), "unknown kind of training 'mims'; did you mean 'mim'"),
        (("heads = 3", "heads = true"), "heads must be a whole number, not True"),
        (('file = "small', 'file = "../small'), "weights.file must be a plain file name"),
        (('name = "small"', 'name = "big"'), "is named 'big', its file 'small'"),
        (("[weights]", "[weights"), "cannot be read"),
    ],
)
def test_damaged_cards(shelf, changes, told):
    path = shelf / "small.toml"
    path.write_text(path.read_text().replace(*changes, 1))
    with pytest.raises(CardError, match=told):
        read_card(path)


def test_the_bundled_cards_are_whole():
    assert {"simmim-tiny40", "supervised-tiny40"} <= set(card_names())
    for name in ("simmim-tiny40", "supervised-tiny40"):
        card = find_card(name)
        path = card.bundled_weights
        assert path is not None
        assert f"sha256:{file_sha256(path)}" == card.weights.checksum
        assert path.stat().st_size < 6e6
        loaded = load_model(name, device="cpu")
        assert loaded.kind == card.kind
        count = sum(parameter.numel() for parameter in loaded.module.parameters())
        assert count == card.parameters


def test_bundled_directory_of_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "mimprobe"
    (package / "zoo").mkdir(parents=True)
    monkeypatch.setattr(shelves, "__file__", str(package / "zoo" / "shelf.py"))
    with pytest.raises(CardError, match="the bundled cards are missing"):
        bundled_directory()
    shutil.copytree(tmp_path / "site-packages" / "mimprobe" / "zoo", package / "pretrained")
    assert bundled_directory() == package / "pretrained"


def test_line_up(shelf, network):
    device = torch.device("cpu")

    def names(models, transform=None, **kinds):
        lineup = line_up(models, transform=transform, kinds=kinds, device=device, seed=0)
        return [(model.name, model.kind) for model in lineup]

    assert names("small") == [("small", "mim")]
    assert names(["small", "random:small"]) == [("small", "mim"), ("random:small", "untrained")]
    assert names({"a": "small", "b": network}, b="supervised") == [
        ("a", "mim"),
        ("b", "supervised"),
    ]
    assert names([load_model("small", device="cpu")]) == [("small", "mim")]
    for models, transform, told in (
        (["small", "small"], None, "two models are called 'small'"),
        ([], None, "no models were given"),
        ({"a": torch.nn.Linear(1, 1)}, None, "model 'a' is a Linear that does not say how"),
        (network, None, "a module needs a name"),
    ):
        with pytest.raises(OptionError, match=told):
            names(models, transform)
    with pytest.raises(
        UnknownNameError, match="unknown kind of training 'mmi'; did you mean 'mim'"
    ):
        names("small", small="mmi")
    with pytest.raises(UnknownNameError, match="unknown model 'smal'"):
        names("small", smal="mim")
