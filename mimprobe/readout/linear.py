"""Linear probe: multinomial logistic regression on frozen, standardised features.

What belongs here: fitting it, and choosing its regularisation. What does not: features (`features`)
and probes that are more than linear (`attentive`).

With standardised rows x_i of n images, their classes y_i, weights W, intercepts b and z = W x + b,
the objective with penalty p is

    p / 2 ||W||^2 + 1/n sum_i ( logsumexp(z_i) - z_i[y_i] )

that of scikit-learn's `LogisticRegression` with C = 1 / (p n), divided by C n. A penalty means the
same for few and for many images, so that one chosen on a part of them can be used for all; a C does
not, and at a C that is weak for many images, of few images only the commonest class is ever named.

The objective is convex, and minimised by SciPy's L-BFGS with float32 products and float64 sums over
images.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import one_hot

from mimprobe.errors import OptionError
from mimprobe.shapes import Pooled

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Values that are tried, the strongest first."""

HELD_OUT = 0.2
"""Share of each class on which they are judged."""

PATIENCE = 2
"""After so many values in a row that do no better, weaker ones are not tried."""

TOLERANCE = 1e-5
"""Largest entry of the gradient at the end."""

ROUGH = 1e-4
"""The same while the penalty is chosen, as scikit-learn's default: that takes half the steps."""

MOST_STEPS = 1000


class LinearProbe(NamedTuple):
    """Weights and intercepts for standardised features, what standardises them, and its penalty."""

    weights: Float[Tensor, "label feature"]
    intercepts: Float[Tensor, " label"]
    centre: Float[Tensor, " feature"]
    scale: Float[Tensor, " feature"]
    penalty: float

    def classes(self, features: Pooled) -> Int[Tensor, " image"]:
        """Give the likeliest class of each image."""
        standard = (features - self.centre) / self.scale
        return (standard @ self.weights.T + self.intercepts).argmax(1)


def linear_probe(features: Pooled, labels: Int[Tensor, " image"], *, seed: int) -> LinearProbe:
    """Fit a probe on all images, with the penalty that does best on a share of each class held out.

    The seed draws that share.

    Raises:
        OptionError: fewer than two classes, or no class with two images.
    """
    penalty = chosen_penalty(features, labels, held_out(labels, seed))
    return fitted_probe(features, labels, penalty)


def chosen_penalty(
    features: Pooled, labels: Int[Tensor, " image"], held: Bool[Tensor, " image"]
) -> float:
    """Give the penalty whose probe of the other images does best on those held out.

    Of equally good ones it is the strongest.
    """
    known, asked, truth = features[~held], features[held], labels[held]
    best, accuracy, worse, probe = PENALTIES[0], -1.0, 0, None
    for penalty in PENALTIES:
        probe = fitted_probe(known, labels[~held], penalty, start=probe, tolerance=ROUGH)
        found = (probe.classes(asked) == truth).double().mean().item()
        if found > accuracy:
            best, accuracy, worse = penalty, found, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
    return best


def fitted_probe(
    features: Pooled,
    labels: Int[Tensor, " image"],
    penalty: float,
    *,
    start: LinearProbe | None = None,
    tolerance: float = TOLERANCE,
) -> LinearProbe:
    """Fit a probe with a given penalty, from the weights of an earlier one or from zero.

    Raises:
        OptionError: fewer than two classes, or the penalty is not positive.
    """
    classes = int(labels.max()) + 1
    if classes < 2 or penalty <= 0:
        raise OptionError(
            f"a linear probe of {classes} classes with penalty={penalty:g} cannot be fitted; it "
            "takes two classes at least, and a positive penalty"
        )
    centre, scale = moments(features)
    standard, width = (features - centre) / scale, features.shape[1]
    begin = np.zeros(classes * (width + 1))
    if start is not None and len(start.weights) == classes:
        begin = (
            torch.cat([start.weights, start.intercepts[:, None]], dim=1).double().numpy().ravel()
        )
    objective = _Objective(standard, one_hot(labels, classes).float(), penalty)
    found = minimize(
        objective, begin, jac=True, method="L-BFGS-B",
        options={"gtol": tolerance, "ftol": 0.0, "maxiter": MOST_STEPS},
    ).x.reshape(classes, width + 1)  # fmt: skip
    weights = torch.from_numpy(found).float()
    return LinearProbe(weights[:, :-1].contiguous(), weights[:, -1], centre, scale, penalty)


class _Objective:
    """The objective and its gradient, as SciPy calls them: float64 outside, float32 inside."""

    def __init__(
        self,
        standard: Float[Tensor, "image feature"],
        truth: Float[Tensor, "image label"],
        penalty: float,
    ) -> None:
        self.standard, self.truth = standard, truth
        self.penalty = penalty

    def __call__(self, flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        count, classes = self.truth.shape
        both = torch.from_numpy(flat).view(classes, -1)
        weights = both[:, :-1].float()
        logits = torch.addmm(both[:, -1].float(), self.standard, weights.T)
        log_shares = logits.log_softmax(1)
        loss = -(log_shares * self.truth).sum(dtype=torch.float64) / count
        excess = (log_shares.exp_() - self.truth) / count
        gradient = torch.empty_like(both)
        gradient[:, :-1] = (excess.T @ self.standard).double() + self.penalty * both[:, :-1]
        gradient[:, -1] = excess.sum(0, dtype=torch.float64)
        value = loss + self.penalty / 2 * both[:, :-1].square().sum()
        return value.item(), gradient.numpy().ravel()


def moments(
    features: Pooled,
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """Give mean and standard deviation of each feature; a constant one is only centred."""
    wide = features.double()
    scale = wide.std(0, correction=0)
    return wide.mean(0).float(), torch.where(scale > 0, scale, 1.0).float()


def held_out(labels: Int[Tensor, " image"], seed: int) -> Bool[Tensor, " image"]:
    """Draw a share of the images of each class, at least one where there are two.

    Raises:
        OptionError: no class has two images.
    """
    draw = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        own = (labels == label).nonzero()[:, 0]
        count = max(0, min(max(1, round(HELD_OUT * len(own))), len(own) - 1))
        held[own[torch.randperm(len(own), generator=draw)[:count]]] = True
    if not held.any():
        raise OptionError(
            f"a probe is chosen on images held out, and each of {len(labels)} images is the only "
            "one of its class; show more images"
        )
    return held
