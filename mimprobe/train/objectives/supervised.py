"""Supervised classification: cross-entropy with label smoothing on the folder's classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimprobe.shapes import Images
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives.encoder import build_encoder


class Supervised(nn.Module):
    """An encoder with timm's own classifier on top."""

    kind = "supervised"

    def __init__(self, config: TrainConfig, classes: Sequence[str]) -> None:
        """Build the encoder with one output for each class."""
        super().__init__()
        self.encoder: Any = build_encoder(config, len(classes))
        self.label_smoothing = config.label_smoothing

    def sample(self, label: int, generator: np.random.Generator) -> Tensor:  # noqa: ARG002
        """Give the label of one image as a tensor."""
        return torch.tensor(label)

    def forward(self, images: Images, labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Give the mean cross-entropy in nats."""
        return nn.functional.cross_entropy(
            self.encoder(images), labels, label_smoothing=self.label_smoothing
        )
