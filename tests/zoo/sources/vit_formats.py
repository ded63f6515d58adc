"""Names and shapes in the files of ViTs, as their authors' code writes them.

Each function describes a format from the authors' description of it, at any size; `Shapes` are in
the order of the file. Integer tables are those that `made_files.INTEGERS` lists.
"""

Shapes = dict[str, tuple[int, ...]]


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int, *, affine: bool = True) -> Shapes:
    counted = {
        f"{name}.running_mean": (width,),
        f"{name}.running_var": (width,),
        f"{name}.num_batches_tracked": (),
    }
    return (norm(name, width) if affine else {}) | counted


def block(name: str, width: int, hidden: int) -> Shapes:
    """A pre-norm block with joint q, k and v and their bias."""
    return {
        **norm(f"{name}.norm1", width),
        **linear(f"{name}.attn.qkv", width, 3 * width),
        **linear(f"{name}.attn.proj", width, width),
        **norm(f"{name}.norm2", width),
        **linear(f"{name}.mlp.fc1", width, hidden),
        **linear(f"{name}.mlp.fc2", hidden, width),
    }


def vit(
    *,
    width: int,
    depth: int,
    grid: int,
    patch: int = 16,
    hidden: int | None = None,
    prefix: tuple[str, ...] = ("cls_token",),
    final: str = "norm",
    heads: Shapes | None = None,
) -> Shapes:
    """DeiT, DINO and MAE's encoder: `prefix` tokens, then `pos_embed` for all of them."""
    shapes: Shapes = dict.fromkeys(prefix, (1, 1, width))
    shapes["pos_embed"] = (1, grid**2 + len(prefix), width)
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch)}
    shapes |= {"patch_embed.proj.bias": (width,)}
    for number in range(depth):
        shapes |= block(f"blocks.{number}", width, hidden or 4 * width)
    return shapes | norm(final, width) | (heads or {})


def mae_decoder(
    *, encoder: int, width: int, depth: int, grid: int, patch: int, hidden: int | None = None
) -> Shapes:
    """What MAE's full and visualisation files have beside the encoder."""
    shapes: Shapes = {
        "mask_token": (1, 1, width),
        "decoder_pos_embed": (1, grid**2 + 1, width),
        **linear("decoder_embed", encoder, width),
    }
    for number in range(depth):
        shapes |= block(f"decoder_blocks.{number}", width, hidden or 4 * width)
    return shapes | norm("decoder_norm", width) | linear("decoder_pred", width, patch**2 * 3)


def beit(
    *,
    width: int,
    depth: int,
    heads: int,
    grid: int,
    patch: int = 16,
    hidden: int | None = None,
    mask_token: bool = False,
    shared: bool = True,
    final: str = "norm",
    top: Shapes | None = None,
) -> Shapes:
    """BEiT and SimMIM's ViT: q and v biases apart, layer scale, relative positions.

    One table for all blocks (`shared`), or one in each block; with their index tables.
    """
    table = ((2 * grid - 1) ** 2 + 3, heads)
    index = (grid**2 + 1, grid**2 + 1)

    def positions(name: str) -> Shapes:
        return {
            f"{name}.relative_position_bias_table": table,
            f"{name}.relative_position_index": index,
        }

    shapes: Shapes = {"cls_token": (1, 1, width)}
    shapes |= {"mask_token": (1, 1, width)} if mask_token else {}
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch)}
    shapes |= {"patch_embed.proj.bias": (width,)}
    shapes |= positions("rel_pos_bias") if shared else {}
    for number in range(depth):
        name = f"blocks.{number}"
        shapes |= {f"{name}.gamma_1": (width,), f"{name}.gamma_2": (width,)}
        shapes |= norm(f"{name}.norm1", width)
        shapes |= {f"{name}.attn.q_bias": (width,), f"{name}.attn.v_bias": (width,)}
        shapes |= {} if shared else positions(f"{name}.attn")
        shapes |= linear(f"{name}.attn.qkv", width, 3 * width, bias=False)
        shapes |= linear(f"{name}.attn.proj", width, width)
        shapes |= norm(f"{name}.norm2", width)
        shapes |= linear(f"{name}.mlp.fc1", width, hidden or 4 * width)
        shapes |= linear(f"{name}.mlp.fc2", hidden or 4 * width, width)
    return shapes | norm(final, width) | (top or {})


def simmim(encoder: Shapes, *, features: int, stride: int) -> Shapes:
    """SimMIM's pre-training: the encoder, and one convolution to pixels as its decoder."""
    return {
        **under("encoder.", encoder),
        "decoder.0.weight": (stride**2 * 3, features, 1, 1),
        "decoder.0.bias": (stride**2 * 3,),
    }


def moco_v3(encoder: Shapes, *, head: str, layers: int, features: int, mlp: int = 4096) -> Shapes:
    """MoCo v3: base and momentum encoder with their projection in place of the classifier."""
    with_head = encoder | _bn_mlp(head, layers, features, mlp)
    return {
        **under("module.base_encoder.", with_head),
        **under("module.momentum_encoder.", with_head),
        **_bn_mlp("module.predictor", 2, 256, mlp),
    }


def _bn_mlp(name: str, layers: int, features: int, hidden: int) -> Shapes:
    """Linear layers without bias, each normalised; the last normalisation has no weights."""
    shapes: Shapes = {}
    for layer in range(layers):
        last = layer == layers - 1
        inputs, outputs = features if layer == 0 else hidden, 256 if last else hidden
        shapes |= linear(f"{name}.{3 * layer}", inputs, outputs, bias=False)
        shapes |= batch_norm(f"{name}.{3 * layer + 1}", outputs, affine=not last)
    return shapes


def dino_head(features: int, *, hidden: int = 2048, prototypes: int = 65536) -> Shapes:
    """DINO's projection: three layers, then a weight-normalised one."""
    return {
        **linear("mlp.0", features, hidden),
        **linear("mlp.2", hidden, hidden),
        **linear("mlp.4", hidden, 256),
        "last_layer.weight_g": (prototypes, 1),
        "last_layer.weight_v": (prototypes, 256),
    }
