"""Features of every changed form of a network, for a whole image set, in one stream.

What belongs here: batches in, one row of features for each image and network out. What does not:
what a batch goes through (`chain`) and what is made of the rows (`outcomes`).
"""

from collections.abc import Sequence

import torch

from mimprobe.data.images import ImageSet
from mimprobe.errors import NonFiniteError
from mimprobe.experiments.layers.chain import Chain
from mimprobe.experiments.layers.variants import Variant
from mimprobe.loop.batches import batch_numbers, batches
from mimprobe.loop.workers import usual_workers
from mimprobe.models.device import exact_pass
from mimprobe.progress import Progress
from mimprobe.shapes import Pooled
from mimprobe.stream.pooled import PooledRows
from mimprobe.zoo.loaded import LoadedModel


class VariantFeatures:
    """Pooled features of an image set in each variant: in memory, or on disk above a budget."""

    def __init__(self, variants: Sequence[Variant], *, budget_bytes: int) -> None:
        self._names = {id(variant): str(number) for number, variant in enumerate(variants)}
        self._rows = PooledRows(tuple(self._names.values()), budget_bytes=budget_bytes)
        self.variants = tuple(variants)

    def __getitem__(self, variant: Variant) -> Pooled:
        return self._rows.site(self._names[id(variant)])

    def add(self, numbers: Sequence[int], features: Sequence[Pooled]) -> None:
        """Keep the features of a batch, one tensor for each variant."""
        self._rows.add(numbers, dict(zip(self._names.values(), features, strict=True)))


def variant_features(
    model: LoadedModel,
    variants: Sequence[Variant],
    images: ImageSet,
    *,
    layer: int | None,
    pooling: str,
    batch_size: int,
    device: torch.device,
    budget_bytes: int,
    title: str,
) -> VariantFeatures:
    """Show the images to every variant of a model, which is on the device in evaluation mode.

    Raises:
        NonFiniteError: a variant gave NaN or infinity; says on which image.
    """
    found = VariantFeatures(variants, budget_bytes=budget_bytes)
    shells = Chain(model.module, variants, layer=layer, pooling=pooling)
    bar = Progress(title, len(images), unit="images")
    numbers = batch_numbers(len(images), batch_size)
    workers = usual_workers(len(numbers), [model], batch_size, device.type)
    with exact_pass(device, "float32"), bar:
        for batch in batches(images, [model], numbers, workers=workers):
            if batch.numbers:
                features = shells.features(batch.pixels[model.name].to(device))
                for variant, rows in zip(variants, features, strict=True):
                    _require_finite(model, variant, rows, [images.ids[n] for n in batch.numbers])
                found.add(batch.numbers, features)
            bar.advance(batch.taken)
    return found


def _require_finite(model: LoadedModel, variant: Variant, rows: Pooled, ids: Sequence[str]) -> None:
    finite = rows.isfinite().all(1)
    if not bool(finite.all()):
        where = "as it is" if variant.changed == 0 else f"with {variant.changed} changed"
        alone = "" if variant.layer is None else f" in layer {variant.layer + 1}"
        raise NonFiniteError(
            f"model {model.name!r} {where}{alone} gave NaN or infinity on image "
            f"{ids[int(finite.int().argmin())]!r}; look at its weights"
        )
