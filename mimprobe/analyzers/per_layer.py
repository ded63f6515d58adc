"""What the analyzers with one value for each image and layer have in common.

What belongs here: where they look, and the form of their table. What does not: the values.
"""

from typing import Any

from mimprobe.analyzers.per_image import Column, PerImageAnalyzer
from mimprobe.models.sites import Layout


class PerLayerAnalyzer(PerImageAnalyzer):
    """A diagnostic of features with one value for each image and metric; it has no heads."""

    def sites(self, places: Layout) -> tuple[str, ...]:
        """The output of every block."""
        return places.feature_sites

    def columns_of(self, place: Column, count: int) -> tuple[list[Column], list[Column]]:
        """One column, which is the layer's."""
        assert count == 1
        return [place], []

    def describe(self) -> dict[str, Any]:
        """Definition and units."""
        return {"definition": self.definition, "units": dict(self.units)}
