"""Which of the two ways to CKA is cheaper, for so many images of such widths."""

from collections.abc import Mapping

from mimprobe.errors import OptionError
from mimprobe.stream.features import BUDGET_BYTES, CkaFeatures
from mimprobe.stream.sums import CkaSums, cka_sums_bytes

CkaStream = CkaFeatures | CkaSums


CHEAP_PRODUCTS = 1e12
"""Multiplications for all Gram matrices that a standard error is always worth: a minute or so on
two cores in float64."""


def choose_cka_stream(
    widths: Mapping[str, int], images: int, *, budget_bytes: int = BUDGET_BYTES
) -> CkaStream:
    """Return an empty accumulator for sites of these widths, in the order of the mapping.

    Kept features give a standard error, sums do not. Features are kept as long as their Gram
    matrices are cheap (`CHEAP_PRODUCTS`); beyond that only until sums cost less work, from
    (sites + 1) * the largest width images on, if the sums fit the budget.

    Raises:
        OptionError: there is no site.
    """
    sites = tuple(widths)
    if not sites:
        raise OptionError("CKA needs at least one site")
    cheap = images**2 / 2 * sum(widths.values()) <= CHEAP_PRODUCTS
    many = images > (len(sites) + 1) * max(widths.values())
    if many and not cheap and cka_sums_bytes(list(widths.values())) <= budget_bytes:
        return CkaSums(sites)
    return CkaFeatures(sites, budget_bytes=budget_bytes)
