"""Networks that paint hidden patches: an encoder with the decoder of its pre-training.

What belongs here: finding the decoder in a checkpoint, and putting it behind the encoder. What does
not: choosing masks and images (`reconstruction`), and the networks themselves (`models`, `train`).
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimprobe.errors import CheckpointError, MimprobeError, OptionError
from mimprobe.models.mae import HEAD_WIDTH, MAEDecoder, joined_patches, patch_pixels, unnormalised
from mimprobe.models.masked import masked_features, visible_features
from mimprobe.shapes import Images, PatchMask
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives import SimMIM
from mimprobe.zoo.carded import card_weights
from mimprobe.zoo.loaded import LoadedModel
from mimprobe.zoo.weights import WeightsFile, read_weights


class Painter(nn.Module):
    """Images and masks in, predicted images out, all in the input's normalised space.

    Attributes:
        grid: rows and columns of the masks that it takes.
        mask_patch: side in pixels of a mask patch in its training.
        mask_ratio: share of mask patches that were masked in its training.
    """

    grid: tuple[int, int]
    mask_patch: int
    mask_ratio: float


class OwnPainter(Painter):
    """What mimprobe's trainer wrote: its objective paints."""

    def __init__(self, encoder: nn.Module, file: WeightsFile, size: tuple[int, int]) -> None:
        """Build the objective of the run that wrote the file, for an input of `size`."""
        super().__init__()
        known = {entry.name for entry in dataclasses.fields(TrainConfig)}
        said = {k: v for k, v in file.metadata["training"].items() if k in known}
        config = TrainConfig(**{**said, "device": "cpu"})
        if size[0] != config.input_size:
            config = dataclasses.replace(config, input_size=size[0])
        self.mask_patch, self.mask_ratio = config.mask_patch, config.mask_ratio
        self.objective = SimMIM(config, [])
        rest = {k: v for k, v in file.tensors.items() if not k.startswith("encoder.")}
        inside = {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
        self.objective.load_state_dict({**rest, **inside})
        self.grid = self.objective.grid

    def forward(self, images: Images, mask: PatchMask) -> Images:
        """Paint all pixels."""
        return self.objective.reconstruct(images, mask)


class SimMIMPainter(Painter):
    """What the original SimMIM wrote: a mask token, and one convolution to pixels."""

    mask_ratio = 0.6

    def __init__(self, encoder: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """Put the file's mask token and decoder behind the encoder."""
        super().__init__()
        weight = tensors["decoder.0.weight"]
        stride = math.isqrt(weight.shape[0] // 3)
        stem: Any = encoder.patch_embed
        self.encoder = encoder
        self.grid = stem.grid_size
        self.mask_patch = max(32, stem.patch_size[0])
        name = "encoder.mask_token" if "encoder.mask_token" in tensors else "mask_token"
        self.mask_token = nn.Parameter(tensors[name].float())
        self.decoder = nn.Sequential(
            nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1), nn.PixelShuffle(stride)
        )
        self.decoder.load_state_dict({"0.weight": weight, "0.bias": tensors["decoder.0.bias"]})

    def forward(self, images: Images, mask: PatchMask) -> Images:
        """Paint all pixels."""
        features = masked_features(self.encoder, images, mask, self.mask_token)
        painted: Images = self.decoder(features)
        return painted


class MAEPainter(Painter):
    """What MAE's full and visualisation files hold: only visible patches reach the encoder."""

    mask_ratio = 0.75

    def __init__(
        self, encoder: nn.Module, tensors: Mapping[str, Tensor], *, norm_pix: bool
    ) -> None:
        """Put the file's decoder behind the encoder; `norm_pix` says what it predicts."""
        super().__init__()
        stem: Any = encoder.patch_embed
        self.encoder, self.grid = encoder, stem.grid_size
        self.decoder = _mae_decoder(tensors)
        self.norm_pix = norm_pix
        self.mask_patch = self.decoder.patch
        if self.grid[0] * self.grid[1] != self.decoder.decoder_pos_embed.shape[1] - 1:
            raise OptionError(
                f"MAE's decoder has {self.decoder.decoder_pos_embed.shape[1] - 1} fixed places, but"
                f" the encoder was built for {self.grid[0]} x {self.grid[1]} patches; leave out "
                "the input size"
            )

    def forward(self, images: Images, mask: PatchMask) -> Images:
        """Paint all pixels; each image may have its own mask."""
        return torch.cat([self._one(images[i : i + 1], mask[i]) for i in range(len(images))])

    def _one(self, image: Images, mask: Tensor) -> Images:
        visible = (~mask.flatten()).nonzero().flatten()
        predicted = self.decoder(visible_features(self.encoder, image, visible), visible)
        if self.norm_pix:
            predicted = unnormalised(predicted, patch_pixels(image, self.decoder.patch))
        return joined_patches(predicted, self.grid, self.decoder.patch)


def painter_of(model: LoadedModel, *, norm_pix: bool | None = None) -> Painter:
    """Find the decoder that a model was pre-trained with, and put it behind the model.

    Args:
        model: loaded from a card or a weights file.
        norm_pix: whether an MAE file predicts normalised pixels; by default its name tells: those
            called `visualize` predict pixels, those called `full` normalised ones.

    Raises:
        CheckpointError: there is no decoder, or it does not fit.
        OptionError: an MAE file whose name does not tell, or another input size than its decoder's.
    """
    file = _file_of(model)
    names = file.tensors.keys()
    told = file.metadata.get("training")
    try:
        if isinstance(told, Mapping) and told.get("objective") == "simmim":
            assert model.preprocessing is not None
            return OwnPainter(model.module, file, model.preprocessing.input_size)
        if "decoder.0.weight" in names:
            return SimMIMPainter(model.module, file.tensors)
        if "decoder_pred.weight" in names:
            normalised = _norm_pix(file.path.name) if norm_pix is None else norm_pix
            return MAEPainter(model.module, file.tensors, norm_pix=normalised)
    except MimprobeError:
        raise
    except (KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"the decoder in {file.path} does not fit ({reason}); it is damaged or of another kind"
        ) from error
    raise CheckpointError(_no_decoder(model.reference))


def require_decoder_source(reference: str) -> None:
    """Refuse references to networks without a file of their pre-training, before they are loaded.

    Raises:
        CheckpointError: `timm:`, `hf:` or `random:`.
    """
    if reference.rpartition("=")[2].partition(":")[0] in ("timm", "hf", "random"):
        raise CheckpointError(_no_decoder(reference))


def _file_of(model: LoadedModel) -> WeightsFile:
    """Find the file that a model was loaded from."""
    path = Path(model.reference)
    if model.card is None and path.is_file():
        return read_weights(path)
    if model.card is None:
        raise CheckpointError(_no_decoder(model.reference))
    chosen = path if path.is_file() else card_weights(model.card)
    return read_weights(chosen, top_key=model.card.weights.top_key)


def _no_decoder(what: str) -> str:
    return (
        f"{what} has no decoder that predicts pixels, so it cannot reconstruct; name a SimMIM "
        "pre-training file, a run of 'mimprobe pretrain simmim', or an MAE file with its decoder "
        "(mae_vit_base_visualize, mae_vit_base_full)"
    )


def _norm_pix(name: str) -> bool:
    if "visualize" in name:
        return False
    if "full" in name:
        return True
    raise OptionError(
        f"{name} does not say whether it predicts normalised pixels; pass --norm-pix "
        "(norm_pix=True; MAE's pre-training files do) or --no-norm-pix (norm_pix=False; its "
        "'visualize' files)"
    )


def _mae_decoder(tensors: Mapping[str, Tensor]) -> MAEDecoder:
    """Build MAE's decoder from its shapes, and fill it."""
    width, encoder_width = tensors["decoder_embed.weight"].shape
    if width % HEAD_WIDTH:
        raise CheckpointError(
            f"its decoder is {width} wide, which is no multiple of {HEAD_WIDTH}, the width of a "
            "head in MAE's decoders"
        )
    own = {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith("decoder_") or name == "mask_token"
    }
    decoder = MAEDecoder(
        encoder_width=encoder_width,
        width=width,
        depth=len({name.split(".")[1] for name in own if name.startswith("decoder_blocks.")}),
        hidden=tensors["decoder_blocks.0.mlp.fc1.weight"].shape[0],
        grid=math.isqrt(tensors["decoder_pos_embed"].shape[1] - 1),
        patch=math.isqrt(tensors["decoder_pred.weight"].shape[0] // 3),
    )
    decoder.load_state_dict(own)
    return decoder
