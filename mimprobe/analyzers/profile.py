"""Share of attention by distance, a curve for each head."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_site import PerSiteAnalyzer, Summary, flat, head_numbers
from mimprobe.analyzers.view import View, attention_of
from mimprobe.measures.offsets import ring_shares
from mimprobe.models.offsets import offset_rings, uniform_sums
from mimprobe.tables import PROFILE_COLUMNS


class AttentionProfile(PerSiteAnalyzer):
    """Whether a head looks near, far, or both, which one mean distance cannot tell."""

    name = "attention_profile"
    units = {"attention_profile": "1"}  # noqa: RUF012
    definition = (
        "mean over images of the share of the patch queries' attention that goes to patches in a "
        "ring around the query; ring k holds distances from (k - 1/2) to (k + 1/2) times the "
        "shorter side of a patch, ring 0 the query's own patch; 'uniform' is the share that equal "
        "attention to all valid keys would give"
    )
    columns = PROFILE_COLUMNS

    def measure(self, view: View) -> Measured:
        """Give the shares of each head and their mean, with what uniform attention gives."""
        seen = attention_of(view)
        device = seen.attention.device
        rings = offset_rings(seen.geometry, device)
        shares = ring_shares(seen.offsets, rings)
        uniform = ring_shares(uniform_sums(seen.geometry, device), rings)[0]
        images = len(shares)
        return {
            self.name: torch.cat([shares, shares.nanmean(1, keepdim=True)], 1),
            "uniform": uniform.expand(images, -1, -1),
            "width": shares.new_full((images, 1), rings.width),
        }

    def rows(self, model: str, site: str, found: Mapping[str, Summary]) -> pd.DataFrame:  # noqa: ARG002
        """One row for each head, or mean over heads, and ring."""
        shares, width = found[self.name], float(found["width"].value[0])
        lines, rings = shares.value.shape
        edges = width * (np.arange(rings + 1) - 0.5).clip(0)
        return pd.DataFrame(
            {
                "head": head_numbers(lines - 1, rings),
                "distance_low": np.tile(edges[:-1], lines),
                "distance_high": np.tile(edges[1:], lines),
                "metric": self.name,
                "uniform": np.tile(found["uniform"].value[0], lines),
                **flat(shares),
            }
        )
