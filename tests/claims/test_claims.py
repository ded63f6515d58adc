"""Each claim comes out as made-up tables have it: holds, does not hold, or undecided."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import MIXED, Spec, make_result, per_image_of

import mimprobe.claims as judging
from mimprobe.claims import CLAIM_COLUMNS, CLAIMS, claims_table, evaluate_claims
from mimprobe.claims.verdicts import FAILS, HOLDS, UNDECIDED
from mimprobe.tables import read_result

DEPTH, HEADS, IMAGES = 6, 4, 40
"""The last third are layers 4 and 5, the first half 0 to 2, the last three 3 to 5."""

DISTANCE, SHARE = "attention_distance", "attention_distance_normalised"
PROBED = ("locality", "diversity", "breadth", "resemblance")
"""Claims that a result of `probe` is asked about."""
METRICS = (DISTANCE, SHARE, "attention_entropy", "head_kl")


def numbers(levels, *, noise=0.05, images=IMAGES, seed=0):
    """Make (layer, head, image) values with known means: `levels` of (layer, head)."""
    draw = np.random.default_rng(seed)
    levels = np.broadcast_to(np.asarray(levels, dtype=float), (DEPTH, HEADS))
    return levels[..., None] + noise * draw.standard_normal((DEPTH, HEADS, images))


def steps(last, first=1.0):
    """Levels of (layer, head): the same in the first half, others in the second."""
    return np.repeat([[first]] * 3 + [[last]] * 3, HEADS, axis=1)


def result_of(known, images=IMAGES, **kinds):
    specs = [Spec(name, kind, depth=DEPTH, heads=HEADS) for name, kind in kinds.items()]
    result = make_result(specs, images=images)
    return replace(result, per_image=per_image_of(known))


def verdicts(result, claim):
    return [one for one in evaluate_claims(result) if one.claim == claim]


def only(result, claim):
    (found,) = verdicts(result, claim)
    return found


SPREAD = np.linspace(0, 1, HEADS)
PAIR = {"m": "mim", "s": "supervised"}


@pytest.mark.parametrize(
    ("share", "nearer", "expected"),
    [(0.2, -1.0, HOLDS), (0.8, -1.0, FAILS), (0.2, 1.0, FAILS), (0.2, 0.0, UNDECIDED),
     (0.5, -1.0, UNDECIDED)],
)  # fmt: skip
def test_locality(share, nearer, expected):
    known = {
        ("m", SHARE): numbers(share + SPREAD),
        ("m", DISTANCE): numbers(30 + nearer + 9 * SPREAD, seed=1),
        ("s", DISTANCE): numbers(30 + 9 * SPREAD, seed=2),
    }
    found = only(result_of(known, **PAIR), "locality")
    assert found.verdict == expected
    local, apart = found.parts
    assert local.estimate.value == pytest.approx(share, abs=0.03)
    assert local.models == ("m",)
    assert apart.estimate.value == pytest.approx(nearer, abs=0.06)
    assert apart.models == ("m", "s")
    assert found.models == ("m", "s")


def test_one_layer_without_a_local_head_is_enough_against_locality():
    levels = np.tile(0.1 + SPREAD, (DEPTH, 1))
    levels[2] += 0.5
    known = {("m", SHARE): numbers(levels)}
    assert only(result_of(known, **PAIR), "locality").verdict == FAILS


def test_locality_is_of_the_last_third_only():
    levels = np.tile(30 + 9 * SPREAD, (DEPTH, 1))
    near = levels - np.array([0, 0, 0, 0, 5, 5])[:, None] + np.array([9, 9, 9, 9, 0, 0])[:, None]
    known = {("m", SHARE): numbers(0.1), ("m", DISTANCE): numbers(near)}
    known["s", DISTANCE] = numbers(levels)
    found = only(result_of(known, **PAIR), "locality")
    assert found.verdict == HOLDS
    assert found.parts[1].estimate.value == pytest.approx(-5, abs=0.06)


@pytest.mark.parametrize(
    ("last", "of_mim", "of_others"),
    [(0.5, FAILS, HOLDS), (1.5, HOLDS, FAILS), (1.0, UNDECIDED, UNDECIDED)],
)
def test_diversity(last, of_mim, of_others):
    kinds = {"m": "mim", "s": "supervised", "c": "contrastive", "u": "untrained", "d": "distilled"}
    known = {(model, "head_kl"): numbers(steps(last), seed=4) for model in kinds}
    found = {one.models: one for one in verdicts(result_of(known, **kinds), "diversity")}
    assert {models: one.verdict for models, one in found.items()} == {
        ("m",): of_mim, ("s",): of_others, ("c",): of_others,
    }  # fmt: skip
    assert found["s",].estimate.value == pytest.approx(last - 1, abs=0.03)


@pytest.mark.parametrize(("wider", "expected"), [(1.0, HOLDS), (-1.0, FAILS), (0.0, UNDECIDED)])
def test_breadth(wider, expected):
    known = {
        ("m", "attention_entropy"): numbers(3 + (1.5 + wider) * SPREAD),
        ("s", "attention_entropy"): numbers(2 + 1.5 * SPREAD, seed=1),
    }
    found = only(result_of(known, **PAIR), "breadth")
    assert found.verdict == expected
    assert found.estimate.value == pytest.approx(wider, abs=0.05)
    assert (found.unit, found.n) == ("nats", IMAGES)


@pytest.mark.parametrize(("more", "expected"), [(0.2, HOLDS), (-0.2, FAILS), (0.01, UNDECIDED)])
def test_resemblance(more, expected):
    result = everything()
    table = result["cka"].copy()
    table["value"] = 0.5 + more * (table["model"] == "m")
    found = only(replace(result, tables={"cka": table}), "resemblance")
    assert found.verdict == expected
    reach = 2 * 1.96 * 0.01
    assert (found.estimate.value, found.low) == pytest.approx((more, more - reach))


def everything(images=IMAGES, seed=0):
    known = {
        (model, metric): numbers(level + SPREAD * level, images=images, seed=seed + at)
        for at, (model, level) in enumerate({"m": 0.3, "s": 0.9}.items())
        for metric in METRICS
    }
    return result_of(known, images, **PAIR)


@pytest.mark.parametrize("images", [1, 2, 4, 15])
def test_on_too_few_images_everything_is_undecided(images):
    found = evaluate_claims(everything(images))
    assert {one.claim for one in found} == set(PROBED)
    assert {one.verdict for one in found} == {UNDECIDED}
    assert all(one.why for one in found)
    assert all(part.sentence == "" for one in found for part in one.parts)


def test_on_enough_images_not_everything_is_undecided():
    assert {one.verdict for one in evaluate_claims(everything(16))} > {HOLDS}


def test_a_head_with_few_values_decides_nothing():
    result = everything()
    columns, values = result.per_image.columns, result.per_image.values.copy()
    one = (columns["metric"] == SHARE) & (columns["layer"] == 2) & (columns["head"] == 1)
    values[10:, one.to_numpy()] = np.nan
    found = only(replace(result, per_image=replace(result.per_image, values=values)), "locality")
    assert found.parts[0].verdict == UNDECIDED
    assert "10 images have values" in found.parts[0].why


def test_heads_without_any_value_are_left_out():
    result = everything()
    columns, values = result.per_image.columns, result.per_image.values.copy()
    values[:, ((columns["layer"] == 5) & (columns["head"] == 0)).to_numpy()] = np.nan
    found = evaluate_claims(replace(result, per_image=replace(result.per_image, values=values)))
    assert all(np.isfinite(one.low) for one in found)


def test_the_order_of_the_images_changes_nothing_and_the_seed_little():
    result = everything()
    order = np.random.default_rng(1).permutation(IMAGES)
    values = result.per_image
    shuffled = replace(
        values, images=tuple(values.images[at] for at in order), values=values.values[order]
    )
    one, other = evaluate_claims(result), evaluate_claims(replace(result, per_image=shuffled))
    assert claims_table(one).round(9).equals(claims_table(other).round(9))
    seeded = evaluate_claims(replace(result, manifest={**result.manifest, "seed": 7}))
    low = {name: [v.low for v in found if v.claim == "breadth"]
           for name, found in (("one", one), ("seeded", seeded))}  # fmt: skip
    assert low["one"] != low["seeded"]
    assert low["one"] == pytest.approx(low["seeded"], abs=0.02)


def test_every_pair_of_a_mim_and_a_supervised_model_is_judged():
    found = evaluate_claims(make_result(MIXED[:6]))
    pairs = [one.models for one in found if one.claim == "breadth"]
    mim, supervised = [spec.name for spec in MIXED[:2]], [MIXED[2].name, MIXED[5].name]
    assert pairs == [(one, other) for one in mim for other in supervised]
    singles = {one.models[0] for one in found if one.claim == "diversity"}
    assert singles == {*mim, *supervised, MIXED[4].name}


@pytest.mark.parametrize(
    ("kinds", "why", "judged"),
    [
        ({"a": "mim"}, "no supervised model", True), ({"a": "supervised"}, "no MIM model", True),
        ({"a": "untrained"}, "no MIM and no supervised model", False),
    ],
)  # fmt: skip
def test_without_the_models_a_claim_says_which_are_missing(kinds, why, judged):
    result = make_result([Spec(name, kind, depth=3) for name, kind in kinds.items()])
    found = evaluate_claims(result)
    assert {one.claim for one in found} == set(PROBED)
    assert {one.verdict for one in found if not one.models} == {UNDECIDED}
    breadth, resemblance = (only(result, name) for name in ("breadth", "resemblance"))
    assert breadth.why == f"{why} with attention is among those compared"
    assert resemblance.why == f"{why} is among those compared"
    assert any(one.models for one in found) == judged


def test_models_without_attention_are_judged_by_cka_only():
    result = make_result([Spec("m", "mim"), Spec("r", "supervised", "resnet", heads=0)])
    found = evaluate_claims(result)
    assert [one.claim for one in found if "r" in one.models] == ["resemblance"]
    assert found[-1].verdict in (HOLDS, FAILS)


@pytest.mark.parametrize("claim", PROBED)
def test_a_table_that_was_not_measured_is_told(claim):
    bare = everything()
    values = bare.per_image.select(metric="prefix_mass")
    found = verdicts(replace(bare, tables={}, per_image=values), claim)[0]
    assert found.verdict == UNDECIDED
    assert found.models == ()
    assert found.why == f"the table {CLAIMS[claim][0].table} was not measured"


def test_the_table_has_a_row_for_each_part_and_survives_the_disk(tmp_path):
    result = everything()
    table = claims_table(evaluate_claims(result))
    assert tuple(table.columns) == CLAIM_COLUMNS
    assert list(table["claim"]) == [
        "locality", "locality", "diversity", "diversity", "breadth", "resemblance",
    ]  # fmt: skip
    again = claims_table(evaluate_claims(read_result(result.write(tmp_path / "out"))))
    assert again.equals(table)


def test_a_claim_more_is_one_entry(monkeypatch):
    claim, _ = CLAIMS["breadth"]
    more = {**CLAIMS, "new": (claim, lambda evidence: iter([claim.missing("why not")]))}
    monkeypatch.setattr(judging, "CLAIMS", more)
    assert evaluate_claims(everything())[-1].why == "why not"
