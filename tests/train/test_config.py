"""Settings are checked when they are made, and known again when a run goes on."""

import pytest

from mimprobe.errors import OptionError
from mimprobe.train.config import changed_fields


def test_linear_scaling(make_config):
    assert make_config(batch_size=2048, base_learning_rate=2e-4).peak_learning_rate == 8e-4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision": "int8"}, "precision 'int8' is not one of auto, float32, bfloat16, float16"),
        ({"objective": "mae"}, "objective 'mae' is not one of simmim, supervised, finetune"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"mask_ratio": 1.2}, "mask_ratio must be above 0 and at most 1, not 1.2"),
        ({"base_learning_rate": float("nan")}, "base_learning_rate must be a number, not nan"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"seed": 10**20}, "seed must be below"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0, not 0.0"),
        ({"drop_path": 2.0}, "drop_path must be at least 0 and below 1, not 2.0"),
        ({"arch_args": {"img_size": 64}}, "img_size is not an arch_arg here"),
        (
            {"schedule": "linear"},
            "schedule 'linear' is not one of cosine, cosine-after-warmup, step",
        ),
        ({"parallel": "horovod"}, "parallel 'horovod' is not one of ddp, fsdp"),
        ({"precision": "float16", "parallel": "fsdp"}, "fsdp takes no float16; choose"),
        ({"accumulate": 3}, "a batch of 8 does not divide into 3 parts; choose a multiple"),
        ({"accumulate": 0}, "accumulate must be at least 1, not 0"),
        ({"ema_decay": 1.0}, "ema_decay must be at least 0 and below 1, not 1.0"),
        ({"export_average": True}, "export_average needs an average; choose ema_decay"),
        ({"warmup_epochs": 3.0}, "a warm-up of 3 epochs does not fit into 2 epochs"),
    ],
)
def test_nonsense_is_refused(make_config, changes, told):
    with pytest.raises(OptionError, match=told):
        make_config(**changes)


def test_changed_fields_are_those_that_change_a_loss(make_config):
    stored = make_config().to_json()
    assert changed_fields(stored, make_config()) == []
    assert changed_fields(stored, make_config(workers=3, checkpoint_minutes=1.0)) == []
    assert changed_fields(stored, make_config(seed=1, batch_size=4)) == [
        "batch_size 8 -> 4", "seed 0 -> 1",
    ]  # fmt: skip
