"""Trains groups of trials in parallel threads, each on one core of this machine."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch

from mvsa_pipe.benches.trials import Results, TrialGroup
from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.progress import OnStep, no_callback


class _StoppedError(Exception):
    """Another group failed, or the user interrupted."""


def train_in_threads(
    groups: Sequence[TrialGroup], train: Callable[[TrialGroup, OnStep], Results], workers: int
) -> Iterator[tuple[TrialGroup, Results]]:
    """Trains groups of trials in threads; yields each group with its results as it ends.

    Every thread computes on one core, so a run's numbers depend neither on the number of cores nor
    on other runs. Threads share the features, which processes would not.

    Args:
        groups: The groups, in start order.
        train: Trains one group; called from several threads.
        workers: Number of threads.

    Raises:
        MvsaError: The first error that affects all groups; running groups are cancelled.
    """
    with cpu_threads(1):
        if workers == 1 or len(groups) == 1:
            for group in groups:
                yield group, train(group, no_callback)
            return
        ended = threading.Event()

        def on_step() -> None:
            if ended.is_set():
                raise _StoppedError

        # torch has a separate number of threads for each thread
        with ThreadPoolExecutor(workers, "bench", torch.set_num_threads, (1,)) as pool:
            waiting = {pool.submit(train, group, on_step): group for group in groups}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
