"""Numbers, names and lists as text.

What belongs here: how many digits, which minus sign, how names are marked and joined. What does
not: which numbers are told (`summary`, `facts`).
"""

import math
import re
from collections.abc import Sequence

from markupsafe import Markup

from mimprobe.claims.estimates import Estimate
from mimprobe.figures import Style

MOST_DECIMALS = 6

LARGE = math.log10(1.95)
"""Below this, whatever its power of ten, a half of an interval has two digits."""


def decimals(estimate: Estimate, least: int = 0) -> int:
    """Choose the decimals: as far as the interval's half reaches, or three digits of the value.

    A half that begins with 1 has two digits: 0.011 written as 0.01 would be a tenth off.
    """
    if math.isfinite(estimate.reach) and estimate.reach > 0:
        wanted = math.ceil(LARGE - math.log10(estimate.reach))
    elif math.isfinite(estimate.value) and estimate.value != 0:
        wanted = 2 - math.floor(math.log10(abs(estimate.value)))
    else:
        wanted = 2
    return min(max(wanted, least), MOST_DECIMALS)


def number(value: float, places: int, *, signed: bool = False) -> str:
    """Write a number with a true minus sign, and with a plus sign if asked for."""
    if not math.isfinite(value):
        return "no value"
    text = f"{value:{'+' if signed else ''},.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def value_of(estimate: Estimate, *, signed: bool = False, least: int = 0) -> str:
    """Write the value, with as many digits as its interval has."""
    return number(estimate.value, decimals(estimate, least), signed=signed)


def interval(estimate: Estimate, *, signed: bool = False, least: int = 0) -> str:
    """Write the interval; empty where there is none."""
    if not math.isfinite(estimate.reach):
        return ""
    places = decimals(estimate, least)
    low = number(estimate.low, places, signed=signed)
    return f"{low} to {number(estimate.high, places, signed=signed)}"


def amount(estimate: Estimate, unit: str, *, signed: bool = False, least: int = 0) -> Markup:
    """Write value, unit, and the interval in brackets, to `least` decimals at least."""
    value = value_of(estimate, signed=signed, least=least)
    within = interval(estimate, signed=signed, least=least)
    bracket = Markup(' <span class="interval">({})</span>').format(within) if within else ""
    return Markup("{}{}{}").format(value, f"\N{NO-BREAK SPACE}{unit}" if unit else "", bracket)


def breakable(name: str) -> Markup:
    """Allow a line to break after the separators of a name."""
    return Markup("<wbr>").join(re.split(r"(?<=[._:/])(?=[^._:/])", name))


def named(model: str, look: Style) -> Markup:
    """Write a model's name with its colour before it."""
    return Markup('<span class="model" style="--mark:{}">{}</span>').format(
        look.color, breakable(model)
    )


def listed(parts: Sequence[str]) -> Markup:
    """Join parts with commas and a last 'and'; escapes what is not markup."""
    if len(parts) < 2:
        return Markup().join(parts)
    return Markup("{} and {}").format(Markup(", ").join(parts[:-1]), parts[-1])


def counted(count: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
