"""Pooled features of chosen layers, for a whole image set, in one pass.

What belongs here: extraction for read-outs. What does not: what is read out of the features.
"""

from collections.abc import Sequence

import torch

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError
from mimprobe.hooks import FeaturesSeen, Observation, capture
from mimprobe.loop.batches import batch_numbers, batches
from mimprobe.models.device import exact_pass, placed, resolve_device
from mimprobe.progress import Progress
from mimprobe.shapes import Pooled
from mimprobe.zoo.loaded import LoadedModel

POOLINGS = ("mean", "cls")


def pooled_features(
    model: LoadedModel,
    images: ImageSet,
    sites: Sequence[str],
    *,
    pooling: str = "mean",
    batch_size: int = 64,
    device: str | torch.device = "auto",
) -> dict[str, Pooled]:
    """Pool the features of each image, at each site.

    Args:
        model: a loaded model; it is left as it was.
        images: their features come in this order.
        sites: names of feature sites, such as `blocks.7.out`.
        pooling: `mean` of the patch tokens, or `cls`.
        batch_size: images for each pass.
        device: as for `probe`.

    Raises:
        OptionError: another pooling, or `cls` without a class token.
    """
    if pooling not in POOLINGS:
        raise OptionError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")

    def pool(seen: Observation) -> torch.Tensor:
        assert isinstance(seen, FeaturesSeen)
        prefix = seen.geometry.prefix_tokens
        if pooling == "cls" and not prefix:
            raise OptionError(f"{model.name} has no class token; use pooling='mean'")
        return (seen.tokens[:, 0] if pooling == "cls" else seen.tokens[:, prefix:].mean(1)).cpu()

    place = resolve_device(device)
    rows: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    bar = Progress(f"features of {model.name}", len(images), unit="images")
    numbers = batch_numbers(len(images), batch_size)
    with placed(model.module, place), exact_pass(place, "float32"), bar:
        for batch in batches(images, [model], numbers, workers=0):
            bar.advance(batch.taken)
            if not batch.numbers:
                continue
            with capture(model.module, sites, reduce=pool) as captured:
                model.module(batch.pixels[model.name].to(place))
            for site in sites:
                rows[site].append(captured[site])
    return {site: torch.cat(parts) for site, parts in rows.items()}
