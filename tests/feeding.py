"""Analyzers fed through real hooks, and how their tables are compared."""

import numpy as np
import pandas as pd
import torch

from mimprobe.analyzers.view import views
from mimprobe.hooks import capture
from mimprobe.models.sites import layout

IMAGES = 12


def feed(analyzer, networks, pixels, batches, total=IMAGES):
    """Show batches of image numbers to an analyzer, through real hooks."""
    places = {name: layout(model) for name, model in networks.items()}
    analyzer.begin(places, total)
    for batch in batches:
        measured = {}
        for name, model in networks.items():
            wanted = analyzer.sites(places[name])

            def reduce(seen):
                pieces = [analyzer.measure(view) for view in views(seen)]
                return {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}

            with torch.inference_mode(), capture(model, wanted, reduce=reduce) as captured:
                model(pixels[name][batch])
            measured[name] = dict(captured)
        analyzer.add(batch, measured)
    return analyzer


def assert_same(one, other, rtol=2e-5, atol=1e-7):
    keys = [column for column in one if one[column].dtype.kind not in "f"]
    pd.testing.assert_frame_equal(one[keys], other[keys])
    for column in ("value", "std", "se"):
        np.testing.assert_allclose(
            one[column].to_numpy(float), other[column].to_numpy(float), rtol=rtol, atol=atol
        )


def hsic(x, y):
    """Song et al. 2012, with explicit index sums."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    ones = np.ones(n)
    return (
        np.trace(k @ m)
        + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (ones @ k @ m @ ones)
    ) / (n * (n - 3))
