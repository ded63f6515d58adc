"""The claims about layer tests: known truths are covered, and each verdict occurs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from layer_tables import PAIR, curve_result, layer_result
from readout_table import readout_result
from scipy.stats import t as student
from synthetic import THREE, Spec, make_result

from mimprobe.claims import claims_of, claims_table, evaluate_claims
from mimprobe.claims.verdicts import FAILS, HOLDS, TOLD, UNDECIDED
from mimprobe.tables import join_per_image, read_result

TABLES = 500
INTACT = 0.5


def curves(draw, losses, *, images=60, seeds=3, between=0.02):
    """Values of (seed, point, image) with a mean loss of its own at each point after the first.

    Seeds move all images of a point alike, by a deviation of `between`; images differ by 0.2.
    """
    ease = 0.2 * draw.standard_normal(images)
    levels = INTACT - np.array([0.0, *losses])
    moved = between * draw.standard_normal((seeds, len(levels), 1)) * (levels < INTACT)[:, None]
    noise = 0.2 * draw.standard_normal((seeds, len(levels), images))
    return levels[:, None] + ease + moved + noise


def exchanges(draw, mim, supervised, **how):
    losses = {("m", "swap"): mim, ("s", "swap"): supervised}
    return curve_result(PAIR, {place: curves(draw, own, **how) for place, own in losses.items()})


def drops(draw, supervised, mim=(0.3, 0.3, 0.3), **how):
    losses = {("m", "drop"): mim, ("s", "drop"): supervised}
    return curve_result(PAIR, {place: curves(draw, own, **how) for place, own in losses.items()})


def only(result, claim):
    (found,) = [one for one in evaluate_claims(result) if one.claim == claim]
    return found


@pytest.mark.parametrize(("seeds", "between"), [(2, 0.05), (3, 0.2)])
def test_the_interval_covers_what_exchanges_cost_more(seeds, between):
    draw, hits = np.random.default_rng(seeds), 0
    for _ in range(TABLES):
        result = exchanges(draw, (0.1, 0.2), (0.2, 0.4), images=20, seeds=seeds, between=between)
        found = only(result, "exchange")
        hits += found.low <= 0.15 <= found.high
    assert hits / TABLES >= 0.92


def test_the_interval_covers_what_dropping_costs():
    draw, hits = np.random.default_rng(4), 0
    for _ in range(TABLES):
        found = only(drops(draw, (0.01, 0.02, 0.06), images=20), "dropping")
        hits += found.low <= 0.03 <= found.high
    assert hits / TABLES >= 0.92


@pytest.mark.parametrize(("supervised", "expected"), [(0.4, HOLDS), (0.0, FAILS), (0.2, UNDECIDED)])
def test_exchange(supervised, expected):
    draw = np.random.default_rng(0)
    found = only(exchanges(draw, (0.2, 0.2), (supervised,) * 2, images=400), "exchange")
    assert found.verdict == expected
    assert found.models == ("m", "s")
    assert found.estimate.value == pytest.approx(supervised - 0.2, abs=0.04)
    assert (found.n, found.unit) == (400, "1")
    assert "of k-nearest neighbours" in found.sentence
    assert "these exchanges" not in found.sentence
    assert "Of the curves" not in found.sentence


def test_an_exchange_claim_of_a_few_points_says_which():
    result = exchanges(np.random.default_rng(0), (0.2, 0.2), (0.4, 0.4), images=40)
    more = result["layer_swap"].assign(metric="drift")
    further = more[more["changed"] == 3].assign(changed=4)
    table = pd.concat([result["layer_swap"], more, further], ignore_index=True)
    found = only(replace(result, tables={"layer_swap": table}), "exchange")
    assert found.sentence.endswith("Of the curves, only the points 2, 3 have this read-out")


@pytest.mark.parametrize(("losses", "expected"), [(-0.1, HOLDS), (0.2, FAILS), (0.01, UNDECIDED)])
def test_dropping(losses, expected):
    found = only(drops(np.random.default_rng(0), (losses,) * 3, images=400), "dropping")
    assert found.verdict == expected
    own, beside = found.parts
    assert own.estimate.value == pytest.approx(losses, abs=0.04)
    assert (own.models, own.threshold) == (("s",), 0.01)
    assert (beside.models, beside.verdict) == (("m", "s"), TOLD)
    assert beside.estimate.value == pytest.approx(0.3 - losses, abs=0.04)


def test_numbers_by_hand():
    ease = np.linspace(0, 1, 16)
    moved = np.array([0.0, 0.1, 0.2])[:, None, None]
    one = np.stack([ease, 0.5 * ease])[None] + moved * [[0], [1]]
    other = np.stack([ease, 0 * ease])[None] + 0 * moved
    found = only(curve_result(PAIR, {("m", "swap"): one, ("s", "swap"): other}), "exchange")
    # by image: ease - (0.5 ease - 0.1); by seed the MIM model's loss is -0, -0.1, -0.2 off
    assert found.estimate.value == pytest.approx(0.25 + 0.1)
    images, seeds = (0.5 * ease).var(ddof=1) / 16, 0.01 / 3
    freedom = (images + seeds) ** 2 / (images**2 / 15 + seeds**2 / 2)
    reach = student.ppf(0.975, freedom) * np.sqrt(images + seeds)
    assert found.estimate.reach == pytest.approx(reach, rel=1e-5)


def test_one_seed_speaks_of_its_exchanges_only():
    draw = np.random.default_rng(0)
    found = only(exchanges(draw, (0.2, 0.2), (0.4, 0.4), images=400, seeds=1), "exchange")
    assert found.verdict == HOLDS
    assert found.sentence.endswith("this is about these exchanges only")


def test_seeds_that_disagree_leave_it_open():
    draw = np.random.default_rng(1)
    apart = exchanges(draw, (0.2, 0.2), (0.4, 0.4), images=400, between=0.5)
    alike = exchanges(draw, (0.2, 0.2), (0.4, 0.4), images=400, between=0.0)
    assert only(apart, "exchange").verdict == UNDECIDED
    assert only(alike, "exchange").verdict == HOLDS
    wide, narrow = (only(result, "exchange").estimate.reach for result in (apart, alike))
    assert wide > 5 * narrow


def test_the_dearest_read_out_that_both_models_have_is_judged():
    draw = np.random.default_rng(0)
    parts = [
        curve_result(
            PAIR, {(name, "swap"): curves(draw, (loss, loss), images=40) for name in names},
            metric=metric,
        )
        for metric, loss, names in (
            ("knn_accuracy", 0.1, "ms"), ("linear_accuracy", 0.3, "ms"),
            ("finetune_accuracy", 0.4, "s"),
        )
    ]  # fmt: skip
    found = only(joined(parts), "exchange")
    assert "of a linear probe" in found.question.quantity
    assert "{readout}" not in found.sentence + found.question.quantity


def joined(parts, name="layer_swap"):
    table = pd.concat([part[name] for part in parts], ignore_index=True)
    values = join_per_image([part.per_image for part in parts])
    return replace(parts[0], tables={name: table}, per_image=values)


@pytest.mark.parametrize(("test", "claim"), [("swap", "exchange"), ("drop", "dropping")])
@pytest.mark.parametrize("points", [[0], [2, 3], [0, 2, 3]])
def test_a_dearer_read_out_of_too_few_points_is_passed_over(test, claim, points):
    draw = np.random.default_rng(0)
    whole, some = (
        curve_result(
            PAIR,
            {(name, test): curves(draw, (0.1,) * (count - 1), images=40) for name in "ms"},
            metric=metric, points=at,
        )
        for metric, count, at in (
            ("knn_accuracy", 5, [0, 1, 2, 3, 4]), ("finetune_accuracy", len(points), points),
        )
    )  # fmt: skip
    found = only(joined([whole, some], f"layer_{test}"), claim)
    enough = (test, points) == ("swap", [0, 2, 3])
    judged = "after fine-tuning" if enough else "of k-nearest neighbours"
    assert judged in found.question.quantity
    assert found.verdict != UNDECIDED or "interval" in found.why


def test_without_all_three_dropped_or_without_accuracy_nothing_is_judged():
    draw = np.random.default_rng(0)
    few = only(drops(draw, (0.1, 0.1), mim=(0.1, 0.1)), "dropping")
    assert (few.verdict, few.why) == (
        UNDECIDED, "s has no accuracy of one read-out with none, one, two and three of its last "
        "layers left out",
    )  # fmt: skip
    result = exchanges(draw, (0.1, 0.1), (0.1, 0.1))
    bare = replace(result, per_image=result.per_image.select(metric="drift"))
    found = only(bare, "exchange")
    assert (found.verdict, found.sentence) == (UNDECIDED, "")
    assert "m and s have no accuracy" in found.why


def test_on_few_images_both_are_undecided():
    found = evaluate_claims(layer_result(images=15))
    assert {one.verdict for one in found} == {UNDECIDED}
    assert all("15 images have values" in one.why for one in found)


@pytest.mark.parametrize(
    ("tests", "asked"),
    [(("swap",), ["exchange"]), (("drop",), ["dropping"]), (("reset", "heads"), []),
     (("swap", "drop", "reset", "heads"), ["exchange", "dropping"])],
)  # fmt: skip
def test_a_result_of_layer_tests_is_asked_about_these_alone(tests, asked):
    result = layer_result(tests=tests, images=20)
    assert list(claims_of(result)) == asked
    assert list(dict.fromkeys(one.claim for one in evaluate_claims(result))) == asked


def test_a_result_of_read_outs_is_asked_about_nothing():
    assert evaluate_claims(readout_result()) == []


def test_a_result_with_other_tables_beside_is_asked_about_all():
    probed, tested = make_result(THREE), layer_result(tests=("swap",))
    assert list(claims_of(probed)) == ["locality", "diversity", "breadth", "resemblance"]
    both = replace(probed, tables={**probed.tables, **tested.tables})
    assert list(claims_of(both)) == ["locality", "diversity", "breadth", "resemblance", "exchange"]


@pytest.mark.parametrize("kinds", [("mim",), ("supervised",), ("untrained",)])
def test_missing_kinds_are_told(kinds):
    specs = [Spec(kind, kind, depth=6) for kind in kinds]
    found = {one.claim: one for one in evaluate_claims(layer_result(specs, images=20))}
    assert "is among those compared" in found["exchange"].why
    assert bool(found["dropping"].models) == (kinds == ("supervised",))


def test_verdicts_survive_the_disk_and_rows_of_single_blocks_decide_nothing(tmp_path):
    result = layer_result(images=40)
    table = claims_table(evaluate_claims(result))
    assert list(table["part_verdict"]).count(TOLD) == 1
    again = read_result(result.write(tmp_path / "out"))
    assert claims_table(evaluate_claims(again)).equals(table)
    bare = {name: own[own["layer"].isna()] for name, own in result.tables.items()}
    assert claims_table(evaluate_claims(replace(result, tables=bare))).equals(table)


@pytest.mark.parametrize(("chance", "expected"), [(0.05, HOLDS), (0.6, UNDECIDED)])
def test_a_network_at_chance_has_nothing_to_lose(chance, expected):
    draw = np.random.default_rng(9)
    dropped = drops(draw, (0.0, 0.0, 0.0), images=4000, between=0.0)
    swapped = exchanges(draw, (0.0, 0.0), (0.2, 0.3))
    for result, table, claim in (
        (dropped, "layer_drop", "dropping"), (swapped, "layer_swap", "exchange"),
    ):  # fmt: skip
        result.manifest["analyzers"] = {table: {"chance": chance}}
        found = only(result, claim)
        assert found.verdict == expected
        assert ("not above chance (0.600): it has nothing to lose" in found.why) == (chance > 0.5)


def test_features_of_an_inner_layer_decide_no_claim():
    draw = np.random.default_rng(0)
    for result, claim in (
        (exchanges(draw, (0.2, 0.2), (0.4, 0.4), images=400), "exchange"),
        (drops(draw, (0.0, 0.0, 0.0), images=400), "dropping"),
    ):
        assert "read out behind" not in only(result, claim).why
        table = next(iter(result.tables))
        described = result.manifest["analyzers"].get(table, {})
        inner = {**result.manifest, "analyzers": {table: {**described, "layer": 5}}}
        found = only(replace(result, manifest=inner), claim)
        assert found.verdict == UNDECIDED
        (part,) = found.parts
        assert "was read out behind layer 6 and not at its end" in part.why


def test_seeds_that_straddle_chance_leave_nothing_to_lose():
    """Images say 0.50 +- 0.02, but seeds of the intact network lie between 0.2 and 0.8."""
    draw = np.random.default_rng(0)
    numbers = curves(draw, (0.0, 0.0, 0.0), images=400, between=0.0)
    numbers[:, 0] += np.array([-0.3, 0.0, 0.3])[:, None]
    result = curve_result(PAIR, {("m", "drop"): numbers, ("s", "drop"): numbers})
    manifest = {**result.manifest, "analyzers": {"layer_drop": {"chance": 0.4}}}
    found = only(replace(result, manifest=manifest), "dropping")
    assert "not above chance (0.400): it has nothing to lose" in found.parts[0].why
