"""Attention that does not go to patches: to prefix tokens, padding, and past a window's mask."""

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.analyzers.view import View, attention_of


class PrefixMass(PerImageAnalyzer):
    """How much of the patches' attention goes to class, distillation and register tokens.

    Without it a head that looks only at the class token reads falsely as local. Windowed models
    have no prefix; theirs is the mass on padding, and the largest mass that slips past the mask of
    a shifted window.
    """

    name = "prefix_mass"
    units = {"prefix_mass": "1", "padding_mass": "1", "masked_mass": "1"}  # noqa: RUF012
    definition = (
        "mean over images and patch queries of the attention on prefix keys (prefix_mass) or on "
        "padding (padding_mass); masked_mass is the mean over images of the largest mass that any "
        "query gives to keys masked by a shifted window"
    )
    prefix = "renormalise"

    def measure(self, view: View) -> Measured:
        """Give those masses that the layer can have at all."""
        rows = attention_of(view).rows(self.prefix)
        masses = {
            "prefix_mass": rows.prefix_mass,
            "padding_mass": rows.padding_mass,
            "masked_mass": rows.masked_mass,
        }
        return {name: mass for name, mass in masses.items() if mass is not None}
