"""What analyzers measure has a figure, a name on its axis, and a section in the report."""

from synthetic import TABLES, UNITS

from mimprobe.analyzers import ANALYZERS, Kernels
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.figures import FIGURES, KERNEL_LABELS, LABELS
from mimprobe.report.sections import READINGS, TITLES

MEASURED = {
    name: analyzer.units
    for name, analyzer in ANALYZERS.items()
    if issubclass(analyzer, PerImageAnalyzer)
}


EXPERIMENTS = ("receptive_field",)
"""Tables that no analyzer makes."""


def test_every_table_has_a_figure_a_title_and_a_reading():
    assert list(FIGURES) == [*ANALYZERS, *EXPERIMENTS]
    assert set(TITLES) == set(READINGS) == set(FIGURES)


def test_metrics_of_kernels_have_labels():
    assert set(KERNEL_LABELS) == set(Kernels.units)


def test_every_metric_has_a_label():
    assert {metric for units in MEASURED.values() for metric in units} == set(LABELS)


def test_made_up_results_have_the_metrics_and_units_of_real_ones():
    assert {name: set(metrics) for name, metrics in TABLES.items()} == {
        name: set(units) for name, units in MEASURED.items()
    }
    assert {metric: unit for units in MEASURED.values() for metric, unit in units.items()} == UNITS
