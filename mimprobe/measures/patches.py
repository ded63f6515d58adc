"""From a network's attention map to rows over the patches of one image.

What belongs here: leaving out what is no patch (prefix tokens, padding), what may not be seen
(shift masks), and folding the windows of an image into its queries. What does not: what the rows
then say (`measures.attention`), and where a model keeps its windows (`models.geometry`).

Policies, where some of a patch's attention falls on prefix tokens or padding:

    renormalise  leave these rows and columns out, divide each row by what is left
    drop         leave them out, divide by nothing; for the distance only, since rows that do not
                 sum to one make a divergence negative
    keep         all tokens; for entropy and divergence only, since a prefix has no position
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.measures.attention import widened
from mimprobe.shapes import Attention, PerHead, ValidKeys, WindowRows

POLICIES = ("renormalise", "drop", "keep")
"""What may be done with prefix tokens and padding."""

METRIC_POLICIES = {
    "attention_distance": ("renormalise", "drop"),
    "attention_entropy": ("renormalise", "keep"),
    "attention_entropy_normalised": ("renormalise", "keep"),
    "attention_nmi": ("renormalise", "keep"),
    "head_kl": ("renormalise", "keep"),
    "prefix_mass": POLICIES,
}
"""Which policies each metric allows."""

LEAST_MASS = 1e-6
"""A row with less mass on patches than this is left out."""


class Marked(NamedTuple):
    """Some keys of the rows inside the image, in those windows that have any of them."""

    windows: Int[Tensor, "hit"]
    keys: Bool[Tensor, "hit place key"]


class Valid(NamedTuple):
    """Which keys count under a policy: for each query, and for each window and place.

    `all` says that every key does; `any_key` which rows have one.
    """

    keys: ValidKeys
    all: bool
    by_window: Bool[Tensor, "window place key"]
    any_key: Bool[Tensor, "window place"]


@dataclass(frozen=True)
class Windows:
    """The windows of one image: their queries one window after the other, keys within the window.

    `padding` says which keys lie outside the image, `masked` which ones the shift mask hides. What
    follows from them is worked out once: the windows of a layer are the same for every batch.
    """

    padding: ValidKeys
    masked: ValidKeys

    @property
    def count(self) -> int:
        """Windows of one image."""
        return len(self.padding) // self.padding.shape[1]

    @cached_property
    def inside(self) -> Bool[Tensor, "query"]:
        """Queries inside the image; each is also a key, at the same place of its window."""
        return ~self.by_window(self.padding).diagonal(dim1=1, dim2=2).flatten()

    @cached_property
    def queries(self) -> int:
        """Count the queries inside the image."""
        return int(self.inside.sum())

    @cached_property
    def marked_padding(self) -> Marked | None:
        """Keys of padding; None where there are none."""
        return self._marked(self.padding)

    @cached_property
    def marked_masked(self) -> Marked | None:
        """Keys that the shift mask hides; None where there are none."""
        return self._marked(self.masked)

    @cached_property
    def valid_tokens(self) -> Valid:
        """All that is not masked, padding included."""
        return self._valid(~self.masked)

    @cached_property
    def valid_patches(self) -> Valid:
        """Patches that are not masked, in the rows of patches."""
        return self._valid(~self.masked & ~self.padding & self.inside.unsqueeze(-1))

    def by_window(self, keys: ValidKeys) -> Bool[Tensor, "window place key"]:
        """Unfold the queries into windows and places within the window."""
        return torch.unflatten(keys, 0, (self.count, -1))

    def _marked(self, keys: ValidKeys) -> Marked | None:
        here = self.by_window(keys & self.inside.unsqueeze(-1))
        hit = here.flatten(1).any(-1).nonzero().squeeze(-1)
        return Marked(hit, here[hit]) if len(hit) else None

    def _valid(self, keys: ValidKeys) -> Valid:
        by_window = self.by_window(keys)
        return Valid(keys, bool(keys.all()), by_window, by_window.any(-1))


@dataclass(frozen=True)
class PatchRows:
    """Attention from patches to patches, and what was left out on the way.

    `attention` has one row per patch, zero where the row was left out. The masses are those of the
    network's own map, means over the patches' rows (`masked_mass`: the largest row's), None where
    there is no such key. `dropped_rows` counts patches whose row held almost nothing but prefix or
    padding. `valid_keys` says what each row could attend to, None for everything. `finite` is
    False where a patch's row holds NaN or infinity, which also runs through the measures.
    """

    attention: Attention
    prefix_mass: PerHead | None
    padding_mass: PerHead | None
    masked_mass: PerHead | None
    dropped_rows: Int[Tensor, "batch head"]
    valid_keys: ValidKeys | None
    finite: Bool[Tensor, "batch head"]


def check_policy(metric: str, policy: str) -> None:
    """Refuse a policy that is unknown, or meaningless for this metric.

    Raises:
        UnknownNameError: no such metric or policy.
        OptionError: the metric cannot be read under this policy.
    """
    if metric not in METRIC_POLICIES:
        raise UnknownNameError("attention metric", metric, METRIC_POLICIES)
    if policy not in POLICIES:
        raise UnknownNameError("prefix policy", policy, POLICIES)
    if policy not in METRIC_POLICIES[metric]:
        allowed = " or ".join(repr(name) for name in METRIC_POLICIES[metric])
        raise OptionError(f"{metric} cannot be taken with prefix={policy!r}; use {allowed}")


def patch_rows(
    attention: Attention,
    prefix_tokens: int = 0,
    *,
    prefix: str = "renormalise",
    windows: Windows | None = None,
) -> PatchRows:
    """Leave out of an attention map what is no patch, and fold windows into queries.

    Without `windows`, the first `prefix_tokens` queries and keys are no patches. With them,
    `attention` is (images * windows, head, place, place) and comes back as (images, head,
    windows * place, place); masked keys are zeroed under every policy, rows of padding are zero
    unless kept. The result is at least float32; under `keep` it may be the input itself.

    Raises:
        UnknownNameError: no such policy.
        OptionError: the map does not have these prefix tokens or windows.
    """
    if prefix not in POLICIES:
        raise UnknownNameError("prefix policy", prefix, POLICIES)
    attention = widened(attention)
    if windows is None:
        return _token_rows(attention, prefix_tokens, prefix)
    if prefix_tokens:
        raise OptionError(
            f"windows hold patches only, but {prefix_tokens} prefix tokens were given"
        )
    return _window_rows(attention, windows, prefix)


def _token_rows(attention: Attention, prefix_tokens: int, prefix: str) -> PatchRows:
    if not 0 <= prefix_tokens < min(attention.shape[-2:]):
        queries, keys = attention.shape[-2:]
        raise OptionError(f"{prefix_tokens} prefix tokens in a map of {queries} x {keys} tokens")
    mass = None
    if prefix_tokens:
        on_prefix = attention[:, :, prefix_tokens:, :prefix_tokens].sum(-1)
        mass = on_prefix.double().mean(-1)
    if prefix == "keep":
        finite = attention.sum(-1).isfinite().all(-1)
        return PatchRows(attention, mass, None, None, _none_dropped(finite), None, finite)
    rows, left = _divided(attention[:, :, prefix_tokens:, prefix_tokens:], prefix)
    finite = left.isfinite().all(-1)
    if mass is not None:
        finite &= mass.isfinite()
    return PatchRows(rows, mass, None, None, (left < LEAST_MASS).sum(-1), None, finite)


def _window_rows(attention: Attention, windows: Windows, prefix: str) -> PatchRows:
    folded = _folded(attention, windows)  # [b, h, w, place, key]
    padding = _mass_on(folded, windows.marked_padding)
    masked = _mass_on(folded, windows.marked_masked)
    valid = windows.valid_tokens if prefix == "keep" else windows.valid_patches
    divided, left = _divided(folded if valid.all else folded * valid.by_window, prefix)
    dropped = (left < LEAST_MASS) & valid.any_key
    return PatchRows(
        divided.flatten(2, 3),
        None,
        None if padding is None else padding.sum(-1) / windows.queries,
        None if masked is None else masked.amax(-1),
        dropped.sum((-2, -1)),
        valid.keys,
        left.isfinite().all((-2, -1)),
    )


def _divided(
    kept: Float[Tensor, "*rows key"], prefix: str
) -> tuple[Float[Tensor, "*rows key"], Float[Tensor, "*rows"]]:
    """Divide rows by their mass, and tell it; rows with almost none become zero.

    One pass, which also lays out the result in the order of its axes.
    """
    left = kept.sum(-1)
    divisor = torch.ones_like(left) if prefix == "drop" else left
    divisor = divisor.masked_fill(left < LEAST_MASS, math.inf).unsqueeze(-1)
    rows = torch.empty_like(kept, memory_format=torch.contiguous_format)
    return torch.div(kept, divisor, out=rows), left


def _folded(attention: Attention, windows: Windows) -> WindowRows:
    """View (images * windows, head, place, key) as (images, head, window, place, key).

    Raises:
        OptionError: these are not whole images.
    """
    found, _, queries, keys = attention.shape
    count, places = windows.count, windows.padding.shape[1]
    if found % count or queries != places or keys != places:
        raise OptionError(
            f"{found} windows of {queries} x {keys} tokens are no whole images of {count} windows"
            f" of {places}"
        )
    return torch.unflatten(attention, 0, (-1, count)).transpose(1, 2)


def _mass_on(
    folded: WindowRows, marked: Marked | None
) -> Float64[Tensor, "image head seen"] | None:
    """Mass of every row inside the image on these keys, in the windows that have any."""
    if marked is None:
        return None
    return (folded[:, :, marked.windows] * marked.keys).sum(-1).flatten(2).double()


def _none_dropped(finite: Bool[Tensor, "batch head"]) -> Int[Tensor, "batch head"]:
    return torch.zeros_like(finite, dtype=torch.long)
