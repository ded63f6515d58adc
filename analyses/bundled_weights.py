"""Make the two bundled networks and their cards.

Claim: none about ways of training. The two networks share architecture, images, crops, batch,
    schedule, epochs and seed, and differ in the objective: SimMIM or supervision. They are what
    `make demo` compares.
Command: python analyses/bundled_weights.py DATA RUNS --threads 1, with DATA/train and DATA/val in
    class folders; here 40 classes of Tiny ImageNet, 20,000 and 2,000 images of 64 x 64.
Time: about 75 minutes for each objective on one core; both fit side by side on two cores.
Expected: what the cards under `pretrained/` say, nearest-neighbour accuracy on DATA/val. Chance is
    2.5 %. On another processor or PyTorch the last digits of the losses differ, and so do these.

A run that was stopped goes on when the command is repeated. `--only OBJECTIVE` runs one of the two.
"""

import argparse
import json
import shutil
from pathlib import Path

import safetensors
import torch

from mimprobe.data.images import ImageSet, open_images
from mimprobe.models.sites import layout
from mimprobe.readout.features import layer_features
from mimprobe.readout.labels import labels_of
from mimprobe.readout.neighbours import nearest_neighbours_correct
from mimprobe.train.config import TrainConfig
from mimprobe.train.fit import pretrain
from mimprobe.zoo.build import count_parameters
from mimprobe.zoo.load import load_model
from mimprobe.zoo.loaded import LoadedModel
from mimprobe.zoo.shelf import bundled_directory
from mimprobe.zoo.weights import file_sha256

OBJECTIVES = ("simmim", "supervised")
POOLINGS = ("mean", "cls")
PAPERS = {"simmim": "https://arxiv.org/abs/2111.09886", "supervised": ""}
TITLES = {
    "simmim": "small ViT, SimMIM on 40 classes of Tiny ImageNet (labels not used)",
    "supervised": "small ViT, labels of 40 classes of Tiny ImageNet",
}


def config_of(objective: str) -> TrainConfig:
    """Give the settings, which differ in the objective alone."""
    return TrainConfig(
        objective=objective,
        arch="vit_tiny_patch16_224",
        arch_args={"patch_size": 8, "embed_dim": 128, "depth": 12, "num_heads": 8},
        input_size=64,
        epochs=12,
        batch_size=64,
        base_learning_rate=8e-3,  # at batch 512: a peak of 1e-3 here
        min_learning_rate=8e-5,
        warmup_learning_rate=8e-6,
        warmup_epochs=1.0,
        schedule="cosine-after-warmup",
        mask_patch=16,
        mask_ratio=0.6,
        export_precision="float16",
        checkpoint_minutes=3.0,
    )


def neighbours_by_layer(
    model: LoadedModel, train: ImageSet, val: ImageSet
) -> dict[str, dict[str, float]]:
    """Accuracy of 20 weighted nearest neighbours by pooling and layer."""
    sites = layout(model.module).feature_sites
    known, asked = (
        layer_features(model, images, sites, poolings=POOLINGS) for images in (train, val)
    )
    labels, truth, _ = labels_of(train, val)
    found: dict[str, dict[str, float]] = {pooling: {} for pooling in POOLINGS}
    for (site, pooling), features in known.items():
        correct = nearest_neighbours_correct(features, labels, asked[site, pooling], truth)
        found[pooling][site] = correct.double().mean().item()
    return found


def write_card(objective: str, weights: Path, scores: dict[str, dict[str, float]], n: int) -> Path:
    """Copy the weights to the bundled ones and write their card."""
    name = f"{objective}-tiny40"
    target = bundled_directory() / f"{name}.safetensors"
    shutil.copyfile(weights, target)
    with safetensors.safe_open(target, "pt") as file:
        training = json.loads(file.metadata()["mimprobe"])["training"]
    arguments = {
        **config_of(objective).arch_args,
        "img_size": 64,
        "num_classes": 40 if objective == "supervised" else 0,
    }
    lines = [
        f'name = "{name}"',
        f'title = "{TITLES[objective]}"',
        f'kind = "{"mim" if objective == "simmim" else "supervised"}"',
        'source = "trained by mimprobe: analyses/bundled_weights.py"',
        'licence = "MIT"',
        f'paper = "{PAPERS[objective]}"',
        "",
        "[weights]",
        f'file = "{target.name}"',
        f'checksum = "sha256:{file_sha256(target)}"',
        'converter = "mimprobe"',
        "",
        "[architecture]",
        'name = "vit_tiny_patch16_224"',
        "heads = 8",
        "prefix_tokens = 1",
        f"parameters = {count_parameters('vit_tiny_patch16_224', arguments)}",
        "arguments = { " + ", ".join(f"{k} = {v}" for k, v in arguments.items()) + " }",
        "",
        "[preprocessing]",
        "input_size = [64, 64]",
        "mean = [0.485, 0.456, 0.406]",
        "std = [0.229, 0.224, 0.225]",
        'interpolation = "bicubic"',
        "crop_pct = 1.0",
        "",
        "[training]",
        'images = "40 classes of Tiny ImageNet, 64 x 64, 20,000 images"',
        f'images_sha256 = "{training["images_sha256"]}"',
        'augmentation = "random resized crop (scale 0.67 to 1), horizontal flip"',
        f"epochs = {training['epochs']}",
        f"steps = {training['steps']}",
        f"batch_size = {training['batch_size']}",
        f"peak_learning_rate = {config_of(objective).peak_learning_rate}",
        f"weight_decay = {training['weight_decay']}",
        *([f"mask_patch = {training['mask_patch']}", f"mask_ratio = {training['mask_ratio']}"]
          if objective == "simmim" else [f"label_smoothing = {training['label_smoothing']}"]),
        f"seed = {training['seed']}",
        f"final_epoch_loss = {training['final_epoch_loss']:.4f}",
        f'torch = "{training["torch"]}"',
        'machine = "one core of an AMD EPYC, float32"',
    ]  # fmt: skip
    for pooling, by_site in scores.items():
        best = max(by_site, key=lambda site: by_site[site])
        for which, site in (("last layer", list(by_site)[-1]), ("best layer", best)):
            lines += [
                "",
                "[[results]]",
                f'metric = "accuracy of 20 nearest neighbours, {which}, {pooling} pooling"',
                f'site = "{site}"',
                f"value = {by_site[site]:.4f}",
                f"se = {(by_site[site] * (1 - by_site[site]) / n) ** 0.5:.4f}",
                f"n = {n}",
                'source = "analyses/bundled_weights.py, 2,000 held-out images of the same classes"',
            ]
    path = bundled_directory() / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Train what is not trained yet, evaluate it, and write the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=OBJECTIVES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, val = (open_images(options.data / part) for part in ("train", "val"))
    for objective in [options.only] if options.only else OBJECTIVES:
        run = options.runs / objective
        weights = pretrain(train, run, config_of(objective), resume=run.exists())
        scores = neighbours_by_layer(load_model(weights), train, val)
        (run / "neighbours.json").write_text(json.dumps(scores, indent=1) + "\n")
        print(write_card(objective, weights, scores, len(val)))


if __name__ == "__main__":
    main()
