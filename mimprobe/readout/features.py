"""Pooled features of chosen layers, for a whole image set, in one pass.

What belongs here: extraction for read-outs. What does not: what is read out of the features.
"""

from collections.abc import Mapping, Sequence

import torch

from mimprobe.analyzers.view import FeaturesView
from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError, NonFiniteError, OptionError, UnknownNameError
from mimprobe.hooks import FeaturesSeen, Observation, capture
from mimprobe.loop.batches import batch_numbers, batches
from mimprobe.loop.workers import batch_bytes, worker_count
from mimprobe.models.device import exact_pass, placed, resolve_device
from mimprobe.models.sites import layout
from mimprobe.progress import Progress
from mimprobe.shapes import Pooled
from mimprobe.stream import BUDGET_BYTES
from mimprobe.stream.rows import FeatureRows
from mimprobe.zoo.loaded import LoadedModel

POOLINGS = ("mean", "cls", "both")
"""Mean of the patch tokens, the class token, and the two beside each other."""


def layer_features(
    model: LoadedModel,
    images: ImageSet,
    sites: Sequence[str],
    *,
    poolings: Sequence[str] = ("mean",),
    batch_size: int = 64,
    device: str | torch.device = "auto",
    budget_bytes: int = BUDGET_BYTES,
    workers: int | None = None,
) -> Mapping[tuple[str, str], Pooled]:
    """Pool the features of each image at each site, in each way: float32, by site and pooling.

    Images that are skipped have no row; `labels_of`, called afterwards, leaves them out too. Above
    `budget_bytes` the features are mapped from temporary files without names, which the system
    removes when the tensors are collected, or when the process dies.

    Args:
        model: a loaded model; it is left as it was.
        images: their features come in this order.
        sites: names of feature sites, such as `blocks.7.out`.
        poolings: some of `POOLINGS`.
        batch_size: images for each pass; changes no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        budget_bytes: memory that the features may take.
        workers: processes that decode images; None chooses.

    Raises:
        UnknownNameError: no such pooling or site.
        OptionError: `cls` or `both` of a network without a class token.
        NonFiniteError: the network gave NaN or infinity; says where, and on which image.
        ImageError: no image is readable, or one is not and may not be skipped.
    """
    require_poolings(model, poolings)
    keys = [(site, pooling) for site in sites for pooling in poolings]
    rows: dict[tuple[str, str], FeatureRows] = {}
    place, numbers = resolve_device(device), batch_numbers(len(images), batch_size)
    bar = Progress(f"features of {model.name}", len(images), unit="images")
    with placed(model.module, place), exact_pass(place, "float32"), bar:
        for batch in batches(
            images, [model], numbers, workers=_workers(workers, model, batch_size, len(numbers))
        ):
            pixels = batch.pixels.get(model.name)
            if pixels is not None:
                ids = [images.ids[number] for number in batch.numbers]
                found = _pooled(model, pixels.to(place), ids, sites, poolings)
                for key in keys:
                    values = found[key[0]][key[1]]
                    share = budget_bytes // len(keys)
                    rows.setdefault(key, FeatureRows(values.shape[1], share)).append(values.numpy())
            bar.advance(batch.taken)
    if not rows:
        raise ImageError(f"none of the {len(images)} images of {images.source} is readable")
    return {key: torch.from_numpy(rows.pop(key).state()) for key in keys}


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
            raise OptionError(f"{model.name} has no class token to pool {pooling!r}; use 'mean'")


def _pooled(
    model: LoadedModel, pixels: torch.Tensor, ids: Sequence[str], sites: Sequence[str],
    poolings: Sequence[str],
) -> Mapping[str, dict[str, Pooled]]:  # fmt: skip
    """Run the network on a batch; a layer's tokens are freed before the next one's are made."""

    def pool(seen: Observation) -> dict[str, Pooled]:
        assert isinstance(seen, FeaturesSeen)
        view = FeaturesView(seen.tokens, seen.geometry)
        try:
            return {pooling: _vectors(view, pooling).cpu() for pooling in poolings}
        except NonFiniteError as error:
            raise NonFiniteError(
                f"model {model.name!r} gave NaN or infinity in the features at {seen.site} on "
                f"image {ids[error.row or 0]!r}; try another image, or look at its weights"
            ) from error

    with capture(model.module, sites, reduce=pool) as captured:
        model.module(pixels)
    return captured


def _vectors(view: FeaturesView, pooling: str) -> Pooled:
    if pooling == "both":
        return torch.cat([view.pooled("mean"), view.pooled("cls")], dim=1)
    return view.pooled(pooling)


def _workers(asked: int | None, model: LoadedModel, batch_size: int, count: int) -> int:
    if asked is not None:
        return asked
    busy = torch.get_num_threads()
    return worker_count(count, batch_bytes([model], batch_size), processes=1, busy=busy)
