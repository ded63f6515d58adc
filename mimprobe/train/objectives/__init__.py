"""What a network is trained to do: one file each, and the dict that names them.

An objective is a module that owns the encoder. `sample` draws what one image needs beyond its
pixels (a mask, a label); `forward` gives the loss; `encoder` is what the diagnostics look at.
Some have `prepare`, which augments a batch; `parameter_groups`, with rates by layer;
`preprocessing` and `arguments`, where these are not the usual ones of the run's settings.
"""

from mimprobe.train.objectives.finetune import Finetune
from mimprobe.train.objectives.simmim import SimMIM
from mimprobe.train.objectives.supervised import Supervised

Objective = SimMIM | Supervised | Finetune

OBJECTIVES: dict[str, type[SimMIM] | type[Supervised] | type[Finetune]] = {
    "simmim": SimMIM,
    "supervised": Supervised,
    "finetune": Finetune,
}

__all__ = ["OBJECTIVES", "Finetune", "Objective", "SimMIM", "Supervised"]
