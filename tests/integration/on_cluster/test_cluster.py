"""A pool on this machine's own cluster: results, errors and losses arrive with their units."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from ray_support import workers_at

from mvsa_pipe.cluster.connection import Cluster, WorkerPlan
from mvsa_pipe.cluster.pool import LostWorkersError, Pool, Worker
from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.contents import UnreadablePostsError
from mvsa_pipe.posts.storage.zip_archive import ZipStorage


class Squares(Worker[int, int]):
    """Squares numbers; ends its process at 13, and refuses negative numbers."""

    remarks = ("a worker is ready",)

    def do(self, unit: int, attempt: int) -> int:
        if unit == 13 or (unit == 5 and attempt == 0):
            os._exit(1)
        if unit < 0:
            raise UnreadablePostsError({str(unit): "negative"}, "here")
        return unit * unit


def fall() -> Squares:
    os._exit(1)


@pytest.fixture(autouse=True, scope="module")
def _code_for_workers(cluster: Cluster) -> None:
    """Workers cannot import this file."""
    cluster.ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def pool(cluster: Cluster, make: Callable[[], Worker[int, int]], said: list[str]) -> Pool[int, int]:
    return Pool(cluster, WorkerPlan(1, 0.5, 0, 1), make, said.append, "{} was squared".format)


def test_units_end_with_results_errors_or_losses(cluster):
    said: list[str] = []
    ended = {unit: rest for unit, *rest in pool(cluster, Squares, said).run([2, 5, 13, -1, 7])}
    assert {unit: ended[unit][0] for unit in (2, 5, 7)} == {2: 4, 5: 25, 7: 49}
    assert ended[5][1] > 1
    error, attempts = ended[13]
    assert isinstance(error, LostWorkersError)
    assert attempts == 4
    assert "4 Ray workers were lost while 13 was squared (--ray local)" in error.paragraph()
    assert isinstance(ended[-1][0], UnreadablePostsError)
    assert ended[-1][0].faults == {"-1": "negative"}
    assert {"a worker is ready", "a Ray worker was lost and is being replaced"} == set(said)


def test_workers_that_cannot_be_set_up(cluster, tmp_path):
    with pytest.raises(LostWorkersError, match="4 Ray workers were lost while they were set up"):
        list(pool(cluster, fall, []).run([1, 2]))
    (tmp_path / "set.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    storage = ZipStorage(tmp_path / "set.zip")
    (tmp_path / "set.zip").unlink()  # as on a machine that does not see it
    with pytest.raises(DataError, match="zip archive cannot be read"):
        list(pool(cluster, partial(opened, storage), []).run([1]))


def opened(_: ZipStorage) -> Squares:
    return Squares()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_an_interruption_ends_all_workers(cluster):
    running = pool(cluster, Squares, []).run(range(1000))
    next(running)
    assert workers_at(b"ray::PoolActor")
    running.close()
    until = time.monotonic() + 60
    while workers_at(b"ray::PoolActor") and time.monotonic() < until:
        time.sleep(0.05)
    assert not workers_at(b"ray::PoolActor")


def test_a_defect_is_raised(cluster):
    with pytest.raises(cluster.ray.exceptions.RayTaskError):
        list(pool(cluster, Squares, []).run(["no number"]))


def test_nothing_is_started_for_nothing(cluster):
    assert not list(pool(cluster, fall, []).run([]))
