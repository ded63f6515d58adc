"""In which numbers a step is computed: weights, products, and the scale of narrow gradients.

What belongs here: what a precision's name means. What does not: the step (`engine`).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

NARROW = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """Weights in float32 (or float64) and products in the precision named.

    Attributes:
        weights: dtype of the parameters, their gradients and the optimiser's state.
        products: dtype of matrix products under autocast; None where it is that of the weights.
        scaler: keeps gradients of float16 above its smallest number; does nothing otherwise.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Resolve `auto` for the device."""
        if name == "auto":
            name = "bfloat16" if device.type == "cuda" else "float32"
        self.device = device
        self.weights = torch.float64 if name == "float64" else torch.float32
        self.products = NARROW.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "float16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Give the context of a forward pass."""
        if self.products is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.products)

    @property
    def may_skip(self) -> bool:
        """Tell whether infinite gradients only mean that the scale is still too large.

        Below 1 gradients are made smaller than they are, so that a scale is not what is wrong.
        """
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1.0
