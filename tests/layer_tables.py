"""Results of layer tests with numbers made up to look like real ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from synthetic import Spec, make_manifest

from mimprobe.tables import LAYER_TEST_COLUMNS, PER_IMAGE_KEYS, PerImageValues, Result

PAIR = (Spec("m", "mim"), Spec("s", "supervised"))
THREE = (
    Spec("simmim-tiny40", "mim"),
    Spec("supervised-tiny40", "supervised"),
    Spec("random:simmim-tiny40", "untrained"),
)
CHANCE = 0.025
FALLS = {"mim": 0.5, "supervised": 1.4, "untrained": 0.2}
"""How fast accuracy falls with each block that is changed."""

Curves = Mapping[tuple[str, str], Any]
"""By model and test, values of (seed, number changed, image), the intact network first."""


def curve_result(
    specs: Sequence[Spec], known: Curves, *, metric: str = "knn_accuracy", points: Any = None
) -> Result:
    """Put known values of curves into a result, as a layer test does, with a row for each seed.

    `points` are the numbers changed; of a swap 0, 2, 3 ... by default, else 0, 1, 2 ...
    """
    kinds, tables, columns, blocks = {spec.name: spec.kind for spec in specs}, {}, [], []
    for (model, test), numbers in known.items():
        values = np.asarray(numbers, dtype=float)
        at = points or [0, *range(2 if test == "swap" else 1, 99)][: values.shape[1]]
        rows = []
        for changed, by_seed in zip(at, values.transpose(1, 0, 2), strict=True):
            for seed, images in [*enumerate(by_seed), (pd.NA, by_seed.mean(0))]:
                rows.append(row(model, kinds[model], test, changed, metric, images, seed=seed))
            columns.append((model, test, changed, -1, metric))
            blocks.append(by_seed.mean(0))
        tables.setdefault(f"layer_{test}", []).extend(rows)
    framed = {name: frame(rows) for name, rows in tables.items()}
    return _result(specs, framed, columns, np.array(blocks).T)


def row(model, kind, test, changed, metric, images, **places):  # type: ignore[no-untyped-def]
    """Make one row of a layer test's table from the values of its images."""
    images = np.atleast_1d(np.asarray(images, dtype=float))
    std = images.std(ddof=1) if len(images) > 1 else np.nan
    return {
        "model": model, "kind": kind, "test": test, "changed": changed, "layer": pd.NA,
        "other_layer": pd.NA, "head": pd.NA, "seed": pd.NA, "pooling": "mean", "metric": metric,
        "unit": "1", "value": images.mean(), "std": std, "se": std / np.sqrt(len(images)),
        "n": len(images), "note": "",
    } | places  # fmt: skip


def frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a table of rows, with the types that one has when it is read back."""
    numbers = dict.fromkeys(("layer", "other_layer", "head", "seed"), "Int64")
    return pd.DataFrame(rows, columns=list(LAYER_TEST_COLUMNS)).astype(numbers)


def layer_result(
    specs: Sequence[Spec] = THREE, tests: Sequence[str] = ("swap", "drop", "reset", "heads"), *,
    images: int = 200, seeds: int = 3, seed: int = 0,
) -> Result:  # fmt: skip
    """Make the tables of layer tests, with curves, exchanges, single blocks and heads."""
    draw = np.random.default_rng(seed)
    tables, columns, blocks = {}, [], []
    for test in tests:
        rows: list[Mapping[str, Any]] = []
        for spec in specs:
            ease = draw.random(images)
            curve = _curve(spec, test, ease, seeds, draw)
            for (changed, metric), by_seed in curve.items():
                for at, correct in [*enumerate(by_seed), (pd.NA, by_seed.mean(0))]:
                    rows.append(row(spec.name, spec.kind, test, changed, metric, correct, seed=at))
                if metric != "drift":
                    columns.append((spec.name, test, changed, -1, metric))
                    blocks.append(by_seed.mean(0))
            rows += _single(spec, test, images, draw)
        tables[f"layer_{test}"] = frame(rows)
        drift = tables[f"layer_{test}"]["metric"] == "drift"
        tables[f"layer_{test}"].loc[drift, ["std"]] = np.nan
    return _result(specs, tables, columns, np.array(blocks).T)


def _curve(
    spec: Spec, test: str, ease: np.ndarray, seeds: int, draw: np.random.Generator
) -> dict[tuple[int, str], np.ndarray]:
    """Give values of (seed, image) by number changed and metric."""
    points = {
        "swap": [0, *range(2, spec.depth + 1)], "drop": range(spec.depth),
        "reset": range(spec.depth + 1), "heads": [0],
    }[test]  # fmt: skip
    found = {}
    for changed in points:
        share = changed / spec.depth
        slow = 3 if test == "drop" and spec.kind != "mim" else 1
        level = CHANCE + 0.4 * np.exp(-4 * FALLS.get(spec.kind, 1.0) * share**slow)
        moved = 0.02 * (changed > 0) * draw.standard_normal((seeds, 1)) * (test == "swap")
        found[changed, "knn_accuracy"] = (ease < level + moved).astype(float)
        drift = np.exp(-2 * FALLS.get(spec.kind, 1.0) * share**slow)
        noise = 0.1 * (changed > 0) * draw.standard_normal((seeds, len(ease)))
        found[changed, "drift"] = drift + noise + moved
    return found


def _single(
    spec: Spec, test: str, images: int, draw: np.random.Generator
) -> list[Mapping[str, Any]]:
    """Give rows of single blocks, heads and exchanges."""
    fall, places = FALLS.get(spec.kind, 1.0), []
    for layer in range(spec.depth):
        if test == "swap":
            places += [
                (2, {"layer": layer, "other_layer": other}, abs(layer - other) / spec.depth)
                for other in range(spec.depth) if _exchangeable(spec, layer, other)
            ]  # fmt: skip
        elif test == "heads":
            places += [
                (1, {"layer": layer, "head": head}, 0.3 * draw.random() ** 4)
                for head in range(spec.heads)
            ]
        else:
            places.append((1, {"layer": layer}, 0.5 / (1 + layer)))
    rows = []
    for changed, where, share in places:
        drift, level = np.exp(-2 * fall * share), CHANCE + 0.4 * np.exp(-3 * fall * share)
        for metric, mean in (("drift", drift), ("knn_accuracy", level)):
            values = np.clip(mean + 0.1 * draw.standard_normal(images), 0, 1)
            for seed in (pd.NA, 0) if test == "reset" else (pd.NA,):
                made = {**where, "seed": seed}
                rows.append(row(spec.name, spec.kind, test, changed, metric, values, **made))
    return rows


def _exchangeable(spec: Spec, layer: int, other: int) -> bool:
    """In networks with stages, only blocks of one stage and one shift change places."""
    if layer == other or not spec.stages:
        return layer != other
    return spec.site(layer, "").split(".")[1] == spec.site(other, "").split(".")[1] and (
        (layer - other) % 2 == 0
    )


def _result(
    specs: Sequence[Spec], tables: dict[str, pd.DataFrame], columns: Any, values: np.ndarray
) -> Result:
    keys = pd.DataFrame(columns, columns=list(PER_IMAGE_KEYS))
    images = tuple(f"val/{number:04}.jpg" for number in range(len(values)))
    manifest = make_manifest(specs, tables, len(values), 0)
    manifest["command"] = "mimprobe layers swap " + " ".join(spec.name for spec in specs)
    for name in tables:
        manifest["analyzers"][name] = {
            "definition": f"the definition of {name}", "readouts": ["knn"], "pooling": "mean",
            "layer": 11, "seeds": 3, "k": 20, "chance": CHANCE,
        }  # fmt: skip
    return Result(tables, manifest, PerImageValues(images, keys, values.astype(np.float32)))
