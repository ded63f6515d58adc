"""Names and shapes in the files of ResNets: torchvision's names, under each source's prefixes."""

from zoo.sources.vit_formats import Shapes, batch_norm, linear, under


def resnet(
    *,
    layers: tuple[int, ...] = (3, 4, 6, 3),
    planes: tuple[int, ...] = (64, 128, 256, 512),
    stem: int = 64,
    top: Shapes | None = None,
) -> Shapes:
    """A ResNet of bottlenecks; `planes` are the channels inside them, a quarter of the outside."""
    shapes: Shapes = {"conv1.weight": (stem, 3, 7, 7), **batch_norm("bn1", stem)}
    before = stem
    for stage, (depth, inside) in enumerate(zip(layers, planes, strict=True), start=1):
        for number in range(depth):
            name, outside = f"layer{stage}.{number}", 4 * inside
            shapes[f"{name}.conv1.weight"] = (inside, before, 1, 1)
            shapes |= batch_norm(f"{name}.bn1", inside)
            shapes[f"{name}.conv2.weight"] = (inside, inside, 3, 3)
            shapes |= batch_norm(f"{name}.bn2", inside)
            shapes[f"{name}.conv3.weight"] = (outside, inside, 1, 1)
            shapes |= batch_norm(f"{name}.bn3", outside)
            if number == 0:
                shapes[f"{name}.downsample.0.weight"] = (outside, before, 1, 1)
                shapes |= batch_norm(f"{name}.downsample.1", outside)
            before = outside
    return shapes | (top or {})


def moco(encoder: Shapes, head: Shapes, *, queue: int = 65536) -> Shapes:
    """MoCo v1 and v2: query and key encoder with their projection, and the queue."""
    return {
        **under("module.encoder_q.", encoder | head),
        **under("module.encoder_k.", encoder | head),
        "module.queue": (128, queue),
        "module.queue_ptr": (1,),
    }


def moco_head(version: int, features: int) -> Shapes:
    if version == 1:
        return linear("fc", features, 128)
    return linear("fc.0", features, features) | linear("fc.2", features, 128)


def simclr(width: int) -> Shapes:
    """`width` times as wide in every layer, with the classifier of 1000 classes."""
    planes = tuple(width * inside for inside in (64, 128, 256, 512))
    return resnet(planes=planes, stem=64 * width, top=linear("fc", 2048 * width, 1000))
