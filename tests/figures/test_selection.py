"""Which rows a figure shows, and what it says where there are none."""

import pandas as pd
import pytest
from synthetic import MIXED, THREE, Spec, make_result

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures.selection import (
    depth_of,
    head_rows,
    layer_rows,
    metric_rows,
    models_of,
    stage_starts,
)

RESULT = make_result(THREE, images=4)
TABLE = RESULT["attention_entropy"]


def test_rows_of_one_metric_and_some_models():
    rows = metric_rows(TABLE, "attention_entropy_normalised", ["supervised-tiny40"])
    assert set(rows["metric"]) == {"attention_entropy_normalised"}
    assert set(rows["model"]) == {"supervised-tiny40"}
    assert len(rows) == 12 * (8 + 1)
    assert len(metric_rows(TABLE, "attention_entropy")) == 3 * 12 * (8 + 1)


def test_models_come_in_the_order_asked_for_else_in_the_tables():
    names = [spec.name for spec in THREE]
    assert models_of(TABLE, None) == names
    assert models_of(TABLE, names[::-1]) == names[::-1]
    assert models_of(TABLE, [names[1], names[1]]) == [names[1]]


def test_heads_and_layer_means_are_parted():
    rows = metric_rows(TABLE, "attention_entropy", ["simmim-tiny40"])
    heads, means = head_rows(rows), layer_rows(rows.sample(frac=1, random_state=0))
    assert len(heads) == 12 * 8
    assert heads["head"].notna().all()
    assert means["layer"].tolist() == list(range(12))
    assert means["head"].isna().all()


def test_stages_begin_where_the_sites_say():
    swin = next(spec for spec in MIXED if spec.name == "swin-tiny")
    rows = make_result([swin], images=4)["head_kl"]
    assert stage_starts(rows) == [2, 4, 10]
    assert depth_of(rows, "swin-tiny") == 12
    assert stage_starts(make_result([Spec("vit")], images=4)["head_kl"]) == []


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(OptionError, match=r"^the table is empty: no model in it has a head_kl"):
        metric_rows(TABLE.head(0), "head_kl")
    with pytest.raises(UnknownNameError, match="unknown metric of this table 'head_k'; did you"):
        metric_rows(RESULT["head_kl"], "head_k")
    with pytest.raises(UnknownNameError, match="unknown model 'simmim'.*these have a head_kl"):
        metric_rows(RESULT["head_kl"], "head_kl", ["simmim"])
    with pytest.raises(OptionError, match="models is empty; leave it out"):
        metric_rows(RESULT["head_kl"], "head_kl", [])
    with pytest.raises(OptionError, match="lacks the columns head, kind, layer, metric, model, n"):
        metric_rows(pd.DataFrame({"value": [1.0]}), "head_kl")


def test_tables_of_another_kind_are_named_by_the_column_they_lack():
    with pytest.raises(OptionError, match="lacks the columns head;"):
        metric_rows(RESULT["cka"], "cka")
    with pytest.raises(OptionError, match="lacks the columns other_model;"):
        metric_rows(RESULT["head_kl"], "cka", of="other_model")
