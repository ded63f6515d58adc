"""See how vision models trained in different ways differ inside.

    import mimprobe as mp

    result = mp.probe(["simmim-tiny40", "supervised-tiny40"], "photos/")
    mp.figures.attention_distance(result["attention_distance"])
    mp.write_report(result, "out/")

Public names are imported when they are first used: `import mimprobe` is quick and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimprobe import figures as figures
    from mimprobe.analyzers import ANALYZERS as ANALYZERS
    from mimprobe.claims import differences as differences
    from mimprobe.claims import evaluate_claims as evaluate_claims
    from mimprobe.data.drawn import drawn_scenes as drawn_scenes
    from mimprobe.data.images import open_images as open_images
    from mimprobe.data.transforms import Preprocessing as Preprocessing
    from mimprobe.errors import MimprobeError as MimprobeError
    from mimprobe.experiments.layers.run import layer_test as layer_test
    from mimprobe.experiments.mask_distances import mask_distances as mask_distances
    from mimprobe.experiments.overlay import attention_overlay as attention_overlay
    from mimprobe.experiments.readouts import layer_readouts as layer_readouts
    from mimprobe.experiments.receptive_field import receptive_field as receptive_field
    from mimprobe.experiments.reconstruction import reconstruct as reconstruct
    from mimprobe.experiments.rollout import rollout_overlay as rollout_overlay
    from mimprobe.hooks import capture as capture
    from mimprobe.loop import probe as probe
    from mimprobe.measures.attention import attention_distance as attention_distance
    from mimprobe.measures.attention import attention_entropy as attention_entropy
    from mimprobe.measures.attention import head_kl as head_kl
    from mimprobe.measures.similarity import hsic as hsic
    from mimprobe.measures.similarity import linear_cka as linear_cka
    from mimprobe.models.sites import layout as layout
    from mimprobe.report import write_report as write_report
    from mimprobe.tables import Result as Result
    from mimprobe.tables import read_result as read_result
    from mimprobe.train.config import TrainConfig as TrainConfig
    from mimprobe.train.finetune import finetune as finetune
    from mimprobe.train.fit import pretrain as pretrain
    from mimprobe.zoo.export import export_checkpoint as export_checkpoint
    from mimprobe.zoo.load import load_model as load_model
    from mimprobe.zoo.loaded import LoadedModel as LoadedModel
    from mimprobe.zoo.shelf import card_names as card_names

__version__ = "0.1.0"

_HOMES = {
    "ANALYZERS": "mimprobe.analyzers",
    "LoadedModel": "mimprobe.zoo.loaded",
    "MimprobeError": "mimprobe.errors",
    "Preprocessing": "mimprobe.data.transforms",
    "Result": "mimprobe.tables",
    "TrainConfig": "mimprobe.train.config",
    "attention_distance": "mimprobe.measures.attention",
    "attention_entropy": "mimprobe.measures.attention",
    "attention_overlay": "mimprobe.experiments.overlay",
    "capture": "mimprobe.hooks",
    "card_names": "mimprobe.zoo.shelf",
    "differences": "mimprobe.claims",
    "drawn_scenes": "mimprobe.data.drawn",
    "evaluate_claims": "mimprobe.claims",
    "export_checkpoint": "mimprobe.zoo.export",
    "figures": "",  # the module itself
    "finetune": "mimprobe.train.finetune",
    "head_kl": "mimprobe.measures.attention",
    "hsic": "mimprobe.measures.similarity",
    "layer_readouts": "mimprobe.experiments.readouts",
    "layer_test": "mimprobe.experiments.layers.run",
    "layout": "mimprobe.models.sites",
    "linear_cka": "mimprobe.measures.similarity",
    "load_model": "mimprobe.zoo.load",
    "mask_distances": "mimprobe.experiments.mask_distances",
    "open_images": "mimprobe.data.images",
    "pretrain": "mimprobe.train.fit",
    "probe": "mimprobe.loop",
    "read_result": "mimprobe.tables",
    "receptive_field": "mimprobe.experiments.receptive_field",
    "reconstruct": "mimprobe.experiments.reconstruction",
    "rollout_overlay": "mimprobe.experiments.rollout",
    "write_report": "mimprobe.report",
}

__all__ = [
    "ANALYZERS",
    "LoadedModel",
    "MimprobeError",
    "Preprocessing",
    "Result",
    "TrainConfig",
    "__version__",
    "attention_distance",
    "attention_entropy",
    "attention_overlay",
    "capture",
    "card_names",
    "differences",
    "drawn_scenes",
    "evaluate_claims",
    "export_checkpoint",
    "figures",
    "finetune",
    "head_kl",
    "hsic",
    "layer_readouts",
    "layer_test",
    "layout",
    "linear_cka",
    "load_model",
    "mask_distances",
    "open_images",
    "pretrain",
    "probe",
    "read_result",
    "receptive_field",
    "reconstruct",
    "rollout_overlay",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mimprobe' has no attribute {name!r}")
    home = _HOMES[name]
    value = getattr(import_module(home), name) if home else import_module(f"mimprobe.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
