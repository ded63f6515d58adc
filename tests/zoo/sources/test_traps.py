"""The traps of CHECKPOINTS.md that lie in names, shapes and what a load leaves unsaid."""

import sys
import warnings

import pytest
import safetensors.torch
import torch
from zoo.sources import plain_vit
from zoo.sources.made_files import (
    HALVES,
    IMAGENET,
    assert_same_tokens,
    images,
    inside,
    load,
    numbers,
    pretended,
    write,
    write_card,
    write_microsoft,
)
from zoo.sources.resnet_formats import moco, moco_head, resnet
from zoo.sources.vit_formats import beit, linear, mae_decoder, moco_v3, simmim, under, vit

from mimprobe.errors import CheckpointError, SiteError
from mimprobe.models.sites import layout
from mimprobe.zoo.convert import CONVERTERS
from mimprobe.zoo.load import load_model
from mimprobe.zoo.weights import file_sha256

SIDE = 24
SIZES = {"depth": 1, "grid": 3, "patch": 8, "hidden": 96}
PLAIN = {"img_size": SIDE, "patch_size": 8, "depth": 1}


def built(width):
    """Arguments that build a network of `SIZES` and a width."""
    return {**PLAIN, "mlp_ratio": 96 / width}


def card(folder, *, heads=3, prefix=1, width=48, converter="mae", arguments=None, **changes):
    write_card(
        folder, "made", file="made.pth", architecture="vit_base_patch16_224", heads=heads,
        prefix=prefix, converter=converter, side=SIDE,
        arguments={"embed_dim": width, "num_heads": 3, "num_classes": 0}
        | built(width) | (arguments or {}),
        **changes,
    )  # fmt: skip


def mae_file(folder, name="made.pth", **more):
    state = numbers(vit(width=48, **SIZES) | more)
    return state, write(folder / name, {"model": state})


# Trap 1: a load that succeeds while wrong


@pytest.mark.parametrize(("heads", "prefix"), [(6, 1), (12, 1), (3, 0), (3, 2)])
def test_1_a_card_whose_heads_or_prefix_the_network_does_not_have(cards, heads, prefix):
    mae_file(cards)
    card(cards, heads=heads, prefix=prefix)
    with pytest.raises(CheckpointError, match=r"has \[3\] and 1$"):
        load("made")


def test_1_moco_v3s_vit_small_is_not_loaded_with_timms_6_heads(tmp_path):
    shapes = moco_v3(vit(width=384, **SIZES), head="head", layers=3, features=384, mlp=8)
    state = numbers(shapes)
    path = write(tmp_path / "vit-s.pth.tar", {"state_dict": state, "arch": "vit_small"})
    arch, arguments = "vit_small_patch16_224", built(384)
    with pytest.raises(CheckpointError, match=r"6 heads, but MoCo v3.* has 12 at width 384"):
        load(path, arch=arch, arch_args=arguments)
    with pytest.raises(CheckpointError, match="12 at width 384"):
        load(path, arch_args={"num_heads": 6})
    loaded = load(path, arch=arch, arch_args=arguments | {"num_heads": 12})
    plain = inside(state, "module.base_encoder.")
    right, wrong = (plain_vit.vit(plain, images(SIDE), heads=heads) for heads in (12, 6))
    assert (right - wrong).abs().max() > 0.1
    assert_same_tokens(loaded, images(SIDE), right)


def test_1_a_distilled_file_does_not_go_into_a_network_with_one_prefix_token(tmp_path):
    both = linear("head", 768, 10) | linear("head_dist", 768, 10)
    shapes = vit(width=768, **SIZES, prefix=("cls_token", "dist_token"), heads=both)
    path = write(tmp_path / "w.pth", {"model": numbers(shapes)})
    with pytest.raises(CheckpointError, match="unexpected in the file: dist_token"):
        load(path, arch="deit_base_patch16_224", arch_args=built(768))


@pytest.mark.parametrize("tuned", [True, False])
def test_1_a_final_norm_at_the_other_place(tmp_path, tuned):
    final = {"final": "fc_norm", "heads": linear("head", 768, 10)} if tuned else {}
    path = write(tmp_path / "w.pth", {"model": numbers(vit(width=768, **SIZES, **final))})
    pool = {} if tuned else {"global_pool": "avg"}
    with pytest.raises(CheckpointError) as caught:
        load(path, arch="vit_base_patch16_224", arch_args=built(768) | pool)
    there, lacking = ("fc_norm", "norm") if tuned else ("norm", "fc_norm")
    assert f"2 missing in the file: {lacking}.bias, {lacking}.weight" in str(caught.value)
    assert f"2 unexpected in the file: {there}.bias, {there}.weight" in str(caught.value)


