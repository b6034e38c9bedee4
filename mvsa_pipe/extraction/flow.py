"""Runs work over parts: reading, computing and writing side by side, each stage bounded.

On a CPU every lane is a thread that takes a batch through all stages by itself, so that decoding
never fights the model's threads for a core. On a GPU threads decode ahead, one thread feeds the
GPU, and what it computed is fetched while it computes the next batch.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from mvsa_pipe.devices import usable_cores
from mvsa_pipe.extraction.clock import Clock, Phase, Stage
from mvsa_pipe.extraction.forward import weights_cast_once
from mvsa_pipe.extraction.work import Batch, BatchResult, PartResult, Work, assembled

# More lanes than this share the cores among them: each holds a batch's activations.
_MOST_LANES = 4

InT = TypeVar("InT")
OutT = TypeVar("OutT")


@dataclass(frozen=True)
class Lanes:
    """How many threads do what.

    Attributes:
        count: Threads that take batches through the model (CPU), or read ahead of it (GPU).
        threads: Threads that torch may use inside each.
    """

    count: int
    threads: int

    @classmethod
    def for_device(cls, device: torch.device, workers: int, cores: int) -> "Lanes":
        """As many as there are cores for; ``workers`` sets their number, 0 leaves it."""
        if device.type != "cpu":
            return cls(workers or cores, 1)
        count = workers or min(cores, _MOST_LANES)
        return cls(count, max(1, cores // count))


def flow(
    work: Work,
    parts: Iterable[list[Batch]],
    workers: int,
    advance: Callable[[int], None],
    cores: int = 0,
) -> Iterator[PartResult]:
    """Computes parts in their order; ``advance`` hears of every batch of posts.

    ``cores`` is how many may be used where others use the rest; 0 takes all.
    """
    device = work.forwards[0].device
    lanes = Lanes.for_device(device, workers, cores or usable_cores())
    work.clock.lanes = lanes.count if device.type == "cpu" else lanes.count + 1
    sizes: deque[int] = deque()

    def batches() -> Iterator[Batch]:
        for part in parts:
            sizes.append(len(part))
            yield from part

    with ExitStack() as stack:
        for forward in work.forwards:
            stack.enter_context(weights_cast_once(forward.backbone.module, forward.precision))
        stack.enter_context(_threads_kept())
        pool = stack.enter_context(_pool(lanes))
        results = _on_cpu if device.type == "cpu" else _on_gpu
        done: list[BatchResult] = []
        for result in results(work, pool, batches(), lanes):
            done.append(result)
            advance(result.posts)
            if len(done) == sizes[0]:
                sizes.popleft()
                yield assembled(done)
                done = []


def _on_cpu(
    work: Work, pool: ThreadPoolExecutor, batches: Iterator[Batch], lanes: Lanes
) -> Iterator[BatchResult]:
    def whole(batch: Batch) -> BatchResult:
        return work.collect(work.launch(work.read(batch)))

    return in_order(pool, whole, batches, ahead=lanes.count + 1)


def _on_gpu(
    work: Work, pool: ThreadPoolExecutor, batches: Iterator[Batch], lanes: Lanes
) -> Iterator[BatchResult]:
    launched = None
    for ready in in_order(pool, work.read, batches, ahead=lanes.count + 1):
        following = work.launch(ready)
        if launched is not None:
            yield work.collect(launched)
        launched = following
    if launched is not None:
        yield work.collect(launched)


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[InT], OutT], values: Iterable[InT], ahead: int
) -> Iterator[OutT]:
    """Results of a function in the values' order, at most ``ahead`` of them under way."""
    waiting: deque[Future[OutT]] = deque()
    for value in values:
        waiting.append(pool.submit(function, value))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _pool(lanes: Lanes) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(
        lanes.count, "lane", initializer=torch.set_num_threads, initargs=(lanes.threads,)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Restores this thread's number of threads, which a lane's setting can reach."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Background:
    """One call at a time behind the caller's back; the next waits for the last, and for its error.

    Args:
        clock: Where the time goes.
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
        """Starts a call as soon as the one before has ended.

        Raises:
            MvsaError: Whatever the one before raised.
        """
        self.wait()
        self._last = self._pool.submit(self._timed, function)

    def wait(self) -> None:
        """Waits for the call under way.

        Raises:
            MvsaError: Whatever it raised.
        """
        last, self._last = self._last, None
        if last is not None:
            with self._clock.phase(Phase.AWAIT_DISK):
                last.result()

    def _timed(self, function: Callable[[], None]) -> None:
        with self._clock.stage(Stage.DISK):
            function()
