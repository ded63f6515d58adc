"""MIM layers resemble each other (Xie et al., arXiv 2205.13543, section 3.1).

The mean CKA between two different layers is larger than the supervised model's.
"""

from collections.abc import Iterator

from mimprobe.claims.alikeness import layers_more_alike
from mimprobe.claims.evidence import Evidence
from mimprobe.claims.verdicts import Claim, Question, Verdict

CLAIM = Claim("resemblance", "MIM layers resemble each other", "cka", attention=False)

MORE_ALIKE = Question(
    quantity="mean CKA of two layers, less the other model's",
    unit="1",
    wanted="above",
    above="the mean CKA of two layers is {amount} larger in {first} than in {second}",
    below="the mean CKA of two layers is {amount} smaller in {first} than in {second}",
    unclear="the mean CKA of two layers of {first} and of {second} cannot be told apart: {amount}",
)


def judge(evidence: Evidence) -> Iterator[Verdict]:
    """Judge every MIM model against every supervised one."""

    def pair(mim: str, supervised: str) -> Verdict:
        found = layers_more_alike(evidence.cka, mim, supervised, evidence.cka_groups)
        return CLAIM.judged((mim, supervised), CLAIM.part((mim, supervised), MORE_ALIKE, found))

    return evidence.pairs(CLAIM, pair)
