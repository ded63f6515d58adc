"""One very small encoder of each family, as arguments of `make_config`."""

SWIN = {
    "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4),
}  # fmt: skip
PLAIN = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}

FAMILIES = {
    "vit": {"arch": "vit_tiny_patch16_224", "arch_args": PLAIN},
    "beit": {"arch": "simmim_vit_base", "arch_args": PLAIN},
    "swin": {"arch": "swin_tiny_patch4_window7_224", "arch_args": SWIN},
    "swinv2": {"arch": "swinv2_tiny_window8_256", "arch_args": SWIN},
}
