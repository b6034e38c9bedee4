"""Several processes at one training, as ``torchrun`` starts them; without it, one alone."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Processes:
    """Who computes: each process takes its share of every batch, and all take the same step.

    Gradients are added up by hand rather than by ``DistributedDataParallel``: batches that come in
    parts, parameters without gradients and one process alone then need no cases of their own.

    Attributes:
        rank: Number of this process.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every process ends with the gradients of the whole batch."""
        if self.count == 1:
            return
        every = list(parameters)
        reached = torch.tensor([float(p.grad is not None) for p in every], device=every[0].device)
        for parameter, somewhere in zip(every, self.added_up(reached).tolist(), strict=True):
            if not somewhere:
                continue  # zeros would let AdamW decay what one process alone leaves
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)

    def added_up(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def gathered(self, value: Tensor) -> list[Tensor]:
        """What each process has, in the order of their numbers."""
        if self.count == 1:
            return [value]
        found: list[Tensor | None] = [None] * self.count
        distributed.all_gather_object(found, value)
        return [v for v in found if v is not None]

    def wait(self) -> None:
        """Returns when all have come here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """The processes that ``torchrun`` started; this one alone where it did not."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
