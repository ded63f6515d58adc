"""One optimiser step, however many processes and parts its batch is cut into.

What belongs here: network, optimiser, precision and average of a run, their step and their state.
What does not: the order of steps (`fit`), files (`checkpoint`), losses (`objectives`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mimprobe.loop.processes import Processes
from mimprobe.train.average import Average
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives import Objective
from mimprobe.train.parallel import (
    LossParts,
    blocks_of,
    is_sharded,
    restore_optimizer,
    restore_weights,
    spread,
    unsynchronised,
    whole,
)
from mimprobe.train.precision import Precision
from mimprobe.train.schedule import learning_rate, parameter_groups
from mimprobe.train.shares import Part


class Taken(NamedTuple):
    """A step.

    Attributes:
        loss: over the images of all processes.
        norm: of the gradient before clipping.
        rate: learning rate.
        good: whether loss and gradient are numbers; if not, no weight was changed.
    """

    loss: float
    norm: float
    rate: float
    good: bool

    def numbers(self) -> dict[str, float]:
        """Give what is drawn against the step."""
        return {"loss": self.loss, "learning_rate": self.rate, "gradient_norm": self.norm}


class Engine:
    """A network in training."""

    def __init__(
        self, model: Objective, config: TrainConfig, group: Processes, device: torch.device,
        per_epoch: int, finish: Callable[[Part], tuple[Tensor, Tensor]],
    ) -> None:  # fmt: skip
        """Place the network and prepare its optimiser; the weights must be equal everywhere.

        `finish` makes images on the device of a part as it was loaded.
        """
        self.finish = finish
        self.config, self.group, self.device, self.per_epoch = config, group, device, per_epoch
        self.precision = Precision(config.precision, device)
        self.layout = torch.channels_last if config.channels_last else torch.preserve_format
        model.to(device, self.precision.weights).to(memory_format=self.layout)
        self.model = model.train()
        if config.checkpoint_activations:
            model.encoder.set_grad_checkpointing(enable=True)
        self.parts = LossParts(model)
        self.network = spread(self.parts, group, device, config.parallel, self._example)
        if config.compile:
            # Block by block: all share one compiled form, and hooks on other modules cut nothing.
            for block in blocks_of(self.parts):
                block.compile()
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, config),
            lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True,
        )  # fmt: skip
        self.average = Average(model, config.ema_decay)

    def take_step(self, parts: Sequence[Part], step: int) -> Taken:
        """Take the step after `step` steps, on this process's share of its batch.

        The loss is the sum of all numerators over the sum of all denominators, over parts and
        processes. The second sum is known after the last part only: gradients are taken over what
        the first part lets expect, and corrected in the end.
        """
        rate = learning_rate(step, self.per_epoch, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        found = torch.zeros(2, dtype=torch.float64, device=self.device)
        expected = torch.zeros((), dtype=torch.float64, device=self.device)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with unsynchronised(self.network, last=last):
                total, count = self._loss_parts(self.network, part, step, number)
                if number == 0:
                    expected = self.group.total(count.double()).clamp(min=1e-12) * len(parts)
                # DDP and FSDP take the mean over processes of what is summed here.
                loss = total * (self.group.size / expected).to(total.dtype)
                torch.autograd.backward(self.precision.scaler.scale(loss))
            found += torch.stack([total.detach().double(), count.double()])
        found = self.group.total(found)
        if len(parts) > 1:
            self._scale_gradients(expected / found[1])
        return self._update(step, found[0] / found[1], rate)

    def _update(self, step: int, loss: Tensor, rate: float) -> Taken:
        """Clip the gradients and change the weights, unless something is no number."""
        scaler = self.precision.scaler
        may_skip = self.precision.may_skip
        scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        values = torch.stack([loss, norm.double()])
        good = torch.isfinite(values)
        if good[0] and (good[1] or may_skip):
            scaler.step(self.optimizer)
            scaler.update()
            self.average.update(self.model, step)
        told, size = values.tolist()
        return Taken(told, size, rate, bool(good[0] and (good[1] or may_skip)))

    def offenders(self, parts: Sequence[Part], step: int) -> list[int]:
        """Find the images of this process whose own loss or gradient is no number, by place.

        Where parameters are shared out only losses are looked at.
        """
        found: list[int] = []
        seen = 0
        for number, part in enumerate(parts):
            images, extra = self._prepared(part, step, number)
            found += [
                seen + row
                for row in range(len(images))
                if not self._is_finite(images[row : row + 1], extra[row : row + 1])
            ]
            seen += len(images)
        return found

    def state(self) -> dict[str, Any]:
        """Give everything that a later process needs, as whole tensors on the CPU."""
        return {
            "model": whole(self.model.state_dict()),
            "optimizer": whole(self.optimizer.state_dict()),
            "scaler": self.precision.scaler.state_dict(),
            "average": whole(self.average.weights),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whatever number of processes it comes from."""
        restore_weights(self.model, state["model"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.average.restore(state["average"])

    def as_exported(self) -> AbstractContextManager[None]:
        """Give a context in which the network has the weights that are to be exported."""
        if self.config.export_average:
            return self.average.in_place(self.model)
        return nullcontext()

    def weights(self) -> dict[str, Tensor]:
        """Give the weights to be exported: the last ones, or their average if asked for."""
        kept = self.average.weights if self.config.export_average else {}
        weights: dict[str, Tensor] = whole({**self.model.state_dict(), **kept})
        return weights

    def _prepared(self, part: Part, step: int, number: int) -> tuple[Tensor, Tensor]:
        """Make images of a part, and seed whatever is drawn for it.

        Drop path and timm's batch augmentations draw from global generators: by step, process and
        part, so that a resumed run draws the same.
        """
        images, extra = self.finish(part)
        images = images.to(self.precision.weights, memory_format=self.layout)
        place = (self.config.seed, step, self.group.rank, number)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))
        prepare = getattr(self.model, "prepare", None)
        if prepare is not None:
            images, extra = prepare(images, extra, np.random.default_rng(place))
        return images, extra

    def _loss_parts(
        self, network: nn.Module, part: Part, step: int, number: int
    ) -> tuple[Tensor, Tensor]:
        images, extra = self._prepared(part, step, number)
        with self.precision.autocast():
            total, count = network(images, extra)
        return total, count.detach()

    def _is_finite(self, images: Tensor, extra: Tensor) -> bool:
        with self.precision.autocast():
            total, _ = self.parts(images, extra)
        tensors: list[Tensor | None] = [total]
        if torch.isfinite(total) and not is_sharded(self.network):
            wanted = [one for one in self.model.parameters() if one.requires_grad]
            tensors += torch.autograd.grad(total, wanted, allow_unused=True)
        return all(one is None or bool(one.isfinite().all()) for one in tensors)

    def _scale_gradients(self, factor: Tensor) -> None:
        for gradient in self._gradients():
            gradient.mul_(factor.to(gradient.dtype))

    def _gradients(self) -> Iterator[Tensor]:
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                grad = parameter.grad
                yield grad.to_local() if isinstance(grad, DTensor) else grad

    def _example(self) -> tuple[Tensor, Tensor]:
        """Make one image, and what the objective adds to it."""
        shape = (1, 3, *self.config.input_shape)
        image = torch.zeros(shape, dtype=self.precision.weights, device=self.device)
        return image, self.model.sample(0, np.random.default_rng(0)).unsqueeze(0).to(self.device)
