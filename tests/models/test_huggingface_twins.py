"""One network in both libraries: weights of transformers copied into timm's look the same."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import mimprobe
from mimprobe.hooks import capture
from mimprobe.models.sites import layout

pytest.importorskip("transformers", reason="needs mimprobe[hf]")


def copied(name, modules):
    """State of some modules, all under one name."""
    return {
        f"{name}.{end}": torch.cat([module.state_dict()[end] for module in modules])
        for end in modules[0].state_dict()
    }


def block_state(name, block, inner):
    """What blocks of both libraries have, under timm's names."""
    attention = inner(block)
    if not hasattr(attention, "o_proj"):
        pytest.skip("copies the classes of transformers 5.12 and newer")
    return (
        copied(f"{name}.attn.qkv", [attention.q_proj, attention.k_proj, attention.v_proj])
        | copied(f"{name}.attn.proj", [attention.o_proj])
        | copied(f"{name}.norm1", [block.layernorm_before])
        | copied(f"{name}.norm2", [block.layernorm_after])
        | copied(f"{name}.mlp.fc1", [block.mlp.fc1])
        | copied(f"{name}.mlp.fc2", [block.mlp.fc2])
    )


def vit_twin(model, inner):
    twin = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3,
        mlp_ratio=32 / 24, num_classes=0,
    )  # fmt: skip
    state = copied("patch_embed.proj", [model.embeddings.patch_embeddings.projection])
    state |= copied("norm", [model.layernorm])
    state["cls_token"] = model.embeddings.cls_token
    state["pos_embed"] = model.embeddings.position_embeddings
    for layer in range(2):
        block = layout(model)[f"blocks.{layer}.out"].block
        state |= block_state(f"blocks.{layer}", block, inner)
    twin.load_state_dict(state)
    return twin.eval()


def swin_twin(model, inner):
    twin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, embed_dim=8, depths=(2, 2), num_heads=(2, 4),
        window_size=4, num_classes=0,
    )  # fmt: skip
    merging = model.encoder.layers[0].downsample
    state = copied("patch_embed.proj", [model.embeddings.patch_embeddings.projection])
    state |= copied("patch_embed.norm", [model.embeddings.norm])
    state |= copied("norm", [model.layernorm])
    state |= copied("layers.1.downsample.norm", [merging.norm])
    state |= copied("layers.1.downsample.reduction", [merging.reduction])
    for number, stage in enumerate(model.encoder.layers):
        for position, block in enumerate(stage.blocks):
            name = f"layers.{number}.blocks.{position}"
            state |= block_state(name, block, inner)
            table = inner(block).relative_position_bias.relative_position_bias_table
            state[f"{name}.attn.relative_position_bias_table"] = table
    left = twin.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert all("relative_position_index" in key or "attn_mask" in key for key in left.missing_keys)
    return twin.eval()


TWINS = {
    "vit": (vit_twin, {"layer_norm_eps": 1e-6}),
    "swin": (swin_twin, {"layer_norm_eps": 1e-5, "image_size": 32}),
}


@pytest.fixture(params=TWINS)
def twins(request, build, inner):
    copy, changes = TWINS[request.param]
    model = build(request.param, **changes)
    return model, copy(model, inner)


def test_sites_see_the_same(twins, pixels):
    model, twin = twins
    images = pixels(model)
    assert tuple(layout(model).sites) == tuple(layout(twin).sites)
    with torch.no_grad(), capture(model, layout(model).sites) as ours:
        model(images)
    with torch.no_grad(), capture(twin, layout(twin).sites) as theirs:
        twin(images)
    for site, seen in ours.items():
        what = "attention" if site.endswith("probs") else "tokens"
        torch.testing.assert_close(
            getattr(seen, what), getattr(theirs[site], what), rtol=1e-4, atol=1e-5
        )
        for part in ("grid", "stride", "prefix_tokens", "window", "shift", "windows"):
            assert getattr(seen.geometry, part) == getattr(theirs[site].geometry, part)


def test_probe_measures_the_same(twins):
    model, twin = twins
    draw = np.random.default_rng(2)
    images = [
        (Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)), name)
        for name in ("a", "b", "c", "d")
    ]
    result = mimprobe.probe(
        {"transformers": model, "timm": twin},
        images,
        transform=lambda image: torch.tensor(np.array(image)).permute(2, 0, 1) / 127.5 - 1,
        kinds={"transformers": "untrained", "timm": "untrained"},
        device="cpu",
    )
    for metric in ("attention_distance", "attention_entropy", "head_kl"):
        table = result.tables[metric]
        ours, theirs = (
            table[table["model"] == name]["value"].to_numpy(float)
            for name in ("transformers", "timm")
        )
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert ours.std() > 1e-3
    same = result.tables["cka"].query("site == other_site and model != other_model")
    assert same["value"].to_numpy(float) == pytest.approx(1, abs=1e-6)
