"""Devices by name, and passes that leave no switch behind."""

import pytest
import torch
from torch import nn

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.models.device import exact_pass, frozen, placed, resolve_device


def test_names():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UnknownNameError, match=r"^unknown device 'cude'; did you mean 'cuda'"):
        resolve_device("cude")
    with pytest.raises(OptionError, match=r"^device 'cuda:99' is not on this machine"):
        resolve_device("cuda:99")


def settings():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if not hasattr(cudnn, "conv"):
        return matmul.allow_tf32, cudnn.allow_tf32
    return matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision


def assert_exact_within_and_put_back():
    before = settings()
    with exact_pass(torch.device("cpu"), "float32"):
        assert not set(settings()) & {"tf32", True}
        assert torch.is_inference_mode_enabled()
    assert settings() == before
    assert set(before) & {"tf32", True}


def test_float32_means_float32_and_is_put_back():
    torch.set_float32_matmul_precision("high")
    try:
        assert_exact_within_and_put_back()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    with pytest.raises(UnknownNameError, match=r"did you mean 'float32'"):
        with exact_pass(torch.device("cpu"), "float23"):
            pass


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="switches of PyTorch 2.9")
def test_the_newer_switches_are_respected_too():
    matmul = torch.backends.cuda.matmul
    matmul.fp32_precision = "tf32"
    try:
        assert_exact_within_and_put_back()
    finally:
        matmul.fp32_precision = "ieee"
        matmul.allow_tf32 = False


def test_half_precision_is_autocast():
    with exact_pass(torch.device("cpu"), "bfloat16"):
        assert nn.Linear(4, 4)(torch.zeros(1, 4)).dtype == torch.bfloat16


def test_modes_are_put_back_part_by_part():
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout())).train()
    module[1].eval()
    with placed(module, torch.device("cpu")):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False, False]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_module_goes_to_the_device_and_home_again():
    module = nn.Linear(2, 2)
    with placed(module, torch.device("cuda")):
        assert module.weight.is_cuda
    assert not module.weight.is_cuda


def test_gradients_can_be_taken_in_an_exact_pass_of_a_frozen_network():
    module = torch.nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    pixels = torch.ones(1, 2, requires_grad=True)
    with frozen(module), exact_pass(torch.device("cpu"), "float32", gradients=True):
        assert not any(parameter.requires_grad for parameter in module.parameters())
        (gradient,) = torch.autograd.grad(module(pixels).sum(), pixels)
    torch.testing.assert_close(gradient[0], module.weight.detach().sum(0))
    assert module.weight.requires_grad
    assert not module.bias.requires_grad
