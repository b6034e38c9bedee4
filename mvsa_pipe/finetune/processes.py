"""Distributed training in the processes that ``torchrun`` starts; otherwise a single process."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Processes:
    """The distributed processes: each computes its share of every batch; all take the same step.

    Gradients are summed explicitly rather than by ``DistributedDataParallel``: micro-batches,
    parameters without gradients and a single process then need no special cases.

    Attributes:
        rank: Index of this process.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sums gradients over all processes, in place."""
        if self.count == 1:
            return
        every = list(parameters)
        reached = torch.tensor([float(p.grad is not None) for p in every], device=every[0].device)
        for parameter, somewhere in zip(every, self.added_up(reached).tolist(), strict=True):
            if not somewhere:
                continue  # with gradients of zero, AdamW would decay these parameters
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)

    def added_up(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def gathered(self, value: Tensor) -> list[Tensor]:
        """The values of all processes, by rank."""
        if self.count == 1:
            return [value]
        found: list[Tensor | None] = [None] * self.count
        distributed.all_gather_object(found, value)
        return [v for v in found if v is not None]

    def wait(self) -> None:
        """Waits for all processes."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """The processes that ``torchrun`` started, or a single process."""
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
