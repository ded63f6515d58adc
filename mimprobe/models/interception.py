"""Attention probabilities of networks that never compute them, or that round them off.

What belongs here: what happens inside the forward pass of an observed attention module. What does
not: which modules those are (the families), and what is done with a map (`hooks`).

*Fused.* `scaled_dot_product_attention` gives the weighted values and no probabilities. While an
observed module runs, torch shows each of its calls to a `TorchFunctionMode`. Out of those of the
fused function the probabilities are computed once more,

    A = softmax(scale q k^T + mask)         in float32 or better,

and then the very same call gives the module's output, so the network computes what it always does,
bit for bit. `nn.MultiheadAttention` in evaluation mode would go round the fused function by a
kernel of its own; it takes the ordinary way while a mode is on, which rounds differently.

*Half precision.* A softmax rounded to bfloat16 has three digits, and so have logits that a product
is rounded to. So the fused call is watched wherever a network has one; where it has none, its steps
from queries and keys on are taken in float32, and the probabilities are rounded only behind the
tap, for their product with the values.

Torch keeps a stack of modes for each thread, and nothing global is patched: contexts nest, other
networks in other threads go unseen, and a network that imported the fused function by name is
observed too. (One network in two threads at once is not for hooks at all: they share the sizes of a
pass.) What does not call torch's function (compiled and scripted modules, kernels of other
packages) is not seen, and its site stays silent (`errors.SilentSiteError`).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mimprobe.errors import SiteError
from mimprobe.models.sites import Site
from mimprobe.models.switches import Switch, switched
from mimprobe.shapes import HeadTokens, PairMask

HALF = (torch.float16, torch.bfloat16)

Show = Callable[[Tensor], None]
"""What is called with the probabilities, inside the pass."""

_FUSED = F.scaled_dot_product_attention
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__}
_STEPS = {F.normalize, Tensor.exp, torch.sigmoid}
"""What SwinV2 does to queries and keys, the logarithm of its scale, and its bias."""


@contextmanager
def watched(site: Site, show: Show) -> Iterator[None]:
    """Show the attention probabilities of a site, in each pass, in float32 or better.

    Raises:
        SiteError: in the pass, if the module makes two fused calls, or attends to other tokens
            than its own.
    """
    tap = site.attention
    assert tap is not None
    with ExitStack() as stack:
        if tap.module is not None:
            hook = tap.module.register_forward_pre_hook(lambda _, inputs: show(inputs[0]))
            stack.enter_context(hook)
        if tap.maker is not None:
            forward = _watched_forward(site, tap.maker.forward, show)
            stack.enter_context(switched(Switch(tap.maker, "forward", forward)))
        yield


def attention_probabilities(
    query: HeadTokens,
    key: HeadTokens,
    mask: PairMask | None = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
) -> Float[Tensor, "*batch head query key"]:
    """Probabilities of a fused call: softmax over keys of scale q k^T + mask, as torch defines it.

    In float32 or better also where queries and keys are in half precision, under autocast too. A
    row without any key that takes part is zero. Fewer heads of keys than of queries are groups:
    with H heads of queries and G of keys, head h has the keys of head h G / H, rounded down.

    Args:
        query: queries.
        key: keys, of the same tokens.
        mask: boolean or additive.
        scale: 1 / sqrt(channels) by default.
        is_causal: whether a token sees itself and those before it only.
    """
    with torch.autocast(query.device.type, enabled=False):
        query, key = _at_least_float32(query), _at_least_float32(key)
        groups = query.shape[-3] // key.shape[-3]
        if groups > 1:
            key = key.repeat_interleave(groups, dim=-3)
        logits = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.mT
        if is_causal:
            mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        if mask is None:
            return logits.softmax(-1)
        logits = _masked(logits, mask)
        # softmax of a row of -inf is NaN; the fused call takes it for a row of zeros.
        return logits.softmax(-1).masked_fill(logits.amax(-1, keepdim=True) == -math.inf, 0.0)


def _masked(logits: Tensor, mask: PairMask) -> Tensor:
    if mask.dtype == torch.bool:
        return logits.masked_fill(~mask, -math.inf)
    return logits + mask


def _watched_forward(site: Site, inner: Callable[..., Any], show: Show) -> Callable[..., Any]:
    tap = site.attention
    assert tap is not None

    def forward(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            half = _in_half_precision([*args, *kwargs.values()])
            for switch in tap.in_half if half else tap.in_float32:
                stack.enter_context(switched(switch))
            if half or tap.module is None:
                in_the_open = tap.module is not None and not tap.in_half
                stack.enter_context(_Watch(site, show, widens=half and in_the_open))
            return inner(*args, **kwargs)

    return forward


class _Watch(TorchFunctionMode):
    """Sees the calls of torch in one pass of one attention module."""

    def __init__(self, site: Site, show: Show, *, widens: bool) -> None:
        super().__init__()
        self.site, self.show, self.widens = site, show, widens
        self.seen = False

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:  # torch leaves the mode for the time of this call
                return _always_inside(func)(*args, **kwargs)
        if func is _FUSED:
            self.see(*args, **kwargs)
        elif self.widens and func in _PRODUCTS:
            return _product(func, *args)
        elif self.widens and func in _STEPS:
            return func(_at_least_float32(args[0]), *args[1:], **kwargs)
        return func(*args, **kwargs)

    @torch.no_grad()
    def see(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,  # noqa: ARG002
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,  # noqa: ARG002
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,  # noqa: ARG002
    ) -> None:
        """Compute and show the probabilities; the arguments are those of the fused function."""
        if self.seen:
            raise SiteError(
                f"site {self.site.name!r} has two fused attention calls in one pass of its "
                f"{type(self.site.block).__name__}, and one map cannot stand for both; leave the "
                "site out"
            )
        if query.shape[-2] != key.shape[-2]:
            raise SiteError(
                f"site {self.site.name!r} has {query.shape[-2]} queries and {key.shape[-2]} keys: "
                "that is attention to other tokens than the block's own, whose places in the image "
                "are not known; leave the site out"
            )
        self.seen = True
        self.show(attention_probabilities(query, key, attn_mask, scale=scale, is_causal=is_causal))


def _product(product: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    """Multiply queries by keys in float32, probabilities by values in the values' precision."""
    if right.dtype in HALF and left.dtype not in HALF:
        return product(left.to(right.dtype), right)
    with torch.autocast(left.device.type, enabled=False):
        return product(_at_least_float32(left), _at_least_float32(right))


def _always_inside(function: Any) -> Callable[..., Any]:
    """Copy a function of torch that would hand itself to the mode again and again.

    Torch's composite functions ask first whether a mode wants them whole, in which case what they
    call is not seen. The copy is told that none does, and all that it calls is seen.
    """
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    return FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )


def _in_half_precision(inputs: Iterable[Any]) -> bool:
    """Tell whether a module that is called with these computes in half precision."""
    return any(
        value.dtype in HALF or torch.is_autocast_enabled(value.device.type)
        for value in inputs
        if isinstance(value, Tensor)
    )


def _at_least_float32(values: Tensor) -> Tensor:
    """Raise half precision to float32; gradients flow."""
    return values.float() if values.dtype in HALF else values
