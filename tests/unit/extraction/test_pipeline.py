"""Reading ahead, the model, and the disk behind both: same results, no error lost."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.decoding import ExactDecoding
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.errors import StorageError
from mvsa_pipe.extraction.batches import BatchWork, PartResult, assembled
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.image_batches import ImageWork
from mvsa_pipe.extraction.pipeline import Background, launch_ahead, map_in_order, run_pipeline
from mvsa_pipe.extraction.text_batches import TextWork
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=30, image_px=32))
    (folder / "data" / "7.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module", params=["tiny-text", "tiny-image"])
def made(request: pytest.FixtureRequest, folder: Path) -> tuple[BatchWork, list]:
    options = BackboneOptions(request.param)
    backbone = load_backbone(options)
    forward = Forward(backbone, torch.device("cpu"), Precision.FLOAT32, StoredDtype.FLOAT16)
    contents, _ = contents_of(read_posts(folder), options.modality)
    work: BatchWork = (
        TextWork(forward, 1, Clock())
        if request.param == "tiny-text"
        else ImageWork([forward], 4, Clock(), ExactDecoding())
    )
    return work, list(work.parts(contents, [{item.id for item in contents}]))


def same(found: PartResult, wanted: PartResult) -> None:
    assert found.refused == wanted.refused
    for blocks, others in zip(found.rows, wanted.rows, strict=True):
        a, b = Rows.joined(blocks), Rows.joined(others)
        assert (a.ids, a.digests) == (b.ids, b.digests)
        assert a.hidden.tobytes() == b.hidden.tobytes()
        assert a.pooled.tobytes() == b.pooled.tobytes()
        np.testing.assert_array_equal(a.bounds(), b.bounds())


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("ahead", [1, 2, 9])
def test_read_ahead_and_fetched_late_batches_are_what_they_are_one_by_one(
    made, readers: int, ahead: int
) -> None:
    work, (part,) = made
    assert len(part) > 2
    with ThreadPoolExecutor(readers) as pool:
        found = list(launch_ahead(work, pool, iter(part), ahead))
    assert len(found) == len(part)
    same(assembled(found), work.compute(part))


def test_parts_come_in_their_order_and_every_post_is_heard_of(made) -> None:
    work, (part,) = made
    parts, heard = [part[:2], part[2:3], part[3:]], []
    found = list(run_pipeline(work, iter(parts), 2, heard.append))
    assert sum(heard) == sum(len(batch[0]) for batch in part)
    for result, wanted in zip(found, parts, strict=True):
        same(result, work.compute(wanted))
    threads = torch.get_num_threads()
    assert list(run_pipeline(work, iter([]), 3, heard.append)) == []
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_in_order_and_never_more_under_way_than_allowed(ahead: int) -> None:
    begun, ended, most = 0, 0, 0

    def values():
        nonlocal begun, most
        for value in range(20):
            begun += 1
            most = max(most, begun - ended)
            yield value

    def slow(value: int) -> int:
        time.sleep(0.002 * (value % 3))
        return -value

    with ThreadPoolExecutor(3) as pool:
        for wanted, found in enumerate(map_in_order(pool, slow, values(), ahead)):
            assert found == -wanted
            ended += 1
    assert most <= ahead + 1


def test_an_error_in_a_lane_is_raised_here() -> None:
    def fail(value: int) -> int:
        return 1 // (3 - value)

    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        list(map_in_order(pool, fail, range(10), 3))


def refuse() -> None:
    raise StorageError("the disk refuses")


def test_writes_behind_the_back_keep_their_order_and_are_waited_for() -> None:
    written: list[int] = []
    clock = Clock()
    with Background(clock) as disk:
        for number in range(5):
            disk.call(lambda number=number: (time.sleep(0.01), written.append(number))[1])
    assert written == list(range(5))
    assert clock.as_record()["disk_seconds"] >= 0.05
    assert clock.as_record()["phases"]["await_disk"] > 0


def test_an_error_of_a_write_surfaces_before_the_next_one() -> None:
    written: list[int] = []

    def writes() -> None:
        with Background(Clock()) as disk:
            disk.call(lambda: written.append(1))
            disk.call(refuse)
            disk.call(lambda: written.append(2))

    with pytest.raises(StorageError, match="the disk refuses"):
        writes()
    assert written == [1]


def test_an_error_of_the_last_write_surfaces_at_the_end() -> None:
    with pytest.raises(StorageError, match="the disk refuses"), Background(Clock()) as disk:
        disk.call(refuse)


def test_a_write_under_way_ends_whatever_else_fails() -> None:
    written: list[int] = []
    begun = threading.Event()

    def slow() -> None:
        begun.set()
        time.sleep(0.05)
        written.append(1)

    with suppress(ArithmeticError), Background(Clock()) as disk:
        disk.call(slow)
        begun.wait()
        raise ArithmeticError
    assert written == [1]
