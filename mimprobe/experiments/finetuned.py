"""What fine-tuning makes of a network whose blocks or heads were changed.

What belongs here: from a changed network to the images that it classifies rightly after the
trainer's own recipe. What does not: the recipe (`train`) and the changes (`models.surgery`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Bool
from torch import Tensor, nn

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError
from mimprobe.models.device import resolve_device
from mimprobe.models.surgery import has_gaps
from mimprobe.train.config import TrainConfig
from mimprobe.train.evaluation import LabelledImages, correct
from mimprobe.train.finetune import loaded_config
from mimprobe.train.fit import pretrain
from mimprobe.train.labels import training_labels, validation_labels
from mimprobe.train.objectives import Finetune
from mimprobe.zoo.loaded import LoadedModel

FIXED = ("input_size", "input_width", "arch_args", "start_arch", "val", "seed", "epochs")
"""Settings that the network, the images and the arguments decide."""


def finetuned_correct(
    model: LoadedModel,
    module: nn.Module,
    train: ImageSet,
    val: ImageSet,
    directory: str | os.PathLike[str],
    *,
    seed: int,
    epochs: int,
    settings: Mapping[str, Any] | None = None,
) -> Bool[Tensor, " image"]:
    """Fine-tune a changed network and tell which images of `val` it classifies rightly.

    The run is that of `mimprobe finetune`, from the weights of `module` in the network that it is:
    dropped blocks stay the identity and count no layer of the layer-wise rates, masked heads give
    nothing. A new classifier starts from the mean of the patches; stochastic depth grows from place
    to place, over those of dropped blocks too. The last weights are tried, and no average of them.
    The same arguments give the same answer, bit for bit on a CPU; `model` and `module` are left as
    they are.

    Args:
        model: the intact network, as it was loaded: its preprocessing and architecture are used.
        module: its `module`, or what `models.surgery` made of it.
        train: labelled images to train on.
        val: labelled images of the same classes.
        directory: of the run, new or empty: its settings, losses and checkpoints. Weights are only
            left there if the architecture alone can load them.
        seed: of classifier, order, augmentation and stochastic depth.
        epochs: passes over `train`; the recipe has 100.
        settings: other fields of `TrainConfig` where they shall not be those of the recipe.

    Returns:
        For each image of `val` in order, whether its own class has the largest output.

    Raises:
        ImageError: labels are missing or differ between the two sets, or there are too few images.
        OptionError: the network is not one of timm, or a setting is outside its range.
        OutputError: the directory holds something else.
    """
    config = _config(model, seed, epochs, settings or {})
    start = replace(model, module=module)
    labels = validation_labels(val, training_labels(train)[0])
    built: list[Finetune] = []

    def build(config: TrainConfig, classes: Sequence[str]) -> Finetune:
        built.append(Finetune(config, classes, start))
        return built[0]

    weights = pretrain(train, directory, config, build=build)
    tuned = built[0]
    if has_gaps(module):  # the file does not say so, and its architecture has every block and head
        weights.unlink(missing_ok=True)  # by another process of the run
    shown = LabelledImages(val, labels, tuned.preprocessing)
    return correct(tuned.encoder, shown, config, resolve_device(config.device))


def check_settings(model: LoadedModel, epochs: int, settings: Mapping[str, Any]) -> None:
    """Refuse settings now that `finetuned_correct` would refuse.

    Raises:
        OptionError: the network is not one of timm, or a setting is outside its range.
        UnknownNameError: no such setting.
    """
    _config(model, 0, epochs, settings)


def _config(model: LoadedModel, seed: int, epochs: int, settings: Mapping[str, Any]) -> TrainConfig:
    for name in settings:
        if name in FIXED:
            raise OptionError(
                f"{name} cannot be a setting of this fine-tuning: the network, the images and the "
                "other arguments decide it"
            )
    return loaded_config(model, {**settings, "seed": seed, "epochs": epochs})
