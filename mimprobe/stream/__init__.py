"""Float64 accumulators that merge: what is remembered across batches and processes."""

from mimprobe.stream.choice import CkaStream, choose_cka_stream
from mimprobe.stream.features import BUDGET_BYTES, CkaFeatures
from mimprobe.stream.images import ImageValues, Statistics
from mimprobe.stream.map_sums import MapSums
from mimprobe.stream.minibatch import CkaBatches
from mimprobe.stream.moments import Moments
from mimprobe.stream.pooled import PooledRows
from mimprobe.stream.sites import CkaMatrix
from mimprobe.stream.spectra import Spectrum, spectrum
from mimprobe.stream.state import State
from mimprobe.stream.sums import CkaSums, cka_sums_bytes

__all__ = [
    "BUDGET_BYTES",
    "CkaBatches",
    "CkaFeatures",
    "CkaMatrix",
    "CkaStream",
    "CkaSums",
    "ImageValues",
    "MapSums",
    "Moments",
    "PooledRows",
    "Spectrum",
    "State",
    "Statistics",
    "choose_cka_stream",
    "cka_sums_bytes",
    "spectrum",
]
