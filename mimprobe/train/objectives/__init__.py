"""What a network is trained to do: one file each, and the dict that names them.

An objective is a module that owns the encoder. `sample` draws what one image needs beyond its
pixels (a mask, a label); `forward` gives the loss; `encoder` is what the diagnostics look at.
"""

from mimprobe.train.objectives.simmim import SimMIM
from mimprobe.train.objectives.supervised import Supervised

Objective = SimMIM | Supervised

OBJECTIVES: dict[str, type[SimMIM] | type[Supervised]] = {
    "simmim": SimMIM,
    "supervised": Supervised,
}

__all__ = ["OBJECTIVES", "Objective", "SimMIM", "Supervised"]
