"""What a masked-image model paints where it does not see.

What belongs here: images, masks and a painter brought together, and their arrays. What does not:
finding the decoder (`painters`), strategies (`data.masks`), and drawing (`figures.reconstruction`).
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mimprobe.data.images import ImageSet, open_images
from mimprobe.data.masks import Mask
from mimprobe.errors import ImageError, NonFiniteError
from mimprobe.experiments.masker import Masking, masker_of
from mimprobe.experiments.painters import Painter, painter_of, require_decoder_source
from mimprobe.models.device import exact_pass, placed, resolve_device
from mimprobe.shapes import Images
from mimprobe.tables.painting import Reconstruction
from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel


def reconstruct(
    checkpoint: str | os.PathLike[str] | LoadedModel,
    images: object,
    *,
    mask: Masking = "random",
    mask_patch: int | None = None,
    mask_ratio: float | None = None,
    norm_pix: bool | None = None,
    device: str | torch.device = "auto",
    seed: int = 0,
) -> Reconstruction:
    """Hide patches of images, and let a model predict all pixels from the others.

    The mask of image i depends on the seed and on i, not on the other images.

    Args:
        checkpoint: a card, a weights file or a loaded model that holds the decoder of its
            pre-training: of mimprobe's trainer, SimMIM or MAE.
        images: what `open_images` takes.
        mask: `random`, `square` or `block`; an image (a file or a PIL image) whose white part is
            hidden, cropped like an image of the same size and else stretched to the input; or a
            box x0, y0, x1, y1 in pixels of the network's input. A patch that an image or a box
            touches is hidden.
        mask_patch: side of a mask patch in pixels; by default that of the training.
        mask_ratio: share of mask patches that is hidden; by default that of the training.
        norm_pix: whether an MAE file predicts normalised pixels, where its name does not tell.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of the masks.

    Raises:
        CheckpointError: the checkpoint has no decoder.
        UnknownNameError: no such strategy.
        OptionError: a mask that does not fit, or hides everything.
        NonFiniteError: the model painted NaN or infinity.

    Source: SimMIM (arXiv 2111.09886), section 4.3; MAE (arXiv 2111.06377).
    """
    place = resolve_device(device)
    if not isinstance(checkpoint, LoadedModel):
        require_decoder_source(os.fspath(checkpoint))
    model = (
        checkpoint
        if isinstance(checkpoint, LoadedModel)
        else load_model(checkpoint, device=place, seed=seed)
    )
    painter = painter_of(model, norm_pix=norm_pix)
    assert model.preprocessing is not None  # a painter's model comes from a file
    masker, title = masker_of(
        mask, painter, model.preprocessing, mask_patch=mask_patch, mask_ratio=mask_ratio, seed=seed
    )
    image_set = open_images(images)
    with placed(painter, place), exact_pass(place, "float32"):
        painted = [
            _painted(painter, model, image_set.ids[number], photo, masker(number, photo), place)
            for number, photo in _readable(image_set)
        ]
    if not painted:
        raise ImageError(f"none of the {len(image_set)} images of {image_set.source} is readable")
    return Reconstruction(
        model.name, model.kind, title, ids=tuple(one.image for one in painted),
        pictures=np.stack([one.picture for one in painted]),
        mask=np.stack([one.mask for one in painted]),
        output=np.stack([one.output for one in painted]),
        error=np.array([one.error for one in painted]),
    )  # fmt: skip


class _Painted(NamedTuple):
    """One image of a reconstruction."""

    image: str
    picture: npt.NDArray[np.float32]
    mask: Mask
    output: npt.NDArray[np.float32]
    error: float


def _readable(images: ImageSet) -> Iterator[tuple[int, Image.Image]]:
    """Give the images with their numbers, without those that may be skipped."""
    for number in range(len(images)):
        try:
            photo = images.load(number)
        except ImageError as error:
            images.skip(number, error)
        else:
            yield number, photo


def _painted(
    painter: Painter, model: LoadedModel, image: str, photo: Image.Image, mask: Mask,
    device: torch.device,
) -> _Painted:  # fmt: skip
    """Paint one image; alone, so that no number depends on the others."""
    pixels = model.transform(photo).unsqueeze(0).to(device)
    predicted = painter(pixels, torch.from_numpy(mask).unsqueeze(0).to(device))
    if not bool(predicted.isfinite().all()):
        raise NonFiniteError(f"model {model.name!r} painted NaN or infinity on image {image!r}")
    stride = pixels.shape[-1] // mask.shape[1]
    hidden = mask.repeat(stride, axis=0).repeat(stride, axis=1)
    error = (predicted[0].double() - pixels[0].double()).abs().cpu().numpy()
    return _Painted(
        image, _picture(pixels, model), mask, _picture(predicted, model),
        float(error[:, hidden].mean()),
    )  # fmt: skip


def _picture(pixels: Images, model: LoadedModel) -> npt.NDArray[np.float32]:
    """Undo the normalisation: height x width x 3 between 0 and 1."""
    assert model.preprocessing is not None
    image = pixels[0].double().cpu().numpy().transpose(1, 2, 0)
    image = image * np.array(model.preprocessing.std) + np.array(model.preprocessing.mean)
    picture: npt.NDArray[np.float32] = np.clip(image, 0, 1).astype(np.float32)
    return picture
