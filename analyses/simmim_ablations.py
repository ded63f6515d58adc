"""What of SimMIM matters: mask patch and ratio, head, target; one change at a time, one table.

Claim: a linear head is no worse than heavier ones, and raw pixels are no worse a target than
    classes of colours (arXiv 2111.09886, sections 3.3 and 3.4). Here at the scale of a toy: 160
    steps of a ViT of 0.5 M parameters, judged by its nearest neighbours. What holds here says
    little about what holds at 100 epochs of ImageNet; what the recipe shows is how to ask.
Command: python analyses/simmim_ablations.py DATA RUNS --threads 1, with DATA/train and DATA/val in
    class folders; here 40 classes of Tiny ImageNet, 64 x 64. `--only masks,heads` runs a part.
Time: about 55 minutes on one of two cores that other programs used too, 20 of them for 256 bins.
Expected: every run but one within the interval of the default settings, 0.114 [0.101, 0.128] of
    2,000 validation images (chance is 0.025). Heads: mlp -0.000 [-0.013, +0.012], inverse Swin-T
    -0.002 [-0.014, +0.010], inverse Swin-B +0.005 [-0.007, +0.016]. Targets: colour clusters +0.006
    [-0.006, +0.019], 8 bins -0.008 [-0.020, +0.003], 256 bins -0.020 [-0.032, -0.007]. A ratio of
    0.75 costs 0.009 with each patch, within the intervals. Two more seeds: +0.003 and +0.005.
    The claim on heads holds to 0.02 and that on targets is not contradicted; at this scale little
    more can be told apart.

A grid that was stopped goes on when the command is repeated. It ends in RUNS/ablations.csv and
RUNS/ablations.png. A row's accuracy is that of 20 weighted nearest neighbours on the mean patch
tokens of the last block, with the 95 % interval over the validation images; `difference` is to the
default settings, paired by image. Both leave out what another seed of training would change: for
that there are two more seeds of the default settings. Losses of different targets, losses and masks
are different quantities, and are not to be compared. `seconds` are the steps times the median time
of a step.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.claims.estimates import INTERVAL
from mimprobe.data.images import ImageSet, open_images
from mimprobe.figures.panels import FAINT, INK, RULE, drawing, new_figure
from mimprobe.models.sites import layout
from mimprobe.readout.features import layer_features
from mimprobe.readout.labels import labels_of
from mimprobe.readout.neighbours import nearest_neighbours_correct
from mimprobe.tables import write_atomically, write_text
from mimprobe.train.config import TrainConfig
from mimprobe.train.fit import pretrain
from mimprobe.zoo.load import load_model

DEFAULT = "default"
MASK_PATCHES, MASK_RATIOS = (8, 16, 32), (0.25, 0.5, 0.75)  # whole counts also of 2 x 2 squares
HEADS = ("linear", "mlp", "inverse-swin-t", "inverse-swin-b")
TARGETS: dict[str, dict[str, Any]] = {
    "pixels, L1": {},
    "pixels, L2": {"loss": "l2"},
    "pixels, smooth L1": {"loss": "smooth_l1"},
    "pixels, normalised": {"norm_window": 47},
    "colour clusters": {"target": "clusters", "clusters": 64},
    "8 bins": {"target": "bins", "bins": 8},
    "256 bins": {"target": "bins", "bins": 256},
}
SEEDS = (0, 1, 2)
PARTS = ("masks", "heads", "targets", "seeds")

MARGIN = 0.02
"""How much better something must be than the default for the default to be worse by a claim."""

BASE = TrainConfig(
    objective="simmim",
    arch="vit_tiny_patch16_224",
    arch_args={"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 4},
    input_size=64,
    epochs=4,
    batch_size=64,
    base_learning_rate=8e-3,  # at batch 512: a peak of 1e-3 here
    warmup_epochs=0.4,
    mask_patch=16,
    mask_ratio=0.5,
    checkpoint_minutes=1.0,
)

COLUMNS = (
    "part", "setting", "run", "mask_patch", "mask_ratio", "head", "target", "seed", "steps",
    "final_loss", "accuracy", "low", "high", "n", "difference", "difference_low",
    "difference_high", "seconds",
)  # fmt: skip


def settings(part: str) -> Iterator[tuple[str, TrainConfig]]:
    """Give the settings of a part of the grid, each with its name there."""
    if part == "masks":
        for patch in MASK_PATCHES:
            for ratio in MASK_RATIOS:
                yield f"{patch} px, {ratio}", replace(BASE, mask_patch=patch, mask_ratio=ratio)
    elif part == "heads":
        for head in HEADS:
            yield head, replace(BASE, head=head)
    elif part == "targets":
        for name, changes in TARGETS.items():
            yield name, replace(BASE, **changes)
    else:
        for seed in SEEDS:
            yield f"seed {seed}", replace(BASE, seed=seed)


def run_name(config: TrainConfig) -> str:
    """Name a run by what differs from the default settings; equal settings are trained once."""
    before, now = json.loads(BASE.to_json()), json.loads(config.to_json())
    changed = [f"{key}={now[key]}" for key in now if now[key] != before[key]]
    return ",".join(changed) or DEFAULT


def neighbours(weights: Path, train: ImageSet, val: ImageSet) -> list[int]:
    """Tell for each validation image whether its neighbours vote for its class."""
    model = load_model(weights)
    site = layout(model.module).feature_sites[-1]
    known, asked = (layer_features(model, images, [site])[site, "mean"] for images in (train, val))
    labels, truth, _ = labels_of(train, val)
    return [int(right) for right in nearest_neighbours_correct(known, labels, asked, truth)]


def trained(config: TrainConfig, runs: Path, train: ImageSet, val: ImageSet) -> dict[str, Any]:
    """Train and read out one setting, or take what an earlier call left."""
    folder = runs / run_name(config)
    stored = folder / "readout.json"
    if not stored.is_file():
        weights = pretrain(train, folder, config, resume=folder.exists())
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        last = [entry["loss"] for entry in log[-(len(train) // config.batch_size) :]]
        between = np.diff([entry["time"] for entry in log])
        found = {
            "steps": len(log),
            "final_loss": float(np.mean(last)),
            "seconds": round(float(np.median(between)) * len(log), 1),
            "correct": neighbours(weights, train, val),
        }
        write_text(stored, json.dumps(found) + "\n")
    result: dict[str, Any] = json.loads(stored.read_text())
    return result


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Give the mean over images and its 95 % interval."""
    one_each = np.asarray(values, dtype=float)
    reach = INTERVAL * one_each.std(ddof=1) / len(one_each) ** 0.5
    mean = float(one_each.mean())
    return mean, mean - reach, mean + reach


