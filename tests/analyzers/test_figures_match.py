"""What analyzers measure has a figure, a name on its axis, and a section in the report."""

from synthetic import TABLES, THREE, UNITS, make_result

from mimprobe.analyzers import ANALYZERS
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.analyzers.per_site import PerSiteAnalyzer
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
    of_heads = {metric for tool in ANALYZERS.values() for metric in getattr(tool, "units", ())}
    assert of_heads == set(LABELS)


def test_made_up_results_have_the_metrics_and_units_of_real_ones():
    made_up = make_result(THREE[:1], images=4)
    for name, analyzer in ANALYZERS.items():
        assert tuple(made_up[name].columns) == analyzer.columns
        if issubclass(analyzer, PerSiteAnalyzer):
            units = dict(zip(made_up[name]["metric"], made_up[name]["unit"], strict=True))
            assert units == analyzer.units
    assert {name: set(metrics) for name, metrics in TABLES.items()} == {
        name: set(units) for name, units in MEASURED.items()
    }
    assert {metric: unit for units in MEASURED.values() for metric, unit in units.items()} == UNITS
