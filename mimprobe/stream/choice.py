"""Which of the two ways to CKA is cheaper, for so many images of such widths."""

from collections.abc import Mapping

from mimprobe.errors import OptionError
from mimprobe.stream.features import BUDGET_BYTES, CkaFeatures
from mimprobe.stream.sums import CkaSums, cka_sums_bytes

CkaStream = CkaFeatures | CkaSums


def choose_cka_stream(
    widths: Mapping[str, int], images: int, *, budget_bytes: int = BUDGET_BYTES
) -> CkaStream:
    """Return an empty accumulator for sites of these widths, in the order of the mapping.

    Features are kept unless there are so many images that sums cost less work, more than
    (sites + 1) * the largest width, and the sums fit the budget. Only kept features give a
    standard error.

    Raises:
        OptionError: there is no site.
    """
    sites = tuple(widths)
    if not sites:
        raise OptionError("CKA needs at least one site")
    many = images > (len(sites) + 1) * max(widths.values())
    if many and cka_sums_bytes(list(widths.values())) <= budget_bytes:
        return CkaSums(sites)
    return CkaFeatures(sites, budget_bytes=budget_bytes)
