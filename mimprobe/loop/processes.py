"""The processes that measure together: `torchrun` starts them, or a program that has a group.

What belongs here: who takes part, and what the processes tell each other. What does not: which
images each takes (`run`), and what they measured (`tally`).

Accumulators live on the CPU, so what is exchanged goes over gloo: in a group of NCCL a second one
is made for it. Waiting is done by asking the group's store again and again, not inside a collective
operation: a process that fails says so there, and the others leave instead of hanging. Training
alone waits inside such operations, of which each step has several (`total`).
"""

import atexit
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mimprobe.errors import ElsewhereError, MimprobeError, OptionError, StoppedError
from mimprobe.models.device import resolve_device
from mimprobe.stream import State

T = TypeVar("T")

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` tells each process."""

PART_BYTES = 16 << 20
"""A state is sent in parts of this size, so that it need not be in memory as a whole."""

PATIENCE = 30.0
"""Seconds that a failed process waits for the others to learn of it before it leaves."""


class Processes:
    """One process by itself, and what the processes of a group have in common."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Tell whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def here(self) -> int:
        """Number of processes on this machine."""
        return 1

    def device(self, name: str | torch.device) -> torch.device:
        """Find the device of this process: processes of one machine take one GPU each."""
        return resolve_device(name)

    def check(self) -> None:
        """Raise ElsewhereError if another process failed."""

    def meet(self) -> None:
        """Wait until every process is here."""

    def gather(self, state: Callable[[], State]) -> Iterator[State]:  # noqa: ARG002
        """Give the states of the others to the first process, one at a time; none elsewhere."""
        yield from ()

    def share(self, make: Callable[[], T]) -> T:
        """Let the first process make something, and give it to all."""
        return make()

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over the processes; it stays on its device."""
        return values

    def any_of(self, *wishes: bool) -> list[bool]:
        """Tell of each wish whether some process has it."""
        return (self.total(torch.tensor(wishes, dtype=torch.float32)) > 0).tolist()

    def all_of(self, thing: T) -> list[T]:
        """Give what each process has, in their order, to all."""
        return [thing]


class ProcessGroup(Processes):
    """The processes of an initialised `torch.distributed`."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        gloo = dist.get_backend() == dist.Backend.GLOO
        self._group: Any = None if gloo else dist.new_group(backend="gloo")
        store = dist.distributed_c10d._get_default_store()
        # Every use of a group has words of its own in its store; all processes count alike.
        use = store.add(f"mimprobe/uses of {self.rank}", 1)
        self._store = dist.distributed_c10d.PrefixStore(f"mimprobe/{use}", store)
        self._meetings = 0

    @property
    def here(self) -> int:
        """Number of processes on this machine, as `torchrun` tells it."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def device(self, name: str | torch.device) -> torch.device:
        """Find the device of this process.

        Raises:
            OptionError: there are more processes on this machine than GPUs.
        """
        if str(name) not in ("auto", "cuda") or not torch.cuda.is_available():
            return resolve_device(name)
        number = int(os.environ.get("LOCAL_RANK", torch.cuda.current_device()))
        if number >= torch.cuda.device_count():
            raise OptionError(
                f"{self.here} processes on a machine with {torch.cuda.device_count()} GPUs; start "
                "as many processes as GPUs, or pass --device cpu"
            )
        return torch.device("cuda", number)

    def check(self) -> None:
        """Raise ElsewhereError if another process failed, or the group is gone."""
        if self._ask(lambda: self._store.check(["failed"])):
            status, _, told = self._store.get("failed").decode().partition(" ")
            raise ElsewhereError(told, int(status))

    def meet(self) -> None:
        """Wait until every process is here."""
        self._meetings += 1
        word, pause = f"meeting {self._meetings}", 0.001
        self._ask(lambda: self._store.add(word, 1))
        while self._ask(lambda: self._store.add(word, 0)) < self.size:
            self.check()
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
        self.check()

    def gather(self, state: Callable[[], State]) -> Iterator[State]:
        """Give the states of the others to the first process, in their order."""
        with tempfile.TemporaryDirectory(prefix="mimprobe-state-") as folder:
            path = Path(folder) / "state.pt"
            for rank in range(1, self.size):
                self.meet()
                if rank == self.rank:
                    torch.save(state(), path)
                    self._ask(lambda: self._send(path))
                elif self.first:
                    self._ask(lambda rank=rank: self._receive(path, rank))  # type: ignore[misc]
                    yield torch.load(path, weights_only=True, mmap=True)
                    path.unlink()

    def share(self, make: Callable[[], T]) -> T:
        """Let the first process make something, and give it to all."""
        made: list[Any] = [make() if self.first else None]
        self.meet()
        dist.broadcast_object_list(made, src=0, group=self._group)
        shared: T = made[0]
        return shared

    def total(self, values: Tensor) -> Tensor:
        """Sum a tensor over the processes; it stays on its device."""
        summed = values.clone()
        group = None if values.is_cuda else self._group
        self._ask(lambda: dist.all_reduce(summed, group=group))
        return summed

    def all_of(self, thing: T) -> list[T]:
        """Give what each process has, in their order, to all."""
        self.meet()
        things: list[Any] = [None] * self.size
        dist.all_gather_object(things, thing, group=self._group)
        return things

    def _ask(self, question: Callable[[], T]) -> T:
        """Use the network between the processes."""
        try:
            return question()
        except RuntimeError as error:
            told = str(error).splitlines()[0]
            raise MimprobeError(
                f"another process has ended or cannot be reached: {told}"
            ) from error

    def _send(self, path: Path) -> None:
        dist.send(torch.tensor([path.stat().st_size]), 0, group=self._group)
        with path.open("rb") as file:
            while part := file.read(PART_BYTES):
                content = torch.frombuffer(bytearray(part), dtype=torch.uint8)
                dist.send(content, 0, group=self._group)

    def _receive(self, path: Path, rank: int) -> None:
        size = torch.zeros(1, dtype=torch.int64)
        dist.recv(size, rank, group=self._group)
        with path.open("wb") as file:
            for start in range(0, int(size), PART_BYTES):
                part = torch.empty(min(PART_BYTES, int(size) - start), dtype=torch.uint8)
                dist.recv(part, rank, group=self._group)
                file.write(part.numpy().tobytes())

    def fail(self, error: BaseException) -> None:
        """Tell the others of an error, and wait until they know.

        Raises:
            ElsewhereError: in place of `error`, if another process failed first.
        """
        if isinstance(error, ElsewhereError):
            self.part()
            return
        with suppress(RuntimeError):  # the store may be what failed
            mine = self._store.add("claims", 1) == 1
            if mine:
                told = f"process {self.rank} failed: {error or type(error).__name__}"
                self._store.set("failed", f"{_status(error)} {told}")
            self.part()
            if not mine:
                self.check()

    def part(self) -> None:
        """Wait for all to have come this far, but not for long: one may not be able to."""
        until = time.monotonic() + PATIENCE
        with suppress(RuntimeError):  # the first process, which keeps the store, leaves first
            self._store.add("left", 1)
            while self._store.add("left", 0) < self.size and time.monotonic() < until:
                time.sleep(0.01)


def _status(error: BaseException) -> int:
    """Give the exit status that the command line has for an error."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, StoppedError):
        return error.status
    return 2 if isinstance(error, MimprobeError | OSError | MemoryError) else 1


_open: ContextVar[Processes | None] = ContextVar("processes", default=None)


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes that there are: a group that is initialised, or those of `torchrun`.

    Without either, this process is alone. A group inside another is the same group. All leave
    together: when one fails, the others raise ElsewhereError.
    """
    outer = _open.get()
    if outer is not None:
        yield outer
        return
    if not dist.is_initialized() and all(os.environ.get(name) for name in ENVIRONMENT):
        # To be used again: torchrun's store does not let a second group begin.
        dist.init_process_group("cpu:gloo,cuda:nccl" if _has_nccl() else "gloo")
        atexit.register(_leave)
    group = ProcessGroup() if dist.is_initialized() else Processes()
    token = _open.set(group)
    try:
        yield group
        group.meet()
    except BaseException as error:
        if isinstance(group, ProcessGroup):
            group.fail(error)
        raise
    else:
        if isinstance(group, ProcessGroup):
            group.part()
    finally:
        _open.reset(token)


def _has_nccl() -> bool:
    return torch.cuda.is_available() and dist.is_nccl_available()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
