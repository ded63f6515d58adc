"""The glossary of axes: every tensor shape that has a name.

What belongs here: type aliases for shapes, with their axis names. What does not: functions.

    batch    images of one batch             image    images of a whole data set
    head     attention heads of one layer    other    the second head of an ordered pair
    query    rows of an attention map        key      columns of an attention map
    token    prefix tokens, then patches     channel  width of a token
    feature  width of one pooled vector      group    jackknife groups of images
    ring     distances from the query        row_offset, column_offset   of key less query, patches
    row      of a map, kernel or image       column   of a map, kernel or image
    target_row, target_column   of what a masked-image model predicts
    output   numbers that a head predicts for one place: colours or logits
    cluster  groups of similar colours
"""

from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

Attention = Float[Tensor, "batch head query key"]
"""Probabilities: every row over `key` sums to one, or is zero where it was left out."""

HeadTokens = Float[Tensor, "*batch _ token channel"]
"""Queries, keys or values of one attention module, by head; keys may have fewer heads."""

PairMask = Bool[Tensor, "... #query key"] | Float[Tensor, "... #query key"]
"""True for pairs that take part, or a number to add to their logits; broadcast over all else."""

Distances = Float[Tensor, "query key"]
"""Distance between patch centres, in pixels of the network's input."""

PerHead = Float[Tensor, "batch head"]
"""One number for each image and head."""

HeadPairs = Float[Tensor, "batch head other"]
"""One number for each image and ordered pair of heads."""

OffsetMaps = Float64[Tensor, "batch head row_offset column_offset"]
"""One number for each image, head and offset of key less query; the query is in the middle."""

RowPairs = Float[Tensor, "batch query head other"]
"""One number for each image, query and ordered pair of heads."""

RowSums = Float[Tensor, "batch head query"]
"""One number for each image, head and query."""

WindowRows = Float[Tensor, "image head window place key"]
"""Probabilities within windows, before the windows are folded into queries."""

Tokens = Float[Tensor, "batch token channel"]
"""What a block hands to the next one, windows and maps flattened row by row."""

Pooled = Float[Tensor, "image feature"]
"""One vector for each image."""

PerImage = Float[Tensor, "batch"]
"""One number for each image."""

Images = Float[Tensor, "batch rgb height width"]
"""Preprocessed images, as a network takes them."""

FeatureMap = Float[Tensor, "batch channel row column"]
"""Features of a network's last layer at their places, without prefix tokens."""

Predictions = Float[Tensor, "batch output target_row target_column"]
"""What a head says of every pixel of the target, at the target's resolution."""

PixelErrors = Float[Tensor, "batch target_row target_column"]
"""The loss of every pixel of the target, averaged over colours."""

TargetColours = Float[Tensor, "batch rgb target_row target_column"]
"""Images at the resolution of a target."""

TargetClasses = Int[Tensor, "batch target_row target_column"]
"""Numbers of tokens or colour clusters."""

ColourCentres = Float[Tensor, "cluster rgb"]
"""Centres of colour clusters, red, green and blue between 0 and 1."""

PatchMask = Bool[Tensor, "batch row column"]
"""One for a masked patch, zero for a visible one."""

PixelMask = Bool[Tensor, "batch target_row target_column"]
"""One for a pixel of a target that counts in the loss."""

Kernels = Float[Tensor, "channel row column"]
"""Weights of a depth-wise convolution, one kernel for each channel that it gives."""

PerChannel = Float64[Tensor, "channel"]
"""One number for each channel of a convolution."""

Contribution = Float64[Tensor, "batch row column"]
"""How much each pixel of each image contributes to an output."""

ValidKeys = Bool[Tensor, "query key"]
"""Which keys a query could attend to at all."""
