"""Tokens of a discrete tokenizer as the target, as in BEiT: one classification for each token.

What belongs here: the user's function, looked at before it is trusted. What does not: tokenizers.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mimprobe.errors import OptionError
from mimprobe.shapes import Images, PixelErrors, Predictions, TargetClasses
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives.targets.colours import colours_of


class Tokens(nn.Module):
    """What `module:function` says of an image; the loss is the cross-entropy in nats.

    The function takes images of shape (batch, 3, height, width) with colours between 0 and 1, on
    the device of the run, and gives whole numbers of shape (batch, row, column), from 0 to below
    `vocabulary`. Source: BEiT (arXiv 2106.08254), section 2.1.
    """

    def __init__(self, config: TrainConfig) -> None:
        """Import the function and try it on two grey images.

        Raises:
            OptionError: it cannot be imported or called, or what it gives are no such tokens.
        """
        super().__init__()
        self.name, self.outputs = config.tokenizer, config.vocabulary
        # In a tuple: a network that is an attribute would be trained and stored with this one.
        self._tokenizer = (_imported(config.tokenizer),)
        height, width = config.input_shape
        rows, columns = self.classes(torch.zeros(2, 3, height, width)).shape[1:]
        if height % rows or width % columns or height // rows != width // columns:
            raise OptionError(
                f"tokenizer {self.name} makes {rows} x {columns} tokens of an input of {height} x "
                f"{width} px; they must be squares of whole pixels"
            )
        self.scale = height // rows

    @torch.no_grad()
    def classes(self, images: Images) -> TargetClasses:
        """Give the tokens of normalised images.

        Raises:
            OptionError: the function fails, or what it gives are no tokens.
        """
        try:
            tokens = self._tokenizer[0](colours_of(images))
        except Exception as error:  # whatever a user's function may raise
            told = (str(error) or type(error).__name__).splitlines()[0]
            raise OptionError(
                f"tokenizer {self.name} failed on images of shape {tuple(images.shape)}: {told}"
            ) from error
        self._check(tokens, len(images))
        whole: TargetClasses = tokens.long()
        return whole

    def errors(self, predicted: Predictions, images: Images) -> PixelErrors:
        """Give the cross-entropy of every token."""
        return nn.functional.cross_entropy(predicted, self.classes(images), reduction="none")

    def picture(self, predicted: Predictions, images: Images) -> Images:  # noqa: ARG002
        """Refuse: what a token looks like is known to the tokenizer alone.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            f"tokens of {self.name} have no colours; reconstruct with a model of another target"
        )

    def _check(self, tokens: Any, images: int) -> None:
        if not isinstance(tokens, torch.Tensor):
            raise OptionError(
                f"tokenizer {self.name} gives a {type(tokens).__name__}, not a tensor of tokens"
            )
        if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
            raise OptionError(f"tokenizer {self.name} gives {tokens.dtype}, not whole numbers")
        if tokens.ndim != 3 or len(tokens) != images or tokens.numel() == 0:
            raise OptionError(
                f"tokenizer {self.name} gives shape {tuple(tokens.shape)} for {images} images, not "
                "(batch, row, column)"
            )
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.outputs:
            raise OptionError(
                f"tokenizer {self.name} gives tokens from {low} to {high}, outside a vocabulary of "
                f"{self.outputs}; set vocabulary (--vocabulary)"
            )


def _imported(text: str) -> Callable[..., Any]:
    """Find the function that `module:function` names.

    Raises:
        OptionError: there is none.
    """
    module, _, name = text.partition(":")
    if not module or not name:
        raise OptionError(f"tokenizer {text!r} is not of the form module:function")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # whatever a user's module may raise
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise OptionError(
            f"tokenizer {text} cannot be imported ({told}); put the folder of {module} on "
            "PYTHONPATH"
        ) from error
    function: Any = getattr(found, name, None)
    if not callable(function):
        raise OptionError(f"tokenizer {text}: {module} has no function {name}")
    return function  # type: ignore[no-any-return]
