"""What analyzers measure has a figure, a name on its axis, and a section in the report."""

from synthetic import MIXED, layer_tables, make_result

from mimprobe.analyzers import ANALYZERS, Kernels
from mimprobe.experiments.layers.checks import FINETUNE
from mimprobe.experiments.layers.outcomes import DRIFT
from mimprobe.figures import FIGURES, KERNEL_LABELS, LABELS
from mimprobe.readout import READOUTS
from mimprobe.report.readings import READINGS, TITLES
from mimprobe.tables import LAYER_TESTS

MEASURED = {name: analyzer().describe()["units"] for name, analyzer in ANALYZERS.items()}


EXPERIMENTS = ("receptive_field", "cka_to_final", *LAYER_TESTS, "readout")
"""Tables that no analyzer makes."""

TESTED = {DRIFT, *(f"{name}_accuracy" for name in (*READOUTS, FINETUNE))}
"""Metrics of layer tests."""


def test_every_table_has_a_figure_a_title_and_a_reading():
    assert list(FIGURES) == [*ANALYZERS, *EXPERIMENTS]
    by_step = {"cka_to_final"}  # read in the section of training steps, see `report.steps`
    assert set(TITLES) == set(FIGURES) == set(READINGS) | by_step


def test_metrics_of_kernels_have_labels():
    assert set(KERNEL_LABELS) == set(Kernels.units)


def test_every_metric_has_a_label():
    measured = {metric for units in MEASURED.values() for metric in units} | {"cka_to_final"}
    assert measured | TESTED == LABELS.keys() | KERNEL_LABELS.keys()


def test_made_up_results_have_the_columns_metrics_and_units_of_real_ones():
    specs = (MIXED[1], MIXED[5])  # with prefix tokens, and with windows
    made_up = dict(make_result(specs, images=4)) | layer_tables(specs, images=4)
    for name in ANALYZERS.keys() - {"kernels"}:  # which are not made up, but read off weights
        table = made_up[name]
        assert tuple(table.columns) == ANALYZERS[name].columns
        assert dict(zip(table["metric"], table["unit"], strict=True)) == MEASURED[name]
