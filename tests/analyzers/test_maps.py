"""What the analyzers of maps do at the edges: rows left out, large maps, sums over a batch."""

import brute_force
import numpy as np
import pytest
import timm
import torch

from mimprobe.analyzers import AttentionOffset, AttentionProfile, HeadPairs
from mimprobe.analyzers.analyzer import TOTAL, Pieces
from mimprobe.analyzers.view import AttentionView, views
from mimprobe.errors import OptionError
from mimprobe.hooks import AttentionSeen
from mimprobe.models.geometry import Geometry
from mimprobe.models.sites import layout

GEOMETRY = Geometry((2, 3), (16, 16), 1)
SITE = brute_force.Site((2, 3), (16, 16), 1)
IMAGES = 5


@pytest.fixture
def attention():
    """One head sees only the class token, another does in some rows of one image."""
    made = torch.rand(IMAGES, 3, 7, 7, generator=torch.Generator().manual_seed(2)) ** 3
    made[:, 1, :, 1:] = 0
    made[3, 2, 2:5, 1:] = 0
    return made / made.sum(-1, keepdim=True)


def table_of(tool, attention):
    view = AttentionView(attention, GEOMETRY, 0)
    tool.begin({"m": layout(timm.create_model("test_vit"))}, IMAGES)
    tool.add(range(IMAGES), {"m": {"blocks.0.attn.probs": tool.measure(view)}})
    return tool.table({"m": "other"})


def rows_by_head(attention, head):
    return [brute_force.rows_of(image.double().numpy(), SITE)[head] for image in attention]


def test_offsets_and_profiles_leave_out_what_was_left_out(attention):
    offsets, profile = (table_of(tool(), attention) for tool in (AttentionOffset, AttentionProfile))
    assert set(offsets["head"]) == {0, 2}
    seen = [brute_force.attention_offset(rows) for rows in rows_by_head(attention, 2)]
    for _, row in offsets[offsets["head"] == 2].iterrows():
        values = [one.get((row["row_offset"], row["column_offset"]), np.nan) for one in seen]
        assert row["value"] == pytest.approx(np.nanmean(values), rel=1e-5)
        assert row["n"] == np.isfinite(values).sum()
    assert offsets["n"].min() < IMAGES  # three queries gone, and with them some offsets
    assert profile.loc[profile["head"] == 1, "value"].isna().all()
    assert (profile.loc[profile["head"] == 1, "n"] == 0).all()
    means = profile[profile["head"].isna()]
    others = profile[profile["head"].isin([0, 2])].groupby("distance_low")["value"].mean()
    np.testing.assert_allclose(means["value"], others, rtol=1e-9)


def test_pairs_with_a_head_of_which_nothing_is_left_have_no_value(attention):
    table = table_of(HeadPairs(), attention)
    blind = (table["head"] == 1) | (table["other_head"] == 1)
    assert table.loc[blind.fillna(value=False), "value"].isna().all()
    for metric in ("head_kl", "head_distance"):
        rows = table[table["metric"] == metric]
        pair = rows[(rows["head"] == 0) & (rows["other_head"] == 2)]
        one, other = (rows_by_head(attention, head) for head in (0, 2))
        define = getattr(brute_force, metric)
        values = [define(a, b) for a, b in zip(one, other, strict=True)]
        assert pair["value"].item() == pytest.approx(np.mean(values), rel=1e-5)
        seen = rows[rows["value"].notna() & rows["head"].notna()]["value"]
        mean = rows.loc[rows["head"].isna(), "value"].item()
        assert mean == pytest.approx(seen.mean(), rel=1e-9)


def test_maps_that_are_too_large_are_not_summed(attention):
    assert "mean_map_distance" in set(table_of(HeadPairs(), attention)["metric"])
    small = table_of(HeadPairs(map_bytes=8 * 3 * 6 * 6 - 1), attention)
    assert set(small["metric"]) == {"head_kl", "head_distance"}
    assert "mean_map_distance" in set(
        table_of(HeadPairs(map_bytes=8 * 3 * 36), attention)["metric"]
    )


def test_an_image_that_comes_twice_changes_no_sum(attention):
    tool = HeadPairs()
    before = table_of(tool, attention)
    again = {"m": {"blocks.0.attn.probs": tool.measure(AttentionView(attention, GEOMETRY, 0))}}
    with pytest.raises(OptionError, match="twice"):
        tool.add(range(IMAGES), again)
    assert tool.table({"m": "other"}).equals(before)


def test_totals_of_views_are_added_up_and_the_rest_is_joined(monkeypatch, attention):
    monkeypatch.setattr("mimprobe.analyzers.view.CHUNK_BYTES", 2 * attention[0].numel() * 4)
    tool, pieces = HeadPairs(), Pieces()
    seen = AttentionSeen("blocks.0.attn.probs", 0, attention, GEOMETRY)
    for view in views(seen):
        pieces.add(tool.measure(view))
    found = pieces.joined()
    whole = tool.measure(AttentionView(attention, GEOMETRY, 0))
    assert found.keys() == whole.keys()
    assert len(found["head_kl"]) == IMAGES
    assert len(found[f"{TOTAL}map"]) == 1
    for name, values in whole.items():
        torch.testing.assert_close(found[name], values, equal_nan=True, check_dtype=False)


def test_the_table_of_offsets_ends_at_the_reach_asked_for(attention):
    near = table_of(AttentionOffset(reach=1), attention)
    assert near["column_offset"].abs().max() == 1
    assert len(near) == 2 * 9
    assert len(table_of(AttentionOffset(), attention)) == 2 * 3 * 5