def row(part: str, name: str, config: TrainConfig, found: Any, default: Any) -> dict[str, Any]:
    """Give a line of the table."""
    correct = np.asarray(found["correct"])
    accuracy = mean_interval(correct)
    difference = mean_interval(correct - np.asarray(default["correct"]))
    return {
        "part": part, "setting": name, "run": run_name(config), "seed": config.seed,
        "mask_patch": config.mask_patch, "mask_ratio": config.mask_ratio, "head": config.head,
        "target": config.target, "n": len(correct),
        **{key: found[key] for key in ("steps", "final_loss", "seconds")},
        **dict(zip(("accuracy", "low", "high"), accuracy, strict=True)),
        **dict(zip(("difference", "difference_low", "difference_high"), difference, strict=True)),
    }  # fmt: skip


def verdict(rows: pd.DataFrame, default: str, others: str) -> str:
    """Judge that nothing here is better than the default by as much as the margin."""
    rivals = rows[rows["run"] != DEFAULT]
    best = rivals.loc[rivals["difference_high"].idxmax()]
    judged = "undecided"
    if best["difference_high"] < MARGIN:
        judged = "holds"
    elif (rivals["difference_low"] > 0).any():
        judged = "does not hold"
    return (
        f"{judged}: {default} is no worse than {others} (the interval that reaches highest is that "
        f"of {best['setting']}: {best['difference']:+.3f}, {best['difference_low']:+.3f} to "
        f"{best['difference_high']:+.3f})"
    )


