"""How alike each layer is to what it will be when training ends.

What belongs here: pooled features of the fixed images at each watched step, on disk until the last
step is there to be compared with, and the table of the comparison. What does not: when to look
(`watching`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import safetensors.torch
from torch import Tensor

from mimprobe.analyzers.layer_pairs import Place
from mimprobe.analyzers.pooled import PooledAnalyzer
from mimprobe.stream import CkaFeatures
from mimprobe.tables import FINAL_COLUMNS, write_atomically

FOLDER = "features"


class FinalFeatures(PooledAnalyzer):
    """Mean patch tokens of all layers at one step; their table needs the last step too."""

    name = "cka_to_final"
    columns = FINAL_COLUMNS
    least_images = 4
    units = {"cka_to_final": "1"}  # noqa: RUF012
    definition = (
        "unbiased linear CKA of a layer's pooled features with those of the same layer at the last "
        "step, on the same images; standard error by jackknife over groups of images"
    )

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:  # noqa: ARG002
        """Give no rows: one step alone has nothing to be compared with."""
        return pd.DataFrame(columns=list(FINAL_COLUMNS))

    def by_site(self) -> dict[str, Tensor]:
        """Give the vectors of each layer, a row for each image in order."""
        assert self.rows is not None
        return {place.site: self.rows.site(place.key) for place in self.places}


class Snapshots:
    """The features of each watched step in a file: 4 bytes x images x the sum of layers' widths.

    Two of them are in memory at once when they are compared, besides the 64 MB of Gram matrices
    that `stream.grams` works on.
    """

    def __init__(self, folder: Path) -> None:
        """Look into the folder of a run's tables."""
        self.folder = folder / FOLDER

    def steps(self) -> list[int]:
        """List the steps that are kept, in their order."""
        return sorted(int(path.stem) for path in self.folder.glob("*.safetensors"))

    def names(self) -> list[str]:
        """Name the files, as seen from the folder of the tables."""
        return [f"{FOLDER}/{self._path(step).name}" for step in self.steps()]

    def add(self, step: int, features: FinalFeatures) -> None:
        """Keep one step's features; the file is whole or not there."""
        blob = safetensors.torch.save(features.by_site())
        write_atomically(self._path(step), lambda file: file.write(blob))

    def cut(self, step: int) -> None:
        """Remove what was kept after a step, and what was being written when the process died."""
        for later in self.steps():
            if later > step:
                self._path(later).unlink(missing_ok=True)  # by another process of the run
        for torn in self.folder.glob(".*"):
            torn.unlink(missing_ok=True)

    def memory(self) -> str:
        """Say how much is kept, and how much of it is in memory at the end."""
        sizes = [self._path(step).stat().st_size for step in self.steps()]
        return (
            f"pooled features of {len(sizes)} steps: {sum(sizes) / 1e6:,.1f} MB on disk, of which "
            f"{2 * max(sizes) / 1e6:,.1f} MB are in memory at once"
        )

    def cka_to_final(self, places: Sequence[Place], kind: str) -> pd.DataFrame:
        """Compare each layer at each step with itself at the last of them."""
        steps = self.steps()
        final = self._load(steps[-1])
        rows = [row for step in steps for row in _compared(step, self._load(step), final, places)]
        table = pd.DataFrame(rows)
        table["kind"], table["metric"], table["unit"] = kind, FinalFeatures.name, "1"
        table["head"], table["std"] = pd.array([pd.NA] * len(table), dtype="Int64"), float("nan")
        return table[list(FINAL_COLUMNS)]

    def _load(self, step: int) -> dict[str, Tensor]:
        found: dict[str, Tensor] = safetensors.torch.load_file(self._path(step))
        return found

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:08}.safetensors"


def _compared(
    step: int, then: Mapping[str, Tensor], final: Mapping[str, Tensor], places: Sequence[Place]
) -> list[dict[str, object]]:
    """Give the CKA of the layers at one step with the same layers at the last."""
    sites = [place.site for place in places]
    stream = CkaFeatures(tuple(f"{when} {site}" for when in ("then", "final") for site in sites))
    both = {f"then {site}": then[site] for site in sites}
    both |= {f"final {site}": final[site] for site in sites}
    stream.add(range(len(then[sites[0]])), both)
    found = stream.cka()
    return [
        {
            "model": place.model, "step": step, "site": place.site, "layer": place.layer,
            "value": found.value[at, at + len(sites)].item(),
            "se": found.se[at, at + len(sites)].item(), "n": found.images, "note": found.note,
        }
        for at, place in enumerate(places)
    ]  # fmt: skip
