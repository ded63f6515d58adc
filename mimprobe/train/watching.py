"""Looking at a network while it trains: the tables of a probe, at one step after another.

What belongs here: when a run is looked at, and what becomes of the tables. What does not: measuring
(`loop`), the features that are kept for later (`final`), and drawing (`figures.steps`).

    probe/<analyzer>.csv     the analyzer's table with a column `step`
    probe/features/          pooled features of the fixed images at each watched step
    probe/cka_to_final.csv   written at the last step: each layer against itself at the end
    probe/manifest.json      written last
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from mimprobe.analyzers import make_analyzers
from mimprobe.data.images import ImageSet, open_images
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import OutputError
from mimprobe.loop import probe, processes
from mimprobe.tables import MANIFEST_NAME, STEP, Result, join_per_image, read_result
from mimprobe.train.board import Board
from mimprobe.train.config import TrainConfig
from mimprobe.train.final import FinalFeatures, Snapshots
from mimprobe.zoo.loaded import LoadedModel

PROBE = "probe"
"""Folder of the tables within the run's folder; 'mimprobe report RUN/probe' makes their page."""


class Watch:
    """Measures the network of a run on fixed images, every so many steps and at the end.

    The run does not notice: modes, gradients and the generators of random numbers are as before,
    so its losses are the same bit for bit. Of a run that goes on from a checkpoint, what was
    watched after the checkpoint's step is dropped, and watched again.

    Memory: the tables so far, and while they are made those of one probe; at the last step besides
    the pooled features of two steps (see `final`), whatever the number of steps.
    """

    def __init__(
        self, config: TrainConfig, images: ImageSet, directory: Path, *, last: int, board: Board,
        kind: str, preprocessing: Preprocessing,
    ) -> None:  # fmt: skip
        """Open the fixed images; nothing is written yet.

        Args:
            config: how often to look, at which images, with which analyzers.
            images: of the run; some of them are looked at unless the config names others.
            directory: of the run.
            last: the step at which training ends.
            board: where layer means are shown besides.
            kind: of the objective, as the exported weights will tell it.
            preprocessing: that the weights will be exported with.

        Raises:
            UnknownNameError: no such analyzer.
            ImageError: there are no such images.
        """
        self.config, self.last, self.board = config, last, board
        self.kind, self.preprocessing = kind, preprocessing
        self.every, self.name = config.probe_every, directory.resolve().name
        self.folder = directory / PROBE
        self._result: Result | None = None
        self._begun = False
        if self.every:
            make_analyzers(self._analyzers)
            # Drawn: the first images of a folder in class folders are all of one class.
            self.images = open_images(config.probe_images or images, limit=config.probe_limit)

    def __call__(self, step: int, encoder: nn.Module) -> None:
        """Look at the encoder, if it is time to, `step` optimiser steps having been taken.

        All processes of a run call this alike; the first one writes.

        Raises:
            OutputError: the folder holds what was watched on other images, or is damaged.
        """
        if not self.every:
            return
        if not self._begun:
            self._take_up(step)
        if step % self.every and step != self.last:
            return
        device = next(encoder.parameters()).device
        generators = [device] if device.type == "cuda" else []
        with (
            processes() as group,
            torch.random.fork_rng(devices=generators),
            torch.compiler.set_stance("force_eager"),  # compiled blocks would not call hooks
        ):
            features = FinalFeatures()
            tools: list[Any] = [*make_analyzers(self._analyzers), features]
            found = probe(
                self._model(encoder), self.images, analyzers=tools, device=device, workers=0,
                command="",
            )  # fmt: skip
            if group.first:
                self._keep(step, found, features)

    @property
    def _analyzers(self) -> list[str]:
        return [name.strip() for name in self.config.probe_analyzers.split(",")]

    def _model(self, encoder: nn.Module) -> LoadedModel:
        """Take the encoder with the preprocessing that its weights will be exported with."""
        arch = self.config.arch
        return LoadedModel(
            name=self.name, module=encoder, preprocessing=self.preprocessing, kind=self.kind,
            reference=f"{arch} in training", architecture=arch, sha256="",
        )  # fmt: skip

    def _take_up(self, step: int) -> None:
        """Read what was watched before, and drop what came after `step`."""
        self._begun = True
        if not (self.folder / MANIFEST_NAME).is_file():
            return
        try:
            stored = read_result(self.folder)
        except OutputError as error:
            raise OutputError(
                f"the tables in {self.folder} are damaged; move that folder away to go on without "
                "what was watched so far"
            ) from error
        if stored.manifest["images"]["sha256"] != self.images.sha256:
            raise OutputError(
                f"{self.folder} holds what was watched on other images; watch the same ones, or "
                "move that folder away"
            )
        self._result = Result(before(stored, step + 1), stored.manifest, stored.per_image)
        Snapshots(self.folder).cut(step)

    def _keep(self, step: int, found: Result, features: FinalFeatures) -> None:
        """Append one step's tables and write all."""
        earlier: Mapping[str, pd.DataFrame] = before(self._result, step) if self._result else {}
        tables = dict(earlier)
        for name, table in found.items():
            if name == features.name:
                continue
            table.insert(2, STEP, step)
            tables[name] = pd.concat([earlier[name], table]) if name in earlier else table
            self.board.add_layers(step, table)
        snapshots = Snapshots(self.folder)
        snapshots.cut(step - 1)
        snapshots.add(step, features)
        if step == self.last:
            tables[features.name] = snapshots.cka_to_final(features.places, self.kind)
        steps = snapshots.steps()
        manifest = {**found.manifest, **self._circumstances(found, steps)}
        manifest["analyzers"][features.name]["memory"] = snapshots.memory()
        self._result = Result(tables, manifest, join_per_image([]))
        self._result.rewrite(self.folder, beside=snapshots.names())

    def _circumstances(self, found: Result, steps: list[int]) -> dict[str, Any]:
        """Say when the network was watched, and how long that took in all."""
        told = {}
        for key in ("seconds", "seconds_waiting"):
            earlier = self._result.manifest[key] if self._result else 0.0
            told[key] = round(found.manifest[key] + earlier, 3)
        watched = {
            "run": self.name, "steps between": self.every, "times": len(steps),
            "first step": steps[0], "last step": steps[-1], "steps of the run": self.last,
        }  # fmt: skip
        return {**told, "watched": watched}


def before(result: Result, step: int) -> dict[str, pd.DataFrame]:
    """Keep the rows of earlier steps; what compares with the end is made anew."""
    return {
        name: table[table[STEP] < step]
        for name, table in result.items()
        if name != FinalFeatures.name
    }
