"""Small networks of transformers with untrained weights, for the tests of this folder."""

import pytest
import torch
from torch import nn

PLAIN = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 32,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
STAGED = {
    "image_size": 40, "patch_size": 4, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4],
    "window_size": 4,
}  # fmt: skip
DECODER = {
    "decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 16,
}  # fmt: skip
OWN_BIAS = {"use_relative_position_bias": True}
SHARED_BIAS = {"use_shared_relative_position_bias": True, "vocab_size": 16}

MODELS = {
    "vit": ("ViTModel", "ViTConfig", PLAIN),
    "vit classifier": ("ViTForImageClassification", "ViTConfig", PLAIN),
    "deit": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", PLAIN),
    "beit": ("BeitForImageClassification", "BeitConfig", PLAIN | OWN_BIAS),
    "beit shared": ("BeitForMaskedImageModeling", "BeitConfig", PLAIN | SHARED_BIAS),
    "data2vec": ("Data2VecVisionModel", "Data2VecVisionConfig", PLAIN | OWN_BIAS),
    "mae": ("ViTMAEModel", "ViTMAEConfig", PLAIN),
    "mae pretraining": ("ViTMAEForPreTraining", "ViTMAEConfig", PLAIN | DECODER),
    "dinov2": ("Dinov2Model", "Dinov2Config", PLAIN),
    "registers": (
        "Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig",
        PLAIN | {"num_register_tokens": 4},
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", PLAIN | {"num_register_tokens": 4}),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", PLAIN),
    "clip projected": ("CLIPVisionModelWithProjection", "CLIPVisionConfig", PLAIN),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", PLAIN),
    "swin": ("SwinModel", "SwinConfig", STAGED),
    "swin simmim": ("SwinForMaskedImageModeling", "SwinConfig", STAGED),
    "swinv2": ("Swinv2ForImageClassification", "Swinv2Config", STAGED),
}  # fmt: skip


def _build(name, **changes):
    transformers = pytest.importorskip("transformers", reason="needs mimprobe[hf]")
    kind, config, arguments = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**arguments | changes))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture
def build():
    """Build one of `MODELS`, with attention far from uniform."""
    return _build


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return _build(name)


@pytest.fixture
def pixels():
    """Draw two images of the size that a network wants."""

    def draw(model):
        size = model.config.image_size
        return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))

    return draw


@pytest.fixture
def inner():
    """Find the module that makes a block's probabilities, also in older transformers."""

    def find(block):
        attention = block.self_attn if hasattr(block, "self_attn") else block.attention
        return getattr(attention, "self", getattr(attention, "attention", attention))

    return find


@pytest.fixture
def by_head():
    """Project tokens to (batch, head, token, channel) queries and keys."""

    def project(attention, tokens):
        layers = (
            (attention.q_proj, attention.k_proj)
            if hasattr(attention, "q_proj")
            else (attention.query, attention.key)
        )
        heads = getattr(attention, "num_attention_heads", None) or attention.num_heads
        return [layer(tokens).unflatten(-1, (heads, -1)).transpose(1, 2) for layer in layers]

    return project
