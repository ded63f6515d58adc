"""What analyzers measure has a figure, a name on its axis, and a section in the report."""

from synthetic import TABLES, UNITS

from mimprobe.analyzers import ANALYZERS
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.figures import FIGURES, LABELS
from mimprobe.report.sections import READINGS, TITLES

MEASURED = {
    name: analyzer.units
    for name, analyzer in ANALYZERS.items()
    if issubclass(analyzer, PerImageAnalyzer)
}


def test_every_analyzer_has_a_figure_a_title_and_a_reading():
    assert list(FIGURES) == list(ANALYZERS)
    assert set(TITLES) == set(READINGS) == set(ANALYZERS)


def test_every_metric_has_a_label():
    assert {metric for units in MEASURED.values() for metric in units} == set(LABELS)


def test_made_up_results_have_the_metrics_and_units_of_real_ones():
    assert {name: set(metrics) for name, metrics in TABLES.items()} == {
        name: set(units) for name, units in MEASURED.items()
    }
    assert {metric: unit for units in MEASURED.values() for metric, unit in units.items()} == UNITS
