"""Features of chosen layers, for a whole image set, in one pass: pooled, or token by token.

What belongs here: extraction for read-outs. What does not: what is read out of the features.

Features are float32. Above a budget of memory they are mapped from temporary files without names,
which the system removes when the tensors are collected, or when the process dies.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mimprobe.analyzers.view import FeaturesView
from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError, NonFiniteError, OptionError, UnknownNameError
from mimprobe.hooks import FeaturesSeen, Observation, capture
from mimprobe.loop.batches import batch_numbers, batches
from mimprobe.loop.workers import usual_workers
from mimprobe.models.device import exact_pass, placed, resolve_device
from mimprobe.models.sites import layout
from mimprobe.progress import Progress
from mimprobe.shapes import Pooled
from mimprobe.stream import BUDGET_BYTES
from mimprobe.stream.rows import FeatureRows
from mimprobe.zoo.loaded import LoadedModel

Take = Callable[[FeaturesView], Pooled]
"""One row for each image, out of what was seen at a site."""


def layer_features(
    model: LoadedModel,
    images: ImageSet,
    sites: Sequence[str],
    *,
    poolings: Sequence[str] = ("mean",),
    batch_size: int = 64,
    device: str | torch.device = "auto",
    budget_bytes: int = BUDGET_BYTES,
) -> Mapping[tuple[str, str], Pooled]:
    """Pool the features of each image at each site, in each way: by site and pooling.

    Images that are skipped have no row; `labels_of`, called afterwards, leaves them out too.

    Args:
        model: a loaded model; it is left as it was.
        images: their features come in this order.
        sites: names of feature sites, such as `blocks.7.out`.
        poolings: some of `POOLINGS`.
        batch_size: images for each pass; changes no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        budget_bytes: memory that the features may take.

    Raises:
        UnknownNameError: no such pooling or site.
        OptionError: `cls` or `both` of a network without a class token.
        NonFiniteError: the network gave NaN or infinity; says where, and on which image.
        ImageError: no image is readable, or one is not and may not be skipped.
    """
    require_poolings(model, poolings)
    takers = {pooling: _POOLED[pooling] for pooling in poolings}
    return _extracted(model, images, sites, takers, batch_size, device, budget_bytes)


def layer_tokens(
    model: LoadedModel,
    images: ImageSet,
    site: str,
    *,
    batch_size: int = 64,
    device: str | torch.device = "auto",
    budget_bytes: int = BUDGET_BYTES,
) -> Float[Tensor, "image token channel"]:
    """Keep all patch tokens of one layer, row by row; arguments and errors as `layer_features`."""
    takers = {"tokens": FeaturesView.flattened, "mean": _POOLED["mean"]}
    found = _extracted(model, images, [site], takers, batch_size, device, budget_bytes)
    flat, pooled = found[site, "tokens"], found[site, "mean"]
    return flat.view(len(flat), -1, pooled.shape[1])


def require_poolings(model: LoadedModel, poolings: Sequence[str]) -> None:
    """Refuse poolings that do not exist, or not in this network.

    Raises:
        UnknownNameError: no such pooling.
        OptionError: `cls` or `both` of a network without a class token.
    """
    for pooling in poolings:
        if pooling not in POOLINGS:
            raise UnknownNameError("pooling", pooling, POOLINGS)
        if pooling != "mean" and not layout(model.module).class_token:
            raise OptionError(
                f"pooling {pooling!r} needs a class token, and {model.name} has none; use 'mean'"
            )


def _extracted(
    model: LoadedModel, images: ImageSet, sites: Sequence[str], takers: Mapping[str, Take],
    batch_size: int, device: str | torch.device, budget_bytes: int,
) -> dict[tuple[str, str], Pooled]:  # fmt: skip
    """Take rows of every site of every image, by site and taker."""
    place, numbers = resolve_device(device), batch_numbers(len(images), batch_size)
    keys = [(site, name) for site in sites for name in takers]
    rows: dict[tuple[str, str], FeatureRows] = {}
    workers = usual_workers(len(numbers), [model], batch_size, place.type)
    bar = Progress(f"features of {model.name}", len(images), unit="images")
    with placed(model.module, place), exact_pass(place, "float32"), bar:
        for batch in batches(images, [model], numbers, workers=workers):
            if batch.numbers:
                ids = [images.ids[number] for number in batch.numbers]
                found = _pass(model, batch.pixels[model.name].to(place), ids, sites, takers)
                for site, name in keys:
                    values = found[site][name].numpy()
                    share = FeatureRows(values.shape[1], budget_bytes // len(keys))
                    rows.setdefault((site, name), share).append(values)
            bar.advance(batch.taken)
    if not rows:
        raise ImageError(f"none of the {len(images)} images of {images.source} is readable")
    return {key: torch.from_numpy(rows.pop(key).state()) for key in keys}


def _pass(
    model: LoadedModel, pixels: Tensor, ids: Sequence[str], sites: Sequence[str],
    takers: Mapping[str, Take],
) -> Mapping[str, dict[str, Pooled]]:  # fmt: skip
    """Run the network on a batch; a layer's tokens are freed before the next one's are made."""

    def take(seen: Observation) -> dict[str, Pooled]:
        assert isinstance(seen, FeaturesSeen)
        view = FeaturesView(seen.tokens, seen.geometry)
        try:
            return {name: rows(view).cpu() for name, rows in takers.items()}
        except NonFiniteError as error:
            raise NonFiniteError(
                f"model {model.name!r} gave NaN or infinity in the features at {seen.site} on "
                f"image {ids[error.row or 0]!r}; try another image, or look at its weights"
            ) from error

    with capture(model.module, sites, reduce=take) as captured:
        model.module(pixels)
    return captured


def _both(view: FeaturesView) -> Pooled:
    return torch.cat([view.pooled("mean"), view.pooled("cls")], dim=1)


_POOLED: Mapping[str, Take] = {
    "mean": lambda view: view.pooled("mean"),
    "cls": lambda view: view.pooled("cls"),
    "both": _both,
}

POOLINGS = tuple(_POOLED)
"""Mean of the patch tokens, the class token, and the two beside each other."""
