"""Sentences about one quantity of several models.

What belongs here: wording that holds for one model or for many. What does not: which quantities are
told (`summary`).

No sentence judges a way of training: each is about these checkpoints on these images.
"""

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from mimprobe.claims.estimates import Estimate, ImageVector, estimate
from mimprobe.figures import Style
from mimprobe.report.wording import amount, listed, named, value_of

MOST_LISTED = 4
"""Most models whose numbers a sentence lists; of more it names the extremes."""

Looks = Mapping[str, Style]

Apart = Callable[[str, str], Estimate]
"""The value of one model less that of another."""


def values_of(values: Mapping[str, Estimate], unit: str, looks: Looks) -> Markup:
    """List each model's value, or the smallest and the largest if there are many."""
    told = {
        model: Markup("{} {}").format(named(model, looks[model]), amount(value, unit))
        for model, value in values.items()
    }
    if len(told) <= MOST_LISTED:
        return listed(list(told.values()))
    low, high = extremes({model: value.value for model, value in values.items()})
    return Markup("from {} to {}").format(told[low], told[high])


def difference(
    values: Mapping[str, Estimate], apart: Apart, trained: Sequence[str], *, where: str, more: str,
    unit: str, looks: Looks,
) -> Markup:  # fmt: skip
    """Say how far apart the two models are that differ most, of the trained ones if there are two.

    Args:
        values: by model.
        apart: gives the difference of two models, paired by image.
        trained: the models that are not untrained controls.
        where: which part of the networks this is about; begins the sentence.
        more: the claim, with {high}, {low} and {amount} in it.
        unit: of the difference.
        looks: of the models.

    Returns:
        A sentence; empty if there is only one model.
    """
    compared = {model: values[model].value for model in trained if model in values}
    among = f"the largest difference among the {len(compared)} trained models"
    if len(compared) < 2:
        compared = {model: value.value for model, value in values.items()}
        among = f"the largest difference among the {len(compared)} models"
    if len(compared) < 2:
        return Markup()
    low, high = extremes(compared)
    found = apart(high, low)
    names = {"high": named(high, looks[high]), "low": named(low, looks[low])}
    sure = found.low > 0 or found.high < 0
    claim = Markup(more if sure else "{high} and {low} cannot be told apart: {amount}").format(
        high=names["high"], low=names["low"], amount=amount(found, unit, signed=not sure)
    )
    return Markup("{}, {}{}.").format(where, claim, f", {among}" if len(compared) > 2 else "")


def change(
    before: Mapping[str, ImageVector], after: Mapping[str, ImageVector], unit: str, looks: Looks
) -> Markup:
    """Say how each model's value goes from one part of the network to another, verb first."""
    changes = {model: estimate(after[model] - before[model]) for model in before if model in after}
    if len(changes) > MOST_LISTED:
        return _directions(changes, looks)
    told = [
        Markup("by {} in {} (from {} to {})").format(
            amount(found, unit, signed=True),
            named(model, looks[model]),
            value_of(Estimate(estimate(before[model]).value)),
            value_of(Estimate(estimate(after[model]).value)),
        )
        for model, found in changes.items()
    ]
    return Markup("changes {}").format(listed(told))


def _directions(changes: Mapping[str, Estimate], looks: Looks) -> Markup:
    """Say in which models a value rises, falls, or does neither for sure."""
    groups: dict[str, list[Markup]] = {}
    for model, found in sorted(changes.items(), key=lambda item: -item[1].value):
        way = "stays within its interval in"
        if found.low > 0 or found.high < 0:
            way = "rises in" if found.value > 0 else "falls in"
        groups.setdefault(way, []).append(named(model, looks[model]))
    return listed([Markup("{} {}").format(way, listed(models)) for way, models in groups.items()])


def extremes(values: Mapping[str, float]) -> tuple[str, str]:
    """Name the models with the smallest and the largest value."""
    ordered = sorted(values, key=lambda model: values[model])
    return ordered[0], ordered[-1]
