"""A loaded network with a new classifier.

What belongs here: what of a network is kept when its task changes. What does not: the loss.
"""

from typing import Any

from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mimprobe.errors import CheckpointError, OptionError
from mimprobe.models.surgery import with_gaps_of
from mimprobe.zoo.build import create
from mimprobe.zoo.loaded import LoadedModel

POOLED = (VisionTransformer, Beit, SwinTransformer, SwinTransformerV2)
"""Families whose patches are averaged, whatever the network did before; others keep their way."""

REPLACED = ("num_classes", "global_pool", "fc_norm", "drop_path_rate")
"""Arguments that a new task decides."""

POOLED_NORM = "fc_norm."
"""The norm after mean pooling takes the place of the last one of the tokens, and starts anew."""


def with_classifier(
    loaded: LoadedModel, classes: int, drop_path: float
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network again, with a new classifier, and put the weights in.

    Blocks that were dropped stay dropped, and masked heads masked (`models.surgery`).

    Args:
        loaded: by `load_model`, at the input size that is wanted.
        classes: outputs of the classifier.
        drop_path: stochastic depth of the last block.

    Returns:
        The network, and the arguments that build it by timm's name for it.

    Raises:
        OptionError: timm did not build the network.
        CheckpointError: parts other than the classifier would start anew.
    """
    require_timm(loaded)
    pool = {"global_pool": "avg"} if type(loaded.module) in POOLED else {}
    if not pool:
        pool = {key: loaded.arguments[key] for key in REPLACED[1:3] if key in loaded.arguments}
    arguments = {key: value for key, value in loaded.arguments.items() if key not in REPLACED}
    arguments |= {"num_classes": classes, **pool}
    whole = create(loaded.architecture, {**arguments, "drop_path_rate": drop_path})
    network = with_gaps_of(whole, loaded.module)
    _take_over(network, loaded)
    return network, arguments


def require_timm(loaded: LoadedModel) -> None:
    """Raise OptionError for a network that `with_classifier` cannot build again."""
    if not hasattr(loaded.module, "get_classifier"):
        raise OptionError(
            f"{loaded.reference} is a {type(loaded.module).__name__}; fine-tuning takes networks "
            "of timm: a card, timm:NAME, random:NAME, or a weights file"
        )


def _take_over(network: nn.Module, loaded: LoadedModel) -> None:
    """Copy all weights but the classifier's."""
    config: Any = network.pretrained_cfg
    names = config.get("classifier") or "head"
    anew = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    before, own = loaded.module.state_dict(), network.state_dict()
    kept = {
        key: before[key]
        for key, value in own.items()
        if not key.startswith(anew) and key in before and before[key].shape == value.shape
    }
    lost = [key for key in own if key not in kept and not key.startswith((*anew, POOLED_NORM))]
    if lost:
        raise CheckpointError(
            f"{loaded.reference} lacks {len(lost)} tensors of the network to fine-tune, such as "
            f"{lost[0]}"
        )
    network.load_state_dict({**own, **kept})
