"""Fine-tuning: classification by a pre-trained network, with SimMIM's recipe.

Batches are augmented where they are, by timm's own classes: random erasing by pixels of noise, then
mixup or cutmix. The loss is timm's too. Source: SimMIM (arXiv 2111.09886), section 4.1.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import OptionError
from mimprobe.shapes import Images
from mimprobe.train.augmentation import seeded
from mimprobe.train.classifier import with_classifier
from mimprobe.train.config import TrainConfig
from mimprobe.train.layer_decay import decayed_groups
from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel

PRETRAINED = ("mim", "contrastive", "supervised", "distilled")
"""Kinds of training that a network keeps when it is fine-tuned."""

EVALUATION_CROP = 224 / 256
"""Share of the resized image that evaluation looks at, as in the authors' code."""

Targets = Int[Tensor, " batch"] | Float[Tensor, "batch class"]
"""Class numbers, or what mixup makes of them: shares of each class."""


class Finetune(nn.Module):
    """A network with a new classifier on mean-pooled patches.

    Attributes:
        kind: of the pre-training; `supervised` where there was none.
        arguments: that build the encoder by timm's name for it.
        preprocessing: of evaluation; training normalises alike.
    """

    def __init__(
        self, config: TrainConfig, classes: Sequence[str], start: LoadedModel | None = None
    ) -> None:
        """Take a copy of `start`, or of what `config.start` names at the run's input size."""
        super().__init__()
        loaded = start or load_model(
            config.start, arch=config.start_arch or None, arch_args=config.arch_args,
            input_size=config.input_size, device="cpu",
        )  # fmt: skip
        found = with_classifier(loaded, len(classes), config.drop_path)
        self.encoder: Any = found[0]
        self.arguments = found[1]
        self.kind = loaded.kind if loaded.kind in PRETRAINED else "supervised"
        assert loaded.preprocessing is not None
        self.preprocessing: Preprocessing = replace(
            loaded.preprocessing, crop_pct=EVALUATION_CROP, crop_mode="center"
        )
        self.erasing = config.erasing
        mixed = config.mixup or config.cutmix
        self.mix: Any = mixed and Mixup(
            mixup_alpha=config.mixup, cutmix_alpha=config.cutmix,
            label_smoothing=config.label_smoothing, num_classes=len(classes),
        )  # fmt: skip
        self.loss = (
            SoftTargetCrossEntropy()
            if mixed
            else LabelSmoothingCrossEntropy(config.label_smoothing)
        )

    def sample(self, label: int, generator: np.random.Generator) -> Tensor:  # noqa: ARG002
        """Give the label of one image as a tensor."""
        return torch.tensor(label)

    def prepare(
        self, images: Images, labels: Int[Tensor, " batch"], generator: np.random.Generator
    ) -> tuple[Images, Targets]:
        """Erase and mix a batch of training, in place.

        Args:
            images: normalised.
            labels: their class numbers.
            generator: of this step.

        Raises:
            OptionError: mixup or cutmix with an odd number of images.
        """
        if self.mix and len(images) % 2:
            raise OptionError(
                f"mixup and cutmix pair the images of a batch, and one has {len(images)}; choose "
                "an even batch_size for each process"
            )
        with seeded(generator, images.device):
            erase = RandomErasing(self.erasing, mode="pixel", device=images.device)
            images = erase(images)
            if not self.mix:
                return images, labels
            mixed: tuple[Images, Targets] = self.mix(images, labels)
        return mixed

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        """Give the parameters by layer and weight decay, each group with its `lr_scale`."""
        return decayed_groups(self.encoder, config)

    def forward(self, images: Images, targets: Targets) -> Float[Tensor, ""]:
        """Give the mean cross-entropy in nats."""
        loss: Float[Tensor, ""] = self.loss(self.encoder(images), targets)
        return loss
