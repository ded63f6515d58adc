"""What analyzers measure has a figure, a name on its axis, and a section in the report."""

from synthetic import LAYERS, PAIRS, TABLES, UNITS

from mimprobe.analyzers import ANALYZERS
from mimprobe.figures import FIGURES, LABELS
from mimprobe.report.sections import READINGS, TITLES

MEASURED = {name: analyzer().describe()["units"] for name, analyzer in ANALYZERS.items()}


def test_every_analyzer_has_a_figure_a_title_and_a_reading():
    assert list(FIGURES) == list(ANALYZERS)
    assert set(TITLES) == set(READINGS) == set(ANALYZERS)


def test_every_metric_has_a_label():
    assert {metric for units in MEASURED.values() for metric in units} == set(LABELS)


def test_made_up_results_have_the_metrics_and_units_of_real_ones():
    made = TABLES | LAYERS | {name: (name,) for name in PAIRS}
    assert {name: set(metrics) for name, metrics in made.items()} == {
        name: set(units) for name, units in MEASURED.items()
    }
    assert {metric: unit for units in MEASURED.values() for metric, unit in units.items()} == UNITS
