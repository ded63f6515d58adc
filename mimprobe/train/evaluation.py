"""How often a classifier is right, and how sure that is.

What belongs here: accuracy on a set of labelled images. What does not: when it is measured (`fit`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from mimprobe.data.images import ImageSet
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import ImageError, NonFiniteError
from mimprobe.models.device import exact_pass, placed
from mimprobe.train.config import TrainConfig

T = TypeVar("T")

NORMAL_QUANTILE = 1.959963984540054
"""97.5 % point of the normal distribution."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """Counts over a set of images; counts of its parts add up.

    Attributes:
        n: images.
        top1: images whose class has the largest output.
        top5: images whose class is among the five largest outputs.
        loss: sum of the cross-entropies in nats, without label smoothing.
    """

    n: int
    top1: int
    top5: int
    loss: float

    def __add__(self, other: "Evaluation") -> "Evaluation":
        pairs = zip(self.counts(), other.counts(), strict=True)
        return Evaluation.of_counts([one + more for one, more in pairs])

    def counts(self) -> list[float]:
        """Give everything that adds up."""
        return [float(self.n), float(self.top1), float(self.top5), self.loss]

    @classmethod
    def of_counts(cls, counts: Sequence[float]) -> "Evaluation":
        """Take what `counts` gave, or sums of it."""
        n, top1, top5, loss = counts
        return cls(int(n), int(top1), int(top5), loss)

    def describe(self) -> dict[str, Any]:
        """Give shares with their 95 % intervals and the mean loss, ready for JSON."""
        return {
            "n": self.n,
            "top1": self.top1 / self.n,
            "top1_interval": list(wilson_interval(self.top1, self.n)),
            "top5": self.top5 / self.n,
            "top5_interval": list(wilson_interval(self.top5, self.n)),
            "loss": self.loss / self.n,
        }


def wilson_interval(hits: int, n: int) -> Interval:
    """Give the 95 % interval of a share, of `hits` in `n` independent trials.

    All p with |hits/n - p| <= z sqrt(p (1 - p) / n): the score interval, which stays within [0, 1]
    and has a width even where all trials hit. Source: Wilson (1927).
    """
    share, z2 = hits / n, NORMAL_QUANTILE**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n) / (1 + z2 / n)
    # In exact arithmetic the share itself is inside, and 0 or 1 is an end where it is the share.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """Images as the network takes them, with their class numbers."""

    def __init__(
        self, images: ImageSet, labels: Sequence[int], preprocessing: Preprocessing
    ) -> None:
        """Keep what is needed; nothing is decoded yet."""
        self.images, self.labels, self.transform = images, labels, preprocessing.transform()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.transform(self.images.load(number)), self.labels[number]


def evaluate(
    classifier: nn.Module,
    images: Dataset[tuple[Tensor, int]],
    config: TrainConfig,
    device: torch.device,
) -> Evaluation:
    """Classify every image once and count.

    Args:
        classifier: images to outputs, one for each class; it is left as it was.
        images: what it is tried on; each process of a run may take a part and add the results.
        config: its batch size, workers and precision are used.
        device: where it runs.

    Raises:
        ImageError: an image is unreadable.
    """
    parts = _by_batch(classifier, images, config, device, counted)
    return sum(parts, Evaluation(0, 0, 0, 0.0))


def correct(
    classifier: nn.Module,
    images: Dataset[tuple[Tensor, int]],
    config: TrainConfig,
    device: torch.device,
) -> Bool[Tensor, " image"]:
    """Tell for each image whether its class has the largest output; the rest is as in `evaluate`.

    Raises:
        ImageError: an image is unreadable.
        NonFiniteError: an output is no number.
    """
    rivals = _by_batch(classifier, images, config, device, _rivals)
    return torch.cat(rivals).cpu() < 1


def _by_batch(
    classifier: nn.Module,
    images: Dataset[tuple[Tensor, int]],
    config: TrainConfig,
    device: torch.device,
    measure: Callable[[Tensor, Tensor], T],
) -> list[T]:
    """Measure the outputs for each batch and its labels."""
    loader: DataLoader[Any] = DataLoader(
        images, config.batch_size, num_workers=config.workers, generator=torch.Generator(),
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    usual = "bfloat16" if device.type == "cuda" else "float32"
    precision = usual if config.precision == "auto" else config.precision
    found: list[T] = []
    try:
        with placed(classifier, device), exact_pass(device, precision):
            for pixels, labels in loader:
                outputs = classifier(pixels.to(device, non_blocking=True)).double()
                found.append(measure(outputs, labels.to(device)))
    except ImageError as error:
        told = str(error).strip().splitlines()[-1]
        raise ImageError(told.rpartition("ImageError: ")[2]) from error
    return found


def counted(outputs: Tensor, labels: Tensor) -> Evaluation:
    """Count one batch; of equal outputs, the label's own counts as the lower one.

    Raises:
        NonFiniteError: an output is no number.
    """
    better = _rivals(outputs, labels)
    return Evaluation(
        n=len(labels),
        top1=int((better < 1).sum()),
        top5=int((better < 5).sum()),
        loss=float(cross_entropy(outputs, labels, reduction="sum")),
    )


def _rivals(outputs: Tensor, labels: Tensor) -> Tensor:
    """Count for each image the outputs that are no smaller than that of its own class."""
    broken = len(outputs) - int(outputs.isfinite().all(1).sum())
    if broken:
        raise NonFiniteError(
            f"the classifier's outputs are no numbers for {broken} of {len(outputs)} images of a "
            "batch in validation; the last checkpoint is kept"
        )
    own = outputs.gather(1, labels[:, None])
    return (outputs >= own).sum(1) - 1
