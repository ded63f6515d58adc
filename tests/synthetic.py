"""Results with numbers made up to look like real ones, for tests of what reads tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mimprobe.tables import (
    CURVE_COLUMNS,
    HEAD_COLUMNS,
    HEAD_PAIR_COLUMNS,
    OFFSET_COLUMNS,
    PAIR_COLUMNS,
    PER_IMAGE_KEYS,
    PROFILE_COLUMNS,
    PerImageValues,
    Result,
)

UNITS = {
    "attention_distance": "px",
    "attention_distance_normalised": "1",
    "attention_entropy": "nats",
    "attention_entropy_normalised": "1",
    "attention_nmi": "1",
    "head_kl": "nats",
    "prefix_mass": "1",
    "padding_mass": "1",
    "masked_mass": "1",
    "effective_rank": "1",
    "singular_value": "1",
    "token_similarity": "1",
    "high_frequency": "nats",
    "log_amplitude": "nats",
    "feature_norm": "1",
    "activation_ratio": "1",
    "cka": "1",
    "mutual_neighbours": "1",
}
TABLES = {
    "attention_distance": ("attention_distance", "attention_distance_normalised"),
    "attention_entropy": ("attention_entropy", "attention_entropy_normalised"),
    "attention_nmi": ("attention_nmi",),
    "head_kl": ("head_kl",),
    "prefix_mass": ("prefix_mass", "padding_mass", "masked_mass"),
}
EVEN = (0.1, 0.4, 0.4, 0.1)
"""Shares of rings that uniform attention would have."""
PAIRS = ("cka", "mutual_neighbours")
"""Tables of pairs of layers; each has one metric, of its own name."""

LAYERS = {
    "effective_rank": ("effective_rank", "singular_value"),
    "token_similarity": ("token_similarity",),
    "high_frequency": ("high_frequency", "log_amplitude"),
    "feature_norm": ("feature_norm", "activation_ratio"),
}
"""Tables of layers, and their metrics; those in `CURVES` are curves."""

CURVES = ("singular_value", "log_amplitude")
REACH = {"mim": (0.35, 0.55), "supervised": (0.3, 0.9), "untrained": (0.99, 1.0)}
"""Share of the largest distance that heads reach, in the first and last layer."""


@dataclass(frozen=True)
class Spec:
    """A made-up model."""

    name: str
    kind: str = "mim"
    family: str = "vit"
    depth: int = 12
    heads: int = 8
    prefix: int = 1
    side: int = 14
    stages: tuple[int, ...] = ()

    @property
    def attention(self) -> bool:
        return self.family != "resnet"

    def site(self, layer: int, end: str) -> str:
        for stage, size in enumerate(self.stages):
            if layer < size:
                return f"stages.{stage}.blocks.{layer}.{end}"
            layer -= size
        return f"blocks.{layer}.{end}"


THREE = (
    Spec("simmim-tiny40", "mim"),
    Spec("supervised-tiny40", "supervised"),
    Spec("random:simmim-tiny40", "untrained"),
)
MIXED = (
    Spec("simmim-vitb", "mim", "beit", heads=12, prefix=0),
    Spec("timm:vit_base_patch16_224.mae", "mim", heads=12),
    Spec("timm:vit_base_patch16_224.augreg_in21k_ft_in1k", "supervised", heads=12),
    Spec("deit-base-distilled", "distilled", heads=12, prefix=2),
    Spec("dinov2-vitl14-reg4", "contrastive", depth=24, heads=16, prefix=5, side=16),
    Spec("swin-tiny", "supervised", "swin", prefix=0, heads=6, side=56, stages=(2, 2, 6, 2)),
    Spec("random:vit_base_patch16_224", "untrained", heads=12),
    Spec("resnet50", "supervised", "resnet", depth=16, prefix=0, heads=0, stages=(3, 4, 6, 3)),
)


def make_result(
    specs: Sequence[Spec] = THREE, *, images: int = 50, seed: int = 0, cka_shift: float = 0.0
) -> Result:
    """Make tables, per-image values and a manifest for some models."""
    generator = np.random.default_rng(seed)
    parts = [_model_values(spec, images, generator) for spec in specs if spec.attention]
    columns = pd.concat(
        [part[0] for part in parts] or [pd.DataFrame(columns=[*PER_IMAGE_KEYS, "kind", "unit"])],
        ignore_index=True,
    )
    values = np.concatenate([part[1] for part in parts] or [np.empty((images, 0))], axis=1)
    table = _head_table(columns, values)
    tables = {
        name: table[table["metric"].isin(metrics)].reset_index(drop=True)
        for name, metrics in TABLES.items()
    }
    tables |= _map_tables(specs, images)
    if images >= 4:
        tables["cka"] = _cka_table(specs, images, cka_shift)
    ids = tuple(f"photos/{number:04}.jpg" for number in range(images))
    per_image = PerImageValues(ids, columns[list(PER_IMAGE_KEYS)], values.astype(np.float32))
    return Result(tables, make_manifest(specs, tables, images, seed), per_image)


def layer_tables(
    specs: Sequence[Spec] = THREE, *, images: int = 50, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Make the tables of diagnostics without heads: of layers, and of shared neighbours."""
    draw = np.random.default_rng(seed)
    tables = {}
    for name, metrics in LAYERS.items():
        curves = any(metric in CURVES for metric in metrics)
        rows = [
            row for metric in metrics for spec in specs for layer in range(spec.depth)
            for row in _layer_rows(spec, layer, metric, images, draw)
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
        frame["head"] = frame["head"].astype("Int64")
        tables[name] = frame[list(CURVE_COLUMNS if curves else HEAD_COLUMNS)]
    shared = _cka_table(specs, images, 0.0)
    shared["metric"], shared["std"], shared["note"] = "mutual_neighbours", 0.07, ""
    tables["mutual_neighbours"] = shared
    return tables


def _layer_rows(
    spec: Spec, layer: int, metric: str, images: int, draw: np.random.Generator
) -> list[tuple[Any, ...]]:
    depth = (layer + 1) / spec.depth
    value = {"feature_norm": 10 * 40**depth, "activation_ratio": 30 * 100**depth}.get(metric, depth)
    place = (spec.name, spec.kind, spec.site(layer, "out"), layer, pd.NA, metric, UNITS[metric])
    std = np.nan if metric in LAYERS["effective_rank"] else 0.3 * value
    points = np.arange(1, 13) if metric == "singular_value" else np.linspace(0, 1, 8)
    if metric not in CURVES:
        points = np.array([np.nan])
    falls = np.where(np.isnan(points), 1, np.exp(-points / 4 * (1 + depth)))
    return [
        (*place, value * fall * (1 + 0.02 * draw.standard_normal()), std, 0.04 * value, images, at)
        for at, fall in zip(points, falls, strict=True)
    ]


def per_image_of(known: Mapping[tuple[str, str], Any]) -> PerImageValues:
    """Put known numbers, (layer, head, image) by model and metric, with their means over heads."""
    columns, rows = [], []
    for (model, metric), numbers in known.items():
        for layer, heads in enumerate(np.asarray(numbers, dtype=float)):
            site = f"blocks.{layer}.attn.probs"
            columns += [(model, site, layer, head, metric) for head in (*range(len(heads)), -1)]
            rows += [*heads, heads.mean(0)]
    frame = pd.DataFrame(columns, columns=list(PER_IMAGE_KEYS))
    images = tuple(f"{number}.png" for number in range(len(rows[0])))
    return PerImageValues(images, frame, np.array(rows, dtype=np.float32).T)


def _model_values(
    spec: Spec, images: int, generator: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    columns, blocks = [], []
    first, last = REACH.get(spec.kind, (0.4, 0.75))
    keys = 49 if spec.family == "swin" else spec.side**2
    for layer in range(spec.depth):
        at = layer / max(spec.depth - 1, 1)
        reach = first + (last - first) * at
        width = {"untrained": 0.004, "mim": 0.25}.get(spec.kind, 0.22 - 0.2 * at)
        share = np.clip(reach + width * np.linspace(-1, 1, spec.heads), 0.03, 1)
        share = generator.permutation(share)
        stride = 4 * 2 ** int(spec.site(layer, "").split(".")[1]) if spec.stages else 16
        made = {
            "attention_distance": share * (0.52 * (7 if spec.stages else spec.side) * stride),
            "attention_distance_normalised": share,
            "attention_entropy": share**0.5 * np.log(keys),
            "attention_entropy_normalised": share**0.5,
            "attention_nmi": 0.6 * width * (1 - share),
            "head_kl": 6 * width**1.2 * (1 + share),
        }
        if spec.prefix:
            made["prefix_mass"] = np.clip(spec.prefix / keys + 0.4 * at * (1 - share), 0, 1)
        if spec.family == "swin":
            made["padding_mass"], made["masked_mass"] = 0 * share, 1e-9 * share
        noise = 1 + 0.08 * generator.standard_normal((images, 1))
        noise = noise + 0.03 * generator.standard_normal((images, spec.heads))
        for metric, head_values in made.items():
            heads = head_values * noise
            blocks += [heads, heads.mean(1, keepdims=True)]
            site, unit = spec.site(layer, "attn.probs"), UNITS[metric]
            columns += [
                (spec.name, site, layer, head, metric, spec.kind, unit)
                for head in (*range(spec.heads), -1)
            ]
    frame = pd.DataFrame(columns, columns=[*PER_IMAGE_KEYS, "kind", "unit"])
    return frame, np.concatenate(blocks, axis=1)


def _head_table(columns: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    table = columns.copy()
    count = len(values)
    table["value"] = values.mean(0)
    table["std"] = values.std(0, ddof=1) if count > 1 else np.nan
    table["se"], table["n"] = table["std"] / np.sqrt(count), count
    table["head"] = table["head"].astype("Int64").replace(-1, pd.NA)
    return table[list(HEAD_COLUMNS)]


def _map_tables(specs: Sequence[Spec], images: int) -> dict[str, pd.DataFrame]:
    """Make tables of pairs of heads, of profiles and of offsets, on a grid of 4 x 4 patches."""
    pairs, profiles, offsets = [], [], []
    error = (0.02, 0.02 / np.sqrt(images), images) if images > 1 else (np.nan, np.nan, images)
    for spec in specs if images else ():
        for layer in range(spec.depth if spec.attention else 0):
            place = (spec.name, spec.kind, spec.site(layer, "attn.probs"), layer)
            apart = {"untrained": 0.001, "mim": 0.5}.get(spec.kind, 0.9 / (1 + layer))
            one, other = np.indices((spec.heads, spec.heads)).reshape(2, -1)
            for metric, unit, none in (
                ("head_kl", "nats", False), ("head_distance", "1", False),
                ("mean_map_distance", "1", True),
            ):  # fmt: skip
                values = apart * (1 + abs(one - other)) / spec.heads
                ends = (np.nan, np.nan, images) if none else error
                pairs += [
                    (*place, i, j, metric, unit, value, *ends)
                    for i, j, value in zip(one, other, values, strict=True) if i != j
                ]  # fmt: skip
                pairs.append((*place, pd.NA, pd.NA, metric, unit, values.mean(), *ends))
            for head in (*range(spec.heads), pd.NA):
                near = 0.5 if head is pd.NA else (head + 1) / (spec.heads + 1)
                shares = np.array([near, 1, 1 - near, 0.2]) / 2.2
                profiles += [
                    (*place, head, max(16 * ring - 8, 0), 16 * ring + 8, "attention_profile", "1",
                     share, even, *error)
                    for ring, (share, even) in enumerate(zip(shares, EVEN, strict=True))
                ]  # fmt: skip
            rows, columns = np.indices((7, 7)).reshape(2, -1) - 3
            for head in range(spec.heads):
                values = np.exp(-np.hypot(rows, columns) * (head + 1) / spec.heads) / 4
                offsets += [
                    (*place, head, row, column, "attention_offset", "1", value, 1 / 16, *error)
                    for row, column, value in zip(rows, columns, values, strict=True)
                ]
    tables = {
        "head_pairs": pd.DataFrame(pairs, columns=list(HEAD_PAIR_COLUMNS)),
        "attention_profile": pd.DataFrame(profiles, columns=list(PROFILE_COLUMNS)),
        "attention_offset": pd.DataFrame(offsets, columns=list(OFFSET_COLUMNS)),
    }
    for table in tables.values():
        for name in {"head", "other_head"} & set(table.columns):
            table[name] = table[name].astype("Int64")
    return tables


def _cka_table(specs: Sequence[Spec], images: int, shift: float) -> pd.DataFrame:
    places = [(spec, layer) for spec in specs for layer in range(spec.depth)]
    rows = []
    for one, layer in places:
        for other, other_layer in places:
            gap = abs(layer / one.depth - other_layer / other.depth)
            falls = [{"mim": 0.8, "untrained": 0.15}.get(end.kind, 2.2) for end in (one, other)]
            level = 1.0 if one == other else 0.35 + 0.3 * (one.kind == other.kind)
            value = level * np.exp(-gap * sum(falls) / 2) - shift * (one != other or gap > 0)
            note = "" if images >= 20 else "too few images"
            rows.append(
                (one.name, one.kind, one.site(layer, "out"), layer, other.name, other.kind,
                 other.site(other_layer, "out"), other_layer, "cka", "1", value, np.nan,
                 0.01 if images >= 20 else np.nan, images, note)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def make_manifest(
    specs: Sequence[Spec], tables: dict[str, pd.DataFrame], images: int, seed: int
) -> dict[str, Any]:
    """Make a manifest as `probe` does."""
    return {
        "mimprobe": "0.1.0",
        "created": "2025-11-23T09:00:00+00:00",
        "command": "mimprobe compare " + " ".join(spec.name for spec in specs) + " --images photos",
        "seed": seed,
        "precision": "float32",
        "device": "cpu",
        "batch_size": 32,
        "seconds": 48.2,
        "seconds_waiting": 3.14,
        "processes": 2,
        "workers": 0,
        "notes": [],
        "versions": {"torch": "2.9.1", "timm": "1.0.22", "python": "3.11.2"},
        "machine": {"system": "Linux", "processor": "x86_64", "cores": "2", "gpu": "none"},
        "images": {"source": "photos", "n": images, "sha256": "ab" * 32, "skipped": []},
        "models": [_describe(spec) for spec in specs],
        "analyzers": {
            name: {"definition": f"the definition of {name}"}
            | ({"tokens": "mean"} if name == "cka" else {"prefix": "renormalise"})
            for name in tables
        },
    }


def _describe(spec: Spec) -> dict[str, Any]:
    trained = spec.kind != "untrained"
    return {
        "name": spec.name,
        "reference": spec.name,
        "kind": spec.kind,
        "arch": f"{spec.family}_small_patch16_224",
        "family": spec.family,
        "attention": spec.attention,
        "parameters": 2_400_000 * spec.depth,
        "layers": spec.depth,
        "heads": [spec.heads] * spec.depth if spec.attention else [],
        "prefix_tokens": spec.prefix,
        "input_size": [224, 224],
        "preprocessing": {
            "input_size": [224, 224], "crop_pct": 0.9, "interpolation": "bicubic",
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        },
        "sha256": "0123456789abcdef" * 4,
        "load_report": {
            "matched": 152, "renamed": {}, "resized": {}, "dropped": {"head.weight": "classifier"},
            "missing": {}, "unexpected": [], "converter": "as_is",
            "checked": "sha256 as published", "assumed": [],
        } if trained else None,
        "card": {
            "name": spec.name, "title": "A small network", "source": "trained here",
            "licence": "MIT", "paper": "", "training": {"epochs": 100, "optimiser": "AdamW"},
            "results": [{"what": "k-nearest-neighbour accuracy", "value": 31.2, "unit": "%"}],
        } if trained else None,
    }  # fmt: skip
