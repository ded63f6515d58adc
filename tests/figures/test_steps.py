"""Layers and heads against the step of training."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from mimprobe.errors import OptionError
from mimprobe.figures import cka_to_final, head_steps, layer_steps
from mimprobe.figures.curves import layer_color
from mimprobe.figures.heads import INTERVAL

DEPTH, HEADS, STEPS = 6, 3, (0, 50, 100, 200)


def watched(*models, metric="head_kl", heads=HEADS):
    draw = np.random.default_rng(0)
    rows = [
        {
            "model": model, "kind": "mim", "step": step, "site": f"blocks.{layer}.attn.probs",
            "layer": layer, "head": head, "metric": metric, "unit": "nats",
            "value": 1 + layer + step / 100 + draw.normal(0, 0.1), "std": 1.0,
            "se": 0.05, "n": 400, "note": "",
        }
        for model in models
        for step in reversed(STEPS)
        for layer in range(DEPTH)
        for head in [*range(heads), pd.NA]
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(head=table["head"].astype("Int64"))


def test_every_layer_has_its_line_and_band_in_the_order_of_steps(figure):
    table = watched("run", "other")
    panels = layer_steps(table, metric="head_kl", figure=figure)
    assert len(panels) == 2
    for panel, model in zip(panels, ("run", "other"), strict=True):
        assert len(panel.lines) == len(panel.collections) == DEPTH
        for layer, (line, band) in enumerate(zip(panel.lines, panel.collections, strict=True)):
            own = table[table["model"].eq(model) & table["head"].isna()]
            own = own[own["layer"] == layer].sort_values("step")
            np.testing.assert_array_equal(line.get_xdata(), STEPS)
            np.testing.assert_allclose(line.get_ydata(), own["value"])
            assert same_color(line.get_color(), layer_color(layer, DEPTH))
            top = (own["value"] + INTERVAL * own["se"]).max()
            assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(top)
    assert len({panel.get_ylim() for panel in panels}) == 1
    assert panels[0].get_xlabel() == "training step"
    assert panels[0].get_ylabel() == "KL between heads (nats)"


def test_heads_stand_in_a_panel_for_each_of_some_layers(figure):
    panels = head_steps(watched("run"), metric="head_kl", figure=figure)
    assert [panel.texts[0].get_text() for panel in panels] == [
        "layer 1", "layer 3", "layer 4", "layer 6",
    ]  # fmt: skip
    for panel in panels:
        assert len(panel.lines) == HEADS + 1
    chosen = head_steps(watched("run"), metric="head_kl", layers=[5])
    assert [panel.texts[0].get_text() for panel in chosen] == ["layer 6"]
    with pytest.raises(OptionError, match="'run' has no layer 6"):
        head_steps(watched("run"), metric="head_kl", layers=[6])


def test_cka_to_final_is_drawn_with_the_same_lines(figure):
    (panel,) = cka_to_final(watched("run", metric="cka_to_final", heads=0), figure=figure)
    assert len(panel.lines) == DEPTH
    assert panel.get_ylabel() == "CKA with the layer at the end (nats)"


def test_a_table_without_steps_is_refused(figure):
    table = watched("run").drop(columns="step")
    with pytest.raises(OptionError, match="the table lacks the columns step; this figure takes"):
        layer_steps(table, metric="head_kl", figure=figure)


def test_many_steps_have_no_dots(figure):
    table = pd.concat([watched("run").assign(step=step) for step in range(40)])
    table = table.drop_duplicates(["step", "layer", "head"])
    (panel,) = layer_steps(table, metric="head_kl", figure=figure)
    assert {line.get_marker() for line in panel.lines} == {""}
    (few,) = layer_steps(watched("run"), metric="head_kl")
    assert {line.get_marker() for line in few.lines} == {"o"}
