"""Decoding and the model take turns on a CPU, and need not where the model is on a GPU."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.extraction import image_work
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.contents import contents_of
from mvsa_pipe.extraction.flow import computed
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.image_work import ImageWork
from mvsa_pipe.extraction.turns import Turns
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.synthetic import SyntheticConfig, write_synthetic


def test_readers_wait_for_the_model():
    turns, passed = Turns(shared=True), threading.Event()

    def read():
        turns.await_readers()
        passed.set()

    with turns.model():
        reader = threading.Thread(target=read)
        reader.start()
        assert not passed.wait(0.1)
    assert passed.wait(10)
    reader.join()


def test_a_model_that_fails_gives_its_turn_back():
    turns = Turns(shared=True)
    with pytest.raises(ValueError, match="broken"), turns.model():
        raise ValueError("broken")
    turns.await_readers()


def test_on_a_gpu_nobody_waits():
    turns = Turns(shared=False)
    with turns.model():
        turns.await_readers()


def test_no_picture_is_begun_while_the_model_computes(tmp_path, monkeypatch):
    """But for those that readers were at when its turn began: one each."""
    write_synthetic(tmp_path, SyntheticConfig(posts=60, image_px=32))
    contents, _ = contents_of(read_posts(tmp_path), Modality.IMAGE)
    backbone = load_backbone(BackboneOptions("tiny-image"))
    forward = Forward(backbone, torch.device("cpu"), Precision.FLOAT32, StoredDtype.FLOAT16)
    work = ImageWork([forward], 10, Clock())
    begun, during = [], []
    decoded, encode = image_work.decoded, backbone.encode

    def counted(*args):
        begun.append(args)
        return decoded(*args)

    def slow(pixels):
        before = len(begun)
        time.sleep(0.2)  # in which a core decodes more than a hundred of these pictures
        during.append(len(begun) - before)
        return encode(pixels)

    monkeypatch.setattr(image_work, "decoded", counted)
    monkeypatch.setattr(backbone, "encode", slow)
    batches = [b for part in work.parts(contents, [{i.id for i in contents}]) for b in part]
    with ThreadPoolExecutor(2) as pool:
        results = list(computed(work, pool, iter(batches), ahead=4))
    assert sum(result.posts for result in results) == len(begun) == 60
    assert len(during) == 6
    assert max(during) <= 2
