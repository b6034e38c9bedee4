"""Tasks done side by side on the cores of this machine, each on one."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import torch

from mvsa_pipe.benches.trials import Trial
from mvsa_pipe.devices import cpu_threads
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.progress import OnStep, no_callback
from mvsa_pipe.runs import RunContents

TrialGroup = tuple[Trial, ...]
# The files of each trial's run, or why it has none.
Results = list[RunContents | MvsaError]


class _StoppedError(Exception):
    """Another task failed, or the user has enough."""


def do_side_by_side(
    tasks: Sequence[TrialGroup], do: Callable[[TrialGroup, OnStep], Results], workers: int
) -> Iterator[tuple[TrialGroup, Results]]:
    """Does tasks on some threads; yields each with its results as it ends.

    Every thread computes on one core: a run's numbers then depend on neither the number of cores
    nor on what runs beside it. Threads rather than processes, as they share the features.

    Args:
        tasks: The tasks, in the order in which they shall begin.
        do: Does one; called from several threads.
        workers: How many threads.

    Raises:
        MvsaError: Whatever a task raised, which concerns all; those under way are ended.
    """
    with cpu_threads(1):
        if workers == 1 or len(tasks) == 1:
            for task in tasks:
                yield task, do(task, no_callback)
            return
        ended = threading.Event()

        def on_step() -> None:
            if ended.is_set():
                raise _StoppedError

        # torch counts threads for each thread anew
        with ThreadPoolExecutor(workers, "bench", torch.set_num_threads, (1,)) as pool:
            waiting = {pool.submit(do, task, on_step): task for task in tasks}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
