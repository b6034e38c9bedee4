"""Computes parts: reading, computing and writing in parallel, with bounded queues.

Threads read and decode ahead, and one thread feeds the model. On a GPU, the output of a batch is
fetched while the next is computed. On a CPU, decoding and the model alternate, each with all cores:
batches in parallel, each on one core, were slower by a third for ResNet-50.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch

from mvsa_pipe.devices import cpu_threads, reuse_memory, usable_cores
from mvsa_pipe.extraction.batches import Batch, BatchResult, BatchWork, PartResult, assembled
from mvsa_pipe.extraction.clock import Clock, Phase, Stage
from mvsa_pipe.extraction.forward import weights_cast_once

# Decoded batches that wait for the model.
_READ_AHEAD = 2

InT = TypeVar("InT")
OutT = TypeVar("OutT")


def run_pipeline(
    work: BatchWork,
    parts: Iterable[list[Batch]],
    workers: int,
    advance: Callable[[int], None],
    cores: int = 0,
) -> Iterator[PartResult]:
    """Computes parts in their order; calls ``advance`` after every batch.

    Args:
        work: The backbones.
        parts: The parts.
        workers: Threads that read; 0 takes one a core.
        advance: Is called with the number of posts in a batch.
        cores: How many cores may be used; 0 takes all.
    """
    readers = workers or cores or usable_cores()
    work.clock.lanes = readers + 1
    sizes: deque[int] = deque()

    def batches() -> Iterator[Batch]:
        for part in parts:
            sizes.append(len(part))
            yield from part

    with ExitStack() as stack:
        for forward in work.forwards:
            stack.enter_context(weights_cast_once(forward.backbone.module, forward.precision))
        if work.forwards[0].device.type == "cpu":
            reuse_memory()
            stack.enter_context(cpu_threads(cores or torch.get_num_threads()))
        pool = stack.enter_context(_pool(readers))
        done: list[BatchResult] = []
        for result in launch_ahead(work, pool, batches(), ahead=readers + _READ_AHEAD):
            done.append(result)
            advance(result.posts)
            if len(done) == sizes[0]:
                sizes.popleft()
                yield assembled(done)
                done = []


def launch_ahead(
    work: BatchWork, pool: ThreadPoolExecutor, batches: Iterator[Batch], ahead: int
) -> Iterator[BatchResult]:
    """Results of batches in their order; each is fetched after the next was launched."""
    launched = None
    for ready in map_in_order(pool, work.read, batches, ahead):
        following = work.launch(ready)
        if launched is not None:
            yield work.collect(launched)
        launched = following
    if launched is not None:
        yield work.collect(launched)


def map_in_order(
    pool: ThreadPoolExecutor, function: Callable[[InT], OutT], values: Iterable[InT], ahead: int
) -> Iterator[OutT]:
    """Results of a function in the order of the values, with at most ``ahead`` calls at a time."""
    waiting: deque[Future[OutT]] = deque()
    for value in values:
        waiting.append(pool.submit(function, value))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _pool(readers: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(readers, "reader")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class Background:
    """Runs one call at a time in a thread; the next call waits for it and raises its error.

    Args:
        clock: Measures the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, "disk")
        self._last: Future[None] | None = None

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()

    def call(self, function: Callable[[], None]) -> None:
        """Waits for the call before, then starts this one.

        Raises:
            MvsaError: The call before raised it.
        """
        self.wait()
        self._last = self._pool.submit(self._timed, function)

    def wait(self) -> None:
        """Waits for the running call.

        Raises:
            MvsaError: The call raised it.
        """
        last, self._last = self._last, None
        if last is not None:
            with self._clock.phase(Phase.AWAIT_DISK):
                last.result()

    def _timed(self, function: Callable[[], None]) -> None:
        with self._clock.stage(Stage.DISK):
            function()
