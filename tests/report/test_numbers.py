"""Tables of text for kernels and receptive fields."""

import numpy as np
import pandas as pd

from mimprobe.report.numbers import kernel_medians, square_sides


def test_medians_of_kernels_by_layer_and_model():
    values = {("a", 0): [1, 2, 3, 4, 5], ("a", 1): [10, 10, 10], ("b", 0): [7]}
    table = pd.DataFrame(
        [
            {"model": model, "layer": layer, "metric": metric, "unit": unit, "value": float(value)}
            for metric, unit in (("kernel_distance", "px"), ("kernel_entropy_normalised", "1"))
            for (model, layer), several in values.items()
            for value in several
        ]
    )
    (title, distance), (other, entropy) = kernel_medians(table)
    assert title == "Median over channels (quartiles): kernel distance"
    assert other == "Median over channels (quartiles): normalised kernel entropy"
    assert distance.header == ["layer (px)", "a", "b"]
    assert entropy.header == ["layer", "a", "b"]
    assert distance.rows == [
        ["1", "3.00 (2.00 to 4.00)", "7.00 (7.00 to 7.00)"],
        ["2", "10.0 (10.0 to 10.0)", ""],
    ]


def test_sides_of_squares_by_model_and_share():
    table = pd.DataFrame(
        {
            "model": ["a", "a", "a", "b", "b"],
            "metric": ["contribution", *["square_side"] * 4],
            "share": [np.nan, 0.5, 0.2, 0.2, 0.5],
            "value": [0.1, 40.0, 20.0, 8.0, 12.0],
            "se": [0.0, 2.0, 1.0, np.nan, 0.5],
        }
    )
    ((title, numbers),) = square_sides(table)
    assert title.startswith("Side of the smallest centred square (px)")
    assert numbers.header == ["", "20%", "50%"]
    (a, twenty, fifty), (b, alone, _) = numbers.rows
    assert (a, b) == ("a", "b")
    assert twenty.startswith("20 <span")
    assert "(18 to 22)" in twenty
    assert "(36 to 44)" in fifty
    assert alone == "8.00"