def test_1_only_what_the_card_allows_may_be_missing_or_left_over(cards):
    state = numbers(vit(width=48, **SIZES))
    state["extra.weight"] = torch.ones(3)
    lacking = {name: tensor for name, tensor in state.items() if not name.startswith("norm.")}
    write(cards / "made.pth", {"model": lacking})
    card(cards)
    with pytest.raises(CheckpointError, match=r"2 missing .* norm\.bias, norm\.weight; 1 unexp"):
        load("made")
    told = '[weights.missing]\n"norm.*" = "a"\n[weights.unexpected]\n"extra.*" = "b"\n'
    path = cards / "made.toml"
    path.write_text(path.read_text().replace("[architecture]", f"{told}[architecture]"))
    report = load("made").load_report
    assert report.missing == {"norm.bias": "a", "norm.weight": "a"}
    assert report.dropped == {"extra.weight": "b"}
    assert "2 missing" in report.summary()
    del lacking["cls_token"]
    write(cards / "made.pth", {"model": lacking})
    with pytest.raises(CheckpointError, match="1 missing in the file: cls_token"):
        load("made")


# Trap 2: objects beside the tensors


def test_2_known_classes_are_mapped_within_the_load_only(tmp_path):
    state = numbers(
        simmim(beit(width=24, depth=1, heads=3, grid=3, patch=8), features=24, stride=8)
    )
    safe, known = torch.serialization.get_safe_globals(), set(sys.modules)
    for old in (True, False):
        path = write_microsoft(tmp_path / "w.pth", state, old_format=old)
        with pytest.raises(Exception, match=r"yacs\.config\.CfgNode|numpy"):
            torch.load(path, weights_only=True)
        load(path)
    assert torch.serialization.get_safe_globals() == safe
    assert not {name for name in set(sys.modules) - known if name.startswith("yacs")}


@pytest.mark.parametrize("old", [True, False])
def test_2_another_class_is_refused_by_its_name(tmp_path, old):
    with pretended("secret.module", "Thing", dict) as thing:
        content = {"model": numbers(vit(width=48, **SIZES)), "config": thing(a=1)}
        path = write(tmp_path / "w.pth", content, old_format=old)
    with pytest.raises(CheckpointError, match=r"secret\.module\.Thing") as caught:
        load(path)
    assert "\n" not in str(caught.value)


# Trap 3: a prefix is stripped from the start, once

PREFIXES = {
    "data_parallel": "module.", "dino": "backbone.", "mimprobe": "encoder.",
    "moco": "module.encoder_q.", "moco_v3": "module.base_encoder.", "mmpretrain_swin": "backbone.",
    "simmim": "encoder.",
}  # fmt: skip


@pytest.mark.parametrize("converter", PREFIXES)
def test_3_a_prefix_is_stripped_once(converter):
    prefix = PREFIXES[converter]
    one, two = torch.zeros(1), torch.ones(1)
    names = {f"{prefix}blocks.0.{prefix}w": one, f"{prefix}{prefix}w": two}
    found = CONVERTERS[converter](names)
    assert set(found.tensors) == {f"blocks.0.{prefix}w", f"{prefix}w"}
    assert found.tensors[f"{prefix}w"] is two


def test_3_names_that_only_contain_a_prefix_stay():
    assert set(CONVERTERS["dino"]({"my_backbone.w": torch.ones(1)}).tensors) == {"my_backbone.w"}
    moved = CONVERTERS["swin"](
        {"layers.0.downsample.reduction.weight": torch.ones(1), "overhead.w": torch.ones(1)}
    )
    assert set(moved.tensors) == {"layers.1.downsample.reduction.weight", "overhead.w"}


# Traps 5 and 9: preprocessing belongs to the checkpoint, and never to an untagged timm name

