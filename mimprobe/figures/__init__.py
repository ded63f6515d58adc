"""Tables in, matplotlib axes out.

What belongs here: everything that draws. What does not: measuring (no torch, not even indirectly),
and files: no function here shows or saves anything.
"""

from mimprobe.figures.heads import (
    LABELS,
    attention_distance,
    attention_entropy,
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
from mimprobe.figures.overview import layer_means
from mimprobe.figures.palette import KIND_STYLES, KindStyle, Style, kind_style, model_styles
from mimprobe.figures.pictures import overlay
from mimprobe.figures.receptive import receptive_field
from mimprobe.figures.similarity import cka, cka_between

FIGURES = {
    "attention_distance": attention_distance,
    "attention_entropy": attention_entropy,
    "head_kl": head_kl,
    "prefix_mass": prefix_mass,
    "cka": cka,
    "kernels": kernel_distance,
    "receptive_field": receptive_field,
}
"""The main figure of each table, in the order in which a report shows them."""

__all__ = [
    "FIGURES", "KERNEL_LABELS", "KIND_STYLES", "LABELS", "KindStyle", "Style", "attention_distance",
    "attention_entropy", "cka", "cka_between", "head_kl", "head_panels",
    "kernel_distance", "kernel_entropy", "kernel_panels", "kind_style",
    "layer_means", "model_styles", "overlay", "prefix_mass", "receptive_field",
]  # fmt: skip
