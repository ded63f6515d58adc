"""How much of the features varies fast over the image, by layer."""

import torch

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_image import Column
from mimprobe.analyzers.per_layer import PerLayerAnalyzer
from mimprobe.analyzers.view import View, features_of
from mimprobe.measures.frequency import relative_log_amplitude
from mimprobe.tables import CURVE_COLUMNS


class HighFrequency(PerLayerAnalyzer):
    """Relative log amplitude of the highest spatial frequency, and the curve up to it."""

    name = "high_frequency"
    columns = CURVE_COLUMNS
    units = {"high_frequency": "nats", "log_amplitude": "nats"}  # noqa: RUF012
    definition = (
        "log |F(u,v)| - log |F(0,0)| of the Fourier transform over the patch grid of a block's "
        "output, mean over channels and images, along the diagonal from (0,0) to the highest "
        "frequency of both axes; high_frequency is its end"
    )

    def measure(self, view: View) -> Measured:
        """Give the curve of each image, and its end; a grid of one patch has none."""
        seen = features_of(view)
        curve = relative_log_amplitude(seen.wide, seen.geometry.grid)
        end = curve[:, -1:] if curve.shape[1] > 1 else torch.full_like(curve, torch.nan)
        return {"high_frequency": end, "log_amplitude": curve}

    def columns_of(self, place: Column, count: int) -> tuple[list[Column], list[Column]]:
        """The points of the curve, by their share of the highest frequency."""
        if place.metric == self.name:
            return [place], []
        steps = max(1, count - 1)
        return [place._replace(at=step / steps) for step in range(count)], []
