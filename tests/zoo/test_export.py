"""Weights in the original SimMIM's names: there and back again."""

import pytest
import timm
import torch
from zoo.sources.made_files import images, load, numbers
from zoo.sources.plain_vit import vit

from mimprobe.errors import CheckpointError, OutputError, UnknownNameError
from mimprobe.experiments.painters import SimMIMPainter, painter_of
from mimprobe.zoo.convert import simmim
from mimprobe.zoo.export import encoder_tensors, export_checkpoint
from mimprobe.zoo.weights import read_weights

ARCH = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 0}
SWIN = {"embed_dim": 12, "depths": (1, 2, 1), "num_heads": (1, 2, 4), "window_size": 4,
        "img_size": 32, "num_classes": 0}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_checkpoint("simmim-tiny40", tmp_path_factory.mktemp("out") / "simmim.pth")


def test_names_are_the_originals(exported):
    file = read_weights(exported)
    assert file.top_key == "model"
    names = set(file.tensors)
    blocks = [
        f"encoder.blocks.{number}.{part}"
        for number in range(12)
        for part in (
            "norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.q_bias", "attn.v_bias",
            "attn.proj.weight", "attn.proj.bias", "norm2.weight", "norm2.bias", "mlp.fc1.weight",
            "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
        )
    ]  # fmt: skip
    assert names == {
        *blocks, "encoder.cls_token", "encoder.mask_token", "encoder.pos_embed",
        "encoder.patch_embed.proj.weight", "encoder.patch_embed.proj.bias", "encoder.norm.weight",
        "encoder.norm.bias", "decoder.0.weight", "decoder.0.bias",
    }  # fmt: skip
    assert file.tensors["decoder.0.weight"].shape == (192, 128, 1, 1)
    assert all(tensor.dtype == torch.float32 for tensor in file.tensors.values())


def test_it_loads_through_our_own_converter_with_equal_outputs(exported):
    ours, theirs = load("simmim-tiny40"), load(exported, arch_args={"num_heads": 8})
    assert theirs.load_report.converter == "simmim"
    assert theirs.kind == "mim"
    x = images(64)
    with torch.no_grad():
        tokens = [one.module.double().forward_features(x) for one in (ours, theirs)]
        torch.testing.assert_close(tokens[0], tokens[1], rtol=1e-6, atol=1e-6)
    painters = [painter_of(one).double().eval() for one in (ours, theirs)]
    assert isinstance(painters[1], SimMIMPainter)
    mask = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.6
    with torch.no_grad():
        painted = [painter(x, mask) for painter in painters]
    assert painted[0].std() > 0.1
    torch.testing.assert_close(painted[0], painted[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer_scale", [None, 0.1])
def test_a_vit_is_the_originals_vit(layer_scale):
    """The plain implementation of the original's ViT, which has no bias of keys, agrees."""
    torch.manual_seed(0)
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=24, init_values=layer_scale, **ARCH
    ).double()
    network.load_state_dict(numbers({k: tuple(v.shape) for k, v in network.state_dict().items()}))
    assert network.blocks[0].attn.qkv.bias[24:48].abs().max() > 0.1, "keys have a bias"
    state = {name: tensor.double() for name, tensor in encoder_tensors(network).items()}
    x = images(24)
    with torch.no_grad():
        found, expected = vit(state, x, heads=3), network.eval().forward_features(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("swin_tiny_patch4_window7_224", SWIN),
        ("swinv2_tiny_window8_256", SWIN),
        ("beit_base_patch16_224", {**ARCH, "img_size": 32, "global_pool": ""}),
    ],
)
def test_other_encoders_go_there_and_back(name, arguments):
    """What the converter makes of the exported names are the network's own names and tensors."""
    network = timm.create_model(name, **arguments)
    exported = {f"encoder.{key}": value for key, value in encoder_tensors(network).items()}
    back = simmim({**exported, "encoder.mask_token": torch.zeros(1)}).tensors
    own = network.state_dict()
    tables = ("relative_position_index", "relative_coords_table", "attn_mask")
    kept = {key: value for key, value in own.items() if key.rpartition(".")[2] not in tables}
    assert back.keys() == kept.keys()
    assert all(torch.equal(back[key], kept[key]) for key in kept)
    if name.startswith("swin"):
        assert "encoder.layers.0.downsample.reduction.weight" in exported
        assert "encoder.layers.2.downsample.reduction.weight" not in exported


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("supervised-tiny40", "supervised-tiny40 was not trained by 'mimprobe pretrain simmim'"),
        ("random:simmim-tiny40", "was not trained by"),
    ],
)
def test_what_is_no_simmim_model_is_refused(reference, told, tmp_path):
    with pytest.raises(CheckpointError, match=told):
        export_checkpoint(reference, tmp_path / "x.pth")
    assert not list(tmp_path.iterdir())


def test_networks_that_the_original_does_not_have():
    with pytest.raises(CheckpointError, match="the original SimMIM has no ResNet"):
        encoder_tensors(timm.create_model("resnet18"))
    registers = timm.create_model("vit_tiny_patch16_224", img_size=32, reg_tokens=2, **ARCH)
    with pytest.raises(CheckpointError, match=r"cannot hold this one \(reg_token\)"):
        encoder_tensors(registers)


def test_files_and_formats(exported):
    with pytest.raises(OutputError, match=r"simmim\.pth is already there; pass --overwrite"):
        export_checkpoint("simmim-tiny40", exported)
    with pytest.raises(UnknownNameError, match="unknown format of weights 'simim'"):
        export_checkpoint("simmim-tiny40", exported, format="simim", overwrite=True)
    before = exported.read_bytes()
    export_checkpoint("simmim-tiny40", exported, overwrite=True)
    assert exported.read_bytes() == before
