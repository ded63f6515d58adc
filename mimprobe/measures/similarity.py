"""How alike two representations of the same images are: linear CKA with unbiased HSIC.

What belongs here: HSIC and CKA from features, from Gram matrices and from sums. What does not:
collecting features or sums over batches, and standard errors (`stream`).

Notation: x_i and y_i are the features of image i, K_ij = x_i . x_j and L_ij = y_i . y_j for i != j
with zeros on the diagonal, and HSIC is the estimator HSIC_1 of Song et al. (JMLR 2012), which is
unbiased: about 0 for independent features of any width, and therefore sometimes negative. It is
never clamped. The biased form reads 0.92 for noise at 64 images and 768 features.

    HSIC_1 = [tr(KL) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3))
    CKA    = HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L))

(Nguyen, Raghu, Kornblith, ICLR 2021, equations 2 and 3.) Both do not change when a constant vector
is added to all x_i, so a constant is subtracted before any product, and all products are float64:
otherwise a large common part of the features eats every digit.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.shapes import Pooled

LEAST_IMAGES = 4
"""HSIC_1 divides by n - 3."""


def hsic(
    x_gram: Float[Tensor, "image image"], y_gram: Float[Tensor, "other other"]
) -> Float64[Tensor, ""]:
    """Unbiased HSIC of two symmetric Gram matrices of the same images; diagonals are not used.

    The matrices are U-centred first (Székely and Rizzo, Annals of Statistics 2014, section 3):
    their product is HSIC_1 without the cancellation of its three terms.

    Raises:
        OptionError: fewer than 4 images, or matrices of different sizes.
    """
    n = _same_images(len(x_gram), len(y_gram))
    return (u_centred(x_gram) * u_centred(y_gram)).sum() / (n * (n - 3))


def linear_cka(x: Pooled, y: Float[Tensor, "other other_feature"]) -> Float64[Tensor, ""]:
    """Linear CKA of two sets of features of the same images, of any two widths.

    1 for features equal up to rotation, scale and shift; about 0 for independent ones; NaN when
    one of them is the same for all images, which then has no similarity to anything.

    Raises:
        OptionError: fewer than 4 images, or different numbers of them.
    """
    n = _same_images(len(x), len(y))
    x, y = x.detach().double() - row_constant(x), y.detach().double() - row_constant(y)
    widths = x.shape[1], y.shape[1]
    if n * sum(widths) <= widths[0] ** 2 + widths[1] ** 2 + widths[0] * widths[1]:
        x_centred, y_centred = u_centred(x @ x.T), u_centred(y @ y.T)
        pairs = [(x_centred, y_centred), (x_centred, x_centred), (y_centred, y_centred)]
        both, own_x, own_y = (torch.sum(a * b) for a, b in pairs)
    else:
        both, own_x, own_y = (_hsic_of_features(a, b) for a, b in ((x, y), (x, x), (y, y)))
    return both / (own_x.sqrt() * own_y.sqrt())


def hsic_from_totals(
    n: int,
    trace: Float64[Tensor, "*pairs"],
    x_total: Float64[Tensor, "*#pairs"],
    y_total: Float64[Tensor, "*#pairs"],
    middle: Float64[Tensor, "*pairs"],
) -> Float64[Tensor, "*pairs"]:
    """HSIC_1 from tr(KL), 1'K1, 1'L1 and 1'KL1, for any number of pairs at once.

    Raises:
        OptionError: fewer than 4 images.
    """
    require_images(n)
    product = x_total * y_total / ((n - 1) * (n - 2))
    return (trace + product - 2 / (n - 2) * middle) / (n * (n - 3))


def cka_from_hsic(values: Float64[Tensor, "site site"]) -> Float64[Tensor, "site site"]:
    """CKA of every pair, given HSIC of every pair; NaN where a site's own HSIC is not positive."""
    own = values.diagonal().sqrt()
    return values / torch.outer(own, own)


def row_constant(features: Pooled) -> Float64[Tensor, "feature"]:
    """Mean feature, taken from differences to the first image.

    So features that are the same for all images become exactly zero without it, and not noise.
    """
    wide = features.detach().double()
    return wide[0] + (wide - wide[0]).mean(0)


def _hsic_of_features(
    x: Float64[Tensor, "image feature"], y: Float64[Tensor, "image other_feature"]
) -> Float64[Tensor, ""]:
    """HSIC_1 by the cross product x'y (C below), without any matrix of n x n.

    With k_i = x_i.x_i, m_i = y_i.y_i, s the sum of x, t the sum of y: tr(KL) = |C|^2 - k.m,
    1'K1 = s.s - sum k_i, 1'KL1 = s'Ct - s.sum m_i x_i - t.sum k_i y_i + k.m.
    """
    cross = x.T @ y
    k, m = x.square().sum(1), y.square().sum(1)
    s, t = x.sum(0), y.sum(0)
    return hsic_from_totals(
        len(x),
        cross.square().sum() - k @ m,
        s @ s - k.sum(),
        t @ t - m.sum(),
        s @ cross @ t - s @ (m @ x) - t @ (k @ y) + k @ m,
    )


def u_centred(gram: Float[Tensor, "image image"]) -> Float64[Tensor, "image image"]:
    """Subtract row and column means such that every row sums to zero off the diagonal."""
    n = len(gram)
    wide = gram.detach().double().clone()
    wide.fill_diagonal_(0.0)
    rows = wide.sum(1) / (n - 2)
    wide -= rows.unsqueeze(0)
    wide -= rows.unsqueeze(1)
    wide += rows.sum() / (n - 1)
    return wide.fill_diagonal_(0.0)


def _same_images(n: int, other: int) -> int:
    if n != other:
        raise OptionError(f"features of {n} and of {other} images; both must be of the same images")
    require_images(n)
    return n


def require_images(n: int) -> None:
    """Refuse what HSIC_1 cannot be estimated from.

    Raises:
        OptionError: fewer than 4 images.
    """
    if n < LEAST_IMAGES:
        raise OptionError(f"CKA needs at least {LEAST_IMAGES} images, got {n}")
