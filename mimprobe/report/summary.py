"""What the claims leave untold of the differences between the models, for the top of the page.

What belongs here: which quantities are told, and in which words. What does not: verdicts
(`verdicts`), how a quantity is computed (`mimprobe.claims`), how sentences are built (`sentences`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from markupsafe import Markup

from mimprobe.claims import Evidence
from mimprobe.claims.alikeness import last_layers_alike, layers_alike
from mimprobe.claims.estimates import Estimate, ImageVector, estimate
from mimprobe.claims.evidence import Found
from mimprobe.claims.quantities import (
    Part,
    all_layers,
    end_layers,
    first_half,
    last_three,
    layer_mean,
    mean_spread,
)
from mimprobe.report.losses import Column, loss_columns
from mimprobe.report.sentences import Apart, Looks, change, difference, values_of
from mimprobe.report.wording import amount, named
from mimprobe.tables import LAYER_TESTS, Result


@dataclass(frozen=True)
class Finding:
    """One difference: a few words, sentences with numbers, and the section that shows it."""

    title: str
    text: Markup
    section: str


@dataclass(frozen=True)
class Compared:
    """What the sentences are made from."""

    evidence: Evidence
    looks: Looks
    judged: Collection[str]
    models: Sequence[str]
    trained: Sequence[str]

    def layer_mean(self, metric: str, layers: Part) -> Mapping[str, ImageVector]:
        """Average a metric over some layers, by model and image."""
        return layer_mean(self.evidence.values, self.models, metric, layers)


Told = tuple[list[Finding], list[Column]]

OF_IMAGES = (
    "Intervals of means over images are Student's, and differences are taken image by image."
)
OF_LAYERS = (
    " What is chosen among heads, such as a quartile or the widest spread, has its interval from a "
    "bootstrap over images. The mean CKA of one model uses the mean of its pairs' jackknife "
    "standard errors, an upper bound; the difference of two models is jackknifed by itself."
)
OF_SEEDS = " In those of losses the variance between seeds is added to that between images."


def intervals_told(result: Result) -> str:
    """Say where the intervals of the summary come from."""
    tests = set(result) & set(LAYER_TESTS)
    return OF_IMAGES + (OF_LAYERS if set(result) - tests else "") + (OF_SEEDS if tests else "")


def summarise(result: Result, looks: Looks, judged: Collection[str] = ()) -> Told:
    """Give the findings, and the table of the numbers in them.

    Args:
        result: measured, or read back.
        looks: of the models.
        judged: claims with a verdict on some model; what they tell is not told again.
    """
    entries = result.manifest.get("models", [])
    compared = Compared(
        Evidence(result), looks, judged,
        models=[str(entry["name"]) for entry in entries],
        trained=[str(entry["name"]) for entry in entries if entry.get("kind") != "untrained"],
    )  # fmt: skip
    findings, columns = [], []
    for tell in (_distance, _spread, _kl, _prefix, _alikeness):
        found, shown = tell(compared)
        findings += found
        columns += shown
    return findings, columns + loss_columns(result, compared.models)


def _distance(compared: Compared) -> Told:
    samples = compared.layer_mean("attention_distance", end_layers)
    return _tell(
        compared, *_paired(samples), unit="px", section="attention_distance",
        title="How far heads look",
        where="In the last third of the layers",
        more="heads of {high} look {amount} farther than heads of {low}",
        label="Mean attention distance, last third of layers",
    )  # fmt: skip


def _spread(compared: Compared) -> Told:
    def spread(*models: str) -> Found:
        return compared.evidence.chosen(mean_spread, "attention_entropy", end_layers, *models)

    values = {
        model: found for model in compared.models if isinstance(found := spread(model), Estimate)
    }

    def apart(high: str, low: str) -> Estimate:
        found = spread(high, low)
        assert isinstance(found, Estimate)
        return found

    findings, columns = _tell(
        compared, values, apart, unit="nats", section="attention_entropy",
        title="Focused and broad heads side by side",
        where="In the last third of the layers",
        more="the entropies of a layer's broadest and narrowest head lie {amount} farther apart in "
        "{high} than in {low}",
        label="Spread of head entropies, last third of layers",
    )  # fmt: skip
    return [] if "breadth" in compared.judged else findings, columns


def _prefix(compared: Compared) -> Told:
    shares = compared.layer_mean("prefix_mass", all_layers)
    percent = {model: 100 * sample for model, sample in shares.items()}
    return _tell(
        compared, *_paired(percent), unit="%", section="prefix_mass",
        title="Attention on prefix tokens",
        where="Averaged over layers",
        more="patches of {high} give {amount} of all attention more to class, distillation or "
        "register tokens than patches of {low}",
        label="Attention on prefix tokens, all layers",
    )  # fmt: skip


def _paired(samples: Mapping[str, ImageVector]) -> tuple[Mapping[str, Estimate], Apart]:
    """Give each model's value, and how to subtract two models image by image."""
    values = {model: estimate(sample) for model, sample in samples.items()}
    return values, lambda high, low: estimate(samples[high] - samples[low])


def _tell(
    compared: Compared, values: Mapping[str, Estimate], apart: Apart, *, unit: str, section: str,
    title: str, where: str, more: str, label: str,
) -> Told:  # fmt: skip
    """Tell a quantity that each model has once: the largest difference, then all values."""
    if not values:
        return [], []
    told = difference(
        values, apart, compared.trained, where=where, more=more, unit=unit, looks=compared.looks
    )
    text = Markup("{} {}: {}.").format(told, label, values_of(values, unit, compared.looks))
    return [Finding(title, text.strip(), section)], [Column(label, unit, values)]


def _kl(compared: Compared) -> Told:
    before = compared.layer_mean("head_kl", first_half)
    after = compared.layer_mean("head_kl", last_three)
    columns = [
        Column(label, "nats", {model: estimate(sample) for model, sample in samples.items()})
        for label, samples in (
            ("KL between heads, first half of layers", before),
            ("KL between heads, last three layers", after),
        )
        if samples
    ]
    if not set(before) & set(after) or "diversity" in compared.judged:
        return [], columns
    text = Markup(
        "From the first half of the layers to the last three, the KL between heads of one layer {}."
    ).format(change(before, after, "nats", compared.looks))
    return [Finding("How differently heads look", text, "head_kl")], columns


def _alikeness(compared: Compared) -> Told:
    alike = {
        model: found
        for model in compared.models
        if (found := layers_alike(compared.evidence.cka, model)) is not None
    }
    if not alike:
        return [], []
    label = "Mean CKA of two layers of a model"
    last, columns = _least_alike(compared), [Column(label, "", alike)]
    if "resemblance" in compared.judged:
        return [Finding("How alike the last layers are", last, "cka")] if last else [], columns
    text = Markup("{}: {}. {}").format(label, values_of(alike, "", compared.looks), last)
    return [Finding("How alike layers are", text.strip(), "cka")], columns


def _least_alike(compared: Compared) -> Markup:
    """Name the two models whose last layers are least alike, of the trained ones if possible."""
    looks = compared.looks
    models = compared.trained if len(compared.trained) > 1 else compared.models
    found = {
        pair: value
        for pair in combinations(models, 2)
        if (value := last_layers_alike(compared.evidence.cka, *pair)) is not None
    }
    if not found:
        return Markup()
    one, other = min(found, key=lambda pair: found[pair].value)
    opening = "The last layers that are least alike are those of {} and {}, with {}."
    if len(found) == 1:
        opening = "The last layers of {} and {} have a CKA of {}."
    return Markup(opening).format(
        named(one, looks[one]), named(other, looks[other]), amount(found[one, other], "")
    )
