"""Decoding and the model take gate on a CPU, and need not where the model is on a GPU."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mvsa_pipe.backbones import decoding, load_backbone
from mvsa_pipe.backbones.decoding import ExactDecoding
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.image_batches import DecodeGate, ImageWork
from mvsa_pipe.extraction.pipeline import launch_ahead
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.contents import Content, contents_of
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic


def read(gate):
    """An event that is set when it was a reader's turn."""
    passed = threading.Event()

    def wait():
        gate.await_readers()
        passed.set()

    threading.Thread(target=wait, daemon=True).start()
    return passed


def test_readers_wait_for_the_model():
    gate = DecodeGate(shared=True)
    with gate.model():
        passed = read(gate)
        assert not passed.wait(0.1)
    assert passed.wait(10)


def test_a_model_that_fails_gives_its_turn_back():
    gate = DecodeGate(shared=True)
    with pytest.raises(ValueError, match="broken"), gate.model():
        raise ValueError("broken")
    assert read(gate).wait(10)


def test_on_a_gpu_nobody_waits():
    gate = DecodeGate(shared=False)
    with gate.model():
        assert read(gate).wait(10)


def test_no_picture_is_begun_while_the_model_computes(tmp_path, monkeypatch):
    """But for those that readers were at when its turn began: one each. Files are read then."""
    write_synthetic(tmp_path, SyntheticConfig(posts=60, image_px=32))
    contents, _ = contents_of(read_posts(tmp_path), Modality.IMAGE)
    backbone = load_backbone(BackboneOptions("tiny-image"))
    forward = Forward(backbone, torch.device("cpu"), Precision.FLOAT32, StoredDtype.FLOAT16)
    work = ImageWork([forward], 10, Clock(), ExactDecoding())
    begun, during, fetched, ahead = [], [], [], []
    decode, encode, read_image = decoding.decode_image, backbone.encode, Content.read_image

    def watched(item):
        fetched.append(item.id)
        return read_image(item)

    def counted(*args):
        begun.append(args)
        return decode(*args)

    def slow(pixels):
        before = len(begun)
        time.sleep(0.2)  # in which a core decodes more than a hundred of these pictures
        ahead.append(len(fetched) - len(begun))
        during.append(len(begun) - before)
        return encode(pixels)

    monkeypatch.setattr(Content, "read_image", watched)
    monkeypatch.setattr(decoding, "decode_image", counted)
    monkeypatch.setattr(backbone, "encode", slow)
    batches = [b for part in work.parts(contents, [{i.id for i in contents}]) for b in part]
    with ThreadPoolExecutor(2) as pool:
        results = list(launch_ahead(work, pool, iter(batches), ahead=4))
    assert sum(result.posts for result in results) == len(begun) == 60
    assert len(during) == 6
    assert max(during) <= 2
    assert max(ahead) >= 8  # a batch is read meanwhile
