"""Tables in, matplotlib axes out.

What belongs here: everything that draws. What does not: measuring (no torch, not even indirectly),
and files: no function here shows or saves anything.
"""

from mimprobe.figures.block_losses import block_panels, layer_reset
from mimprobe.figures.change_curves import READOUTS, change_curves, layer_drop, layer_swap
from mimprobe.figures.curves import curve_panels, log_amplitude, singular_values
from mimprobe.figures.exchanges import exchange_maps
from mimprobe.figures.head_losses import head_maps, layer_heads
from mimprobe.figures.heads import (
    LABELS,
    attention_distance,
    attention_entropy,
    attention_nmi,
    head_kl,
    head_panels,
    prefix_mass,
)
from mimprobe.figures.kernels import (
    KERNEL_LABELS,
    kernel_distance,
    kernel_entropy,
    kernel_panels,
)
from mimprobe.figures.layers import (
    effective_rank,
    feature_norm,
    high_frequency,
    token_similarity,
)
from mimprobe.figures.masking import mask_distance
from mimprobe.figures.offsets import attention_offset
from mimprobe.figures.overview import layer_means
from mimprobe.figures.pairs import head_pairs
from mimprobe.figures.palette import KIND_STYLES, KindStyle, Style, kind_style, model_styles
from mimprobe.figures.pictures import overlay
from mimprobe.figures.profiles import attention_profile
from mimprobe.figures.readout import POOLING_LABELS, READOUT_LABELS, readout
from mimprobe.figures.receptive import receptive_field
from mimprobe.figures.reconstruction import reconstruction
from mimprobe.figures.similarity import (
    cka,
    cka_between,
    mutual_neighbours,
    pair_maps,
    pair_maps_between,
)
from mimprobe.figures.steps import cka_to_final, head_steps, layer_steps

FIGURES = {
    "attention_distance": attention_distance,
    "attention_offset": attention_offset,
    "attention_profile": attention_profile,
    "attention_entropy": attention_entropy,
    "attention_nmi": attention_nmi,
    "head_kl": head_kl,
    "head_pairs": head_pairs,
    "prefix_mass": prefix_mass,
    "cka": cka,
    "mutual_neighbours": mutual_neighbours,
    "effective_rank": effective_rank,
    "token_similarity": token_similarity,
    "high_frequency": high_frequency,
    "feature_norm": feature_norm,
    "kernels": kernel_distance,
    "receptive_field": receptive_field,
    "cka_to_final": cka_to_final,
    "layer_swap": layer_swap,
    "layer_drop": layer_drop,
    "layer_reset": layer_reset,
    "layer_heads": layer_heads,
    "readout": readout,
}
"""The main figure of each table, in the order in which a report shows them."""

__all__ = [
    "FIGURES", "KERNEL_LABELS", "KIND_STYLES", "LABELS", "POOLING_LABELS", "READOUTS",
    "READOUT_LABELS", "KindStyle", "Style", "attention_distance", "attention_entropy",
    "attention_nmi", "attention_offset", "attention_profile", "block_panels", "change_curves",
    "cka", "cka_between", "cka_to_final", "curve_panels", "effective_rank", "exchange_maps",
    "feature_norm", "head_kl", "head_maps", "head_pairs", "head_panels", "head_steps",
    "high_frequency", "kernel_distance", "kernel_entropy", "kernel_panels", "kind_style",
    "layer_drop", "layer_heads", "layer_means", "layer_reset", "layer_steps", "layer_swap",
    "log_amplitude", "mask_distance", "model_styles", "mutual_neighbours", "overlay", "pair_maps",
    "pair_maps_between", "prefix_mass", "readout", "receptive_field", "reconstruction",
    "singular_values", "token_similarity",
]  # fmt: skip