DECODER = mae_decoder(encoder=768, width=16, depth=1, grid=3, patch=8)
BEIT = {"width": 24, "depth": 1, "heads": 3, "grid": 3, "patch": 8}
BEIT_ARGUMENTS = {
    "img_size": 24, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3,
    "use_abs_pos_emb": False, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True,
    "init_values": 0.1, "global_pool": "", "num_classes": 0,
}  # fmt: skip
CASES = {
    "MAE": (vit(width=768, **SIZES) | DECODER, "vit_base_patch16_224", built(768), IMAGENET),
    "MoCo v3": (
        moco_v3(vit(width=768, **SIZES), head="head", layers=3, features=768, mlp=8),
        "vit_base_patch16_224", built(768), IMAGENET,
    ),
    "DINO": (
        under("backbone.", vit(width=768, **SIZES)), "vit_base_patch16_224", built(768), IMAGENET
    ),
    "SimMIM": (
        simmim(beit(**BEIT, mask_token=True), features=24, stride=8), "beit_base_patch16_224",
        BEIT_ARGUMENTS, IMAGENET,
    ),
    "BEiT": (
        beit(**BEIT, mask_token=True, top=linear("lm_head", 24, 16)), "beit_base_patch16_224",
        BEIT_ARGUMENTS, HALVES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", CASES)
@pytest.mark.parametrize("with_arch", [True, False])
def test_5_and_9_a_known_source_brings_its_own_preprocessing(tmp_path, source, with_arch):
    shapes, arch, arguments, scale = CASES[source]
    path = write(tmp_path / "w.pth", {"state_dict": numbers(shapes)})
    named = {"arch": arch, "arch_args": arguments} if with_arch else {}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loaded = load_model(path, device="cpu", **named)
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == scale
    assert not any("taken from timm's" in str(one.message) for one in told)
    assert loaded.preprocessing.input_size == (SIDE, SIDE)
    resampled = "bilinear" if source == "MoCo v3" else "bicubic"
    assert loaded.preprocessing.interpolation == resampled


def test_9_plain_names_with_an_arch_take_timms_preprocessing_and_say_so(tmp_path):
    path = write(tmp_path / "w.pth", numbers(vit(width=768, **SIZES)))
    with pytest.warns(UserWarning, match=r"preprocessing of w\.pth is taken from timm's vit_base"):
        loaded = load_model(path, arch="vit_base_patch16_224", arch_args=built(768), device="cpu")
    assert loaded.preprocessing.mean == HALVES[0]


def test_9_plain_names_without_an_arch_are_not_given_timms_halves(tmp_path):
    path = write(tmp_path / "w.pth", numbers(vit(width=768, **SIZES)))
    with pytest.warns(UserWarning, match="assumed, .*ImageNet's mean and standard deviation"):
        loaded = load_model(path, device="cpu")
    assert loaded.preprocessing.mean == IMAGENET[0]
    assert "ImageNet's mean and standard deviation" in loaded.load_report.assumed


# Trap 6: the mask token is of the pre-training


def test_6_mask_tokens_are_dropped_with_their_reason(tmp_path):
    for name, key in (("MAE", "mask_token"), ("SimMIM", "encoder.mask_token")):
        path = write(tmp_path / "w.pth", {"model": numbers(CASES[name][0])})
        loaded = load(path)
        assert "shown whole images" in loaded.load_report.dropped[key]
        assert "mask_token" not in loaded.module.state_dict()


# Trap 11: a flipped byte


@pytest.mark.parametrize("suffix", [".pth", ".old", ".safetensors"])
def test_11_a_flipped_byte(cards, suffix):
    state = numbers(vit(width=768, **SIZES))
    path = cards / f"made{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        write(path, state, old_format=suffix == ".old")
    whole = file_sha256(path)
    content = path.read_bytes()
    place = content.index(state["blocks.0.mlp.fc2.weight"].numpy().tobytes()[:64]) + 41
    path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    if suffix == ".pth":
        with pytest.raises(CheckpointError, match="fails its checksum"):
            load(path)
    else:
        assert load(path).load_report.checked.startswith("content not verifiable")
        assert "content not verifiable" in load(path).load_report.summary()
    checksums = [f"sha256:{whole}", f"sha256:{whole[:8]}", "md5:" + "0" * 6]
    for checksum in checksums if suffix != ".pth" else []:
        card(cards, width=768, checksum=checksum, top_key=None, heads=12,
             arguments={"num_heads": 12})  # fmt: skip
        with pytest.raises(CheckpointError, match="is not the file that card 'made' describes"):
            load(path, card="made")
    path.write_bytes(content)
    card(cards, width=768, checksum=f"sha256:{whole}", top_key=None, heads=12,
         arguments={"num_heads": 12})  # fmt: skip
    assert load(path, card="made").load_report.checked == "sha256 as published"


def test_11_a_whole_zip_is_said_to_be_checked(tmp_path):
    path = write(tmp_path / "w.pth", numbers(vit(width=768, **SIZES)))
    assert load(path).load_report.checked == "CRC-32 of every tensor in the zip"


# Trap 12: no attention


def test_12_a_resnet_has_no_attention_sites(cards):
    small = {"layers": (1, 1, 1, 1), "planes": (8, 8, 8, 8)}
    state = numbers(moco(resnet(**small), moco_head(2, 32), queue=8))
    write(cards / "made.pth", {"state_dict": state})
    write_card(
        cards, "made", file="made.pth", architecture="resnet50", heads=0, prefix=0,
        converter="moco", side=64, top_key="state_dict",
        arguments={"layers": (1,) * 4, "channels": (8,) * 4, "num_classes": 0},
    )  # fmt: skip
    places = layout(load("made").module)
    assert places.attention_sites == ()
    assert len(places.feature_sites) == 4
    with pytest.raises(SiteError, match="has no attention"):
        places["stages.0.blocks.0.attn.probs"]
