"""A result as a claim sees it: models by kind, and their values.

What belongs here: finding models and numbers in a result, and saying what is missing.
"""

from collections.abc import Callable, Iterator

import pandas as pd

from mimprobe.claims.estimates import Estimate, estimate
from mimprobe.claims.intervals import Quantity, bootstrap
from mimprobe.claims.quantities import Part, heads_by_layer, layer_mean
from mimprobe.claims.verdicts import Claim, Verdict
from mimprobe.tables import LAYER_TESTS, PAIR_COLUMNS, Result

Found = Estimate | str
"""An estimate, or why there is none."""

NAMES = {"mim": "MIM", "supervised": "supervised", "contrastive": "contrastive"}
"""Kinds of training that claims speak of, as sentences call them."""


class Evidence:
    """Models and values of one result."""

    def __init__(self, result: Result) -> None:
        """Look at a result, measured or read back."""
        self.values = result.per_image
        self.seed = int(result.manifest.get("seed") or 0)
        self.cka = result["cka"] if "cka" in result else pd.DataFrame(columns=list(PAIR_COLUMNS))
        self.cka_groups = result.manifest.get("analyzers", {}).get("cka", {}).get("alike", {})
        self.layer_tests = {name: result[name] for name in LAYER_TESTS if name in result}
        described = result.manifest.get("analyzers", {})
        self.chance = {name: described.get(name, {}).get("chance") for name in self.layer_tests}
        self._read = {name: described.get(name, {}).get("layer") for name in self.layer_tests}
        models = result.manifest.get("models", [])
        self._depths = {str(model["name"]): model.get("layers") for model in models}
        self._kinds = {str(model["name"]): str(model.get("kind", "other")) for model in models}
        self._blind = {str(model["name"]) for model in models if not model.get("attention", True)}

    def models(self, claim: Claim, *kinds: str) -> list[str]:
        """List the models trained in one of these ways, in the result's order.

        Models without attention are none that a claim about attention could be judged on.
        """
        return [
            model for model, kind in self._kinds.items()
            if kind in kinds and not (claim.attention and model in self._blind)
        ]  # fmt: skip

    def inner_layer(self, table: str, model: str) -> int | None:
        """Give the layer, from 0, behind which a layer test read a model out; None at its end."""
        layer, depth = self._read[table], self._depths.get(model)
        return None if layer is None or depth is None or layer + 1 >= depth else int(layer)

    def kind(self, model: str) -> str:
        """Say how a model was trained."""
        return self._kinds[model]

    def pairs(self, claim: Claim, judge: Callable[[str, str], Verdict]) -> Iterator[Verdict]:
        """Judge every MIM model against every supervised one, or say which kind is missing."""
        mim, supervised = self.models(claim, "mim"), self.models(claim, "supervised")
        lacking = [
            NAMES[kind] for kind, found in (("mim", mim), ("supervised", supervised)) if not found
        ]
        if lacking:
            yield claim.missing(
                f"no {' and no '.join(lacking)} {claim.subject} is among those compared"
            )
        for one in mim:
            for other in supervised if not lacking else ():
                yield judge(one, other)

    def chosen(self, quantity: Quantity, metric: str, layers: Part, *models: str) -> Found:
        """Bootstrap what is chosen among heads: of one model, or of the first less the second."""
        heads = [heads_by_layer(self.values, model, metric, layers) for model in models]
        lacking = [model for model, found in zip(models, heads, strict=True) if not found]
        if lacking:
            have = "has" if len(lacking) == 1 else "have"
            return f"{' and '.join(lacking)} {have} no {metric} in this result"
        return bootstrap(quantity, *heads, seed=self.seed)

    def change(self, metric: str, before: Part, after: Part, model: str) -> Found:
        """Estimate the mean over some layers less that over others, image by image."""
        first = layer_mean(self.values, [model], metric, before)
        then = layer_mean(self.values, [model], metric, after)
        if model not in first:
            return f"{model} has no {metric} in this result"
        if model not in then:
            return f"{model} has too few layers"
        return estimate(then[model] - first[model])