def draw(table: pd.DataFrame, figure: Figure) -> list[Axes]:
    """Draw accuracy by mask, head, target and seed, with 95 % intervals; all share the axis."""
    with drawing():
        made = new_figure(figure, 9.6, 3.4)
        shares = {"masks": 3.0, "heads": 1.5, "targets": 2.6, "seeds": 1.1}
        parts = [part for part in PARTS if part in set(table["part"])]
        panels = made.subplots(
            1, len(parts), sharey=True, squeeze=False, width_ratios=[shares[p] for p in parts]
        )[0]
        default = table[table["run"] == DEFAULT].iloc[0]
        for panel, part in zip(panels, parts, strict=True):
            rows = table[table["part"] == part]
            panel.axhspan(default["low"], default["high"], color=RULE, alpha=0.6, linewidth=0)
            panel.axhline(default["accuracy"], color=FAINT, linewidth=0.8, linestyle=":")
            (_draw_masks if part == "masks" else _draw_settings)(panel, rows)
            panel.set_title(part)
        panels[0].set_ylabel("nearest-neighbour accuracy")
    return list(panels)


def _draw_masks(axes: Axes, rows: pd.DataFrame) -> None:
    patches = sorted(rows["mask_patch"].unique())
    for place, (patch, marker) in enumerate(zip(patches, "os^", strict=False)):
        own = rows[rows["mask_patch"] == patch].sort_values("mask_ratio")
        color = ("#0A3A7A", "#00735A", "#DE6208")[place]
        at = own["mask_ratio"] + 0.008 * (place - 1)
        axes.errorbar(
            at, own["accuracy"], _reach(own), color=color, marker=marker, markersize=4.5,
            linewidth=1.3, elinewidth=1.0, label=f"{patch} px",
        )  # fmt: skip
    axes.set_xticks(sorted(rows["mask_ratio"].unique()))
    axes.set_xlabel("mask ratio")
    axes.legend(title="mask patch", loc="lower left", fontsize=8.5, title_fontsize=8.5)


def _draw_settings(axes: Axes, rows: pd.DataFrame) -> None:
    places = np.arange(len(rows))
    axes.errorbar(
        places, rows["accuracy"], _reach(rows), color=INK, marker="o", markersize=4.5,
        linestyle="", elinewidth=1.0,
    )  # fmt: skip
    axes.set_xticks(places, rows["setting"], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(rows) - 0.4)


def _reach(rows: pd.DataFrame) -> np.ndarray:
    return np.stack([rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]])


def main() -> None:
    """Train what is not trained yet, and write table and figure after each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=2560, help="training images")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    options = parser.parse_args()
    if unknown := {*options.only.split(",")} - {*PARTS}:
        parser.error(f"--only {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    torch.set_num_threads(options.threads)
    train = open_images(options.data / "train", limit=options.limit)
    val = open_images(options.data / "val")
    default, rows = trained(BASE, options.runs, train, val), []
    for part in options.only.split(","):
        for name, config in settings(part):
            found = trained(config, options.runs, train, val)
            rows.append(row(part, name, config, found, default))
            print(f"{part:8} {name:20} accuracy {rows[-1]['accuracy']:.3f}", flush=True)
        table = pd.DataFrame(rows)[list(COLUMNS)]
        write_text(options.runs / "ablations.csv", table.to_csv(index=False))
        figure = Figure()
        draw(table, figure)
        write_atomically(options.runs / "ablations.png", lambda file, made=figure: made.savefig(
            file, format="png", dpi=200))  # fmt: skip
    print(f"table: {options.runs / 'ablations.csv'}\nfigure: {options.runs / 'ablations.png'}")
    for part, named, others in (
        ("heads", "a linear head", "heavier ones"),
        ("targets", "L1 on pixels", "other targets and losses"),
    ):
        if part in set(table["part"]):
            print(verdict(table[table["part"] == part], named, others))


if __name__ == "__main__":
    main()
