"""AvgDist of strategies: the known table, exact values, and what rows depend on."""

import itertools

import numpy as np
import pytest
from measures.test_masking import definition

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.experiments.mask_distances import MASK_COLUMNS, RATIOS, mask_distances

KNOWN = {
    4: (1.32, 1.40, 1.50, 1.63, 1.81, 2.09, 2.50, 3.24, 5.05),
    8: (2.08, 2.26, 2.48, 2.75, 3.15, 3.69, 4.58, 6.11, 9.81),
    16: (3.77, 4.15, 4.65, 5.21, 6.01, 7.25, 9.02, 12.48, 20.39),
    32: (7.73, 8.70, 9.56, 11.06, 12.59, 15.35, 19.90, 25.94, 46.03),
    64: (17.10, 19.47, 22.02, 25.21, 29.60, 36.28, 47.31, 68.60, None),
}
"""Random masks at 192 px, from an implementation of its own with many draws."""


def test_the_known_table_is_met():
    """Within 1 % plus three standard errors of the mean; with few draws, 12 for each."""
    table = mask_distances(draws=12)
    assert list(table.columns) == list(MASK_COLUMNS)
    assert len(table) == 45
    for row in table.itertuples():
        known = KNOWN[row.mask_patch][RATIOS.index(row.mask_ratio)]
        if known is None:
            assert np.isnan(row.value)
            assert (row.n, row.note) == (0, "undefined: nothing is visible")
            continue
        assert row.n == 12
        assert row.se == pytest.approx(row.std / 12**0.5)
        assert abs(row.value - known) <= 0.01 * known + 3 * row.se, (row.mask_patch, row.mask_ratio)


def test_the_mean_over_all_masks_is_met():
    """Patches of 2 px in an input of 6 x 4: all 15 masks with 2 of 6 patches, one by one."""
    exact = []
    for chosen in itertools.combinations(range(6), 2):
        mask = np.zeros(6, bool)
        mask[list(chosen)] = True
        exact.append(definition(np.kron(mask.reshape(3, 2), np.ones((2, 2))).astype(bool)))
    (row,) = mask_distances(patches=[2], ratios=[0.3], input_size=(6, 4), draws=400).itertuples()
    assert abs(row.value - np.mean(exact)) < 4 * row.se
    assert row.std == pytest.approx(np.std(exact), rel=0.15)
    assert row.masked == pytest.approx(1 / 3)


@pytest.mark.parametrize("strategy", ["random", "square", "block"])
def test_a_row_depends_on_its_own_settings_alone(strategy):
    settings = {"strategy": strategy, "input_size": 64, "draws": 3}
    whole = mask_distances(**settings, patches=[8, 16], ratios=[0.3, 0.6])
    alone = mask_distances(**settings, patches=[16], ratios=[0.6])
    kept = whole[(whole["mask_patch"] == 16) & (whole["mask_ratio"] == 0.6)]
    assert kept.reset_index(drop=True).equals(alone)
    other = mask_distances(**settings, patches=[8], ratios=[0.3], seed=1)
    assert other["value"][0] != whole["value"][0] or strategy == "square"


def test_squares_hide_pixels_far_from_visible_ones():
    means = [
        mask_distances(name, patches=[16], ratios=[0.4], draws=10)["value"][0]
        for name in ("random", "block", "square")
    ]
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"strategy": "rondom"}, UnknownNameError, "did you mean 'random'?"),
        ({"patches": [5]}, OptionError, "an input of 192 x 192 px does not divide"),
        ({"patches": []}, OptionError, "at least one mask patch"),
        ({"ratios": [1.0]}, OptionError, "mask ratio 1 is not between 0 and 1"),
        ({"draws": 1}, OptionError, "at least 2 draws"),
    ],
)
def test_bad_input(changes, error, told):
    with pytest.raises(error) as caught:
        mask_distances(**changes)
    assert told in str(caught.value)
