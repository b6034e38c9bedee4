"""Extraction with pictures decoded on the device: whole, mixed, broken, alone and together.

A CPU stands in for the device in all tests but the last.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extraction_support import twelve_posts
from feature_caches import features
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions, Decode
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.errors import BackboneError, ConfigError
from mvsa_pipe.extraction import device_decoding, device_image_work, extract, session
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.contents import Content, contents_of
from mvsa_pipe.extraction.device_image_work import DeviceImageWork
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.work import BatchResult
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet
from mvsa_pipe.progress import Silence

GPU, EXACT = (BackboneOptions("tiny-image", decode=d) for d in (Decode.GPU, Decode.EXACT))
CPU = torch.device("cpu")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any device may decode."""
    for room in (device_decoding, session):
        monkeypatch.setattr(room, "require_device_decoder", lambda _: None)


@pytest.fixture
def posts(tmp_path: Path) -> PostSet:
    return twelve_posts(tmp_path / "posts", image_px=96)


@pytest.fixture
def options(tmp_path: Path) -> ExtractOptions:
    return ExtractOptions(
        cache=tmp_path / "cache", device="cpu", precision="float32", batch_size=5, workers=2
    )


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many JPEGs the device was given at a time."""
    sizes: list[int] = []
    honest = device_decoding.decode_jpegs

    def decode(jpegs: Sequence[bytes], device: torch.device) -> Any:
        sizes.append(len(jpegs))
        return honest(jpegs, device)

    monkeypatch.setattr(device_image_work, "decode_jpegs", decode)
    monkeypatch.setattr(session.Session, "deviation", lambda *_: None)
    return sizes


def picture_of(posts: PostSet, number: int) -> Path:
    return posts.storage.root / "data" / f"{posts.posts[number].id}.jpg"


def pooled(file: Any) -> dict[str, np.ndarray]:
    return {i: np.frombuffer(said[1], "f2").astype("f4") for i, said in features(file).items()}


def cosines(found: Any, wanted: Any) -> np.ndarray:
    a, b = (np.stack([pooled(f)[i] for i in wanted.header.ids]) for f in (found, wanted))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.usefixtures("stand_in")
def test_an_extraction_from_end_to_end(
    posts: PostSet, options: ExtractOptions, batches: list[int]
) -> None:
    exact = extract.extract(posts, EXACT, options, Silence())
    assert batches == []
    found = extract.extract(posts, GPU, options, Silence())
    assert batches == [5, 5, 2]
    assert found.file.path != exact.file.path
    fields = found.file.header.fingerprint.differences(exact.file.header.fingerprint)
    assert fields == {"preprocessing.decoder": (Decode.GPU.decoder, "pillow")}
    assert found.file.header.ids == exact.file.header.ids
    assert cosines(found.file, exact.file).min() > 0.999
    again = extract.extract(posts, GPU, options, Silence())
    assert (again.extracted, again.reused, len(batches)) == (0, 12, 3)


@pytest.mark.usefixtures("stand_in")
def test_every_second_is_counted_once(
    posts: PostSet, options: ExtractOptions, batches: list[int]
) -> None:
    profile = extract.extract(posts, GPU, options, Silence()).profile
    assert batches
    stages = profile["stages"]
    assert min(stages[name] for name in ("decode", "transform", "model")) > 0
    assert stages["idle"] >= 0
    assert sum(stages.values()) == pytest.approx(profile["lane_seconds"], abs=1e-3)


def without_quantization(jpeg: bytes) -> bytes:
    """The same JPEG with its tables made comments: whole by its header and end, yet no picture."""
    return jpeg.replace(b"\xff\xdb", b"\xff\xfe")


def mixed(posts: PostSet) -> dict[int, str]:
    """Lays one picture of every kind among plain ones; which of them cannot be read, and why."""
    with Image.open(picture_of(posts, 0)) as opened:
        plain = opened.convert("RGB")
    whole = picture_of(posts, 0).read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.save(picture_of(posts, 1), "PNG")
    plain.save(picture_of(posts, 2), "JPEG", exif=exif)
    plain.convert("CMYK").save(picture_of(posts, 3), "JPEG")
    plain.convert("L").save(picture_of(posts, 4), "JPEG")
    picture_of(posts, 5).write_bytes(whole[:-300])
    picture_of(posts, 6).write_bytes(whole[:-2] + b"\0\0")
    picture_of(posts, 7).write_bytes(without_quantization(whole))
    picture_of(posts, 8).write_bytes(b"no picture")
    Image.new("RGB", (1000, 3)).save(picture_of(posts, 9), "JPEG")
    return {5: "damaged", 7: "damaged", 8: "no picture", 9: "too narrow"}


@pytest.mark.usefixtures("stand_in")
def test_a_batch_of_all_kinds(posts: PostSet, options: ExtractOptions, batches: list[int]) -> None:
    bad = mixed(posts)
    skipping = replace(options, on_bad_post=BadPostPolicy.SKIP, batch_size=12)
    exact = extract.extract(posts, EXACT, skipping, Silence())
    found = extract.extract(posts, GPU, skipping, Silence())
    assert found.skipped == exact.skipped
    assert found.skipped.keys() == {posts.posts[number].id for number in bad}
    for number, fault in bad.items():
        assert fault in found.skipped[posts.posts[number].id]
    assert found.file.header.ids == exact.file.header.ids
    # 0, 4, 10 and 11 are plain, 7 seems so: after it was refused each is decoded for itself.
    assert batches == [5, 1, 1, 1, 1, 1]
    likeness = dict(zip(exact.file.header.ids, cosines(found.file, exact.file), strict=True))
    assert min(likeness.values()) > 0.999
    by_pillow = {posts.posts[number].id for number in (1, 2, 3, 6)}
    assert all(likeness[i] == pytest.approx(1, abs=1e-6) for i in by_pillow)


@pytest.mark.usefixtures("stand_in")
def test_pixels_do_not_depend_on_what_is_beside(
    posts: PostSet, options: ExtractOptions, batches: list[int]
) -> None:
    skipping = replace(options, on_bad_post=BadPostPolicy.SKIP)
    alone = pooled(extract.extract(posts, GPU, skipping, Silence()).file)
    picture_of(posts, 2).write_bytes(without_quantization(picture_of(posts, 2).read_bytes()))
    other = replace(skipping, cache=options.cache / "other")
    beside = pooled(extract.extract(posts, GPU, other, Silence()).file)
    assert 1 in batches
    assert beside.keys() == alone.keys() - {posts.posts[2].id}
    for post_id, values in beside.items():  # batches of another size may round otherwise
        np.testing.assert_allclose(values, alone[post_id], atol=4e-3)


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> BackboneOptions:
    path = tmp_path_factory.mktemp("weights") / "squeezenet1_0.safetensors"
    torch.manual_seed(0)
    save_file(models.squeezenet1_0(weights=None).state_dict(), path)
    return BackboneOptions("torchvision:squeezenet1_0", str(path), decode=Decode.GPU)


@pytest.mark.usefixtures("stand_in")
def test_several_backbones_have_every_picture_decoded_once(
    posts: PostSet, options: ExtractOptions, batches: list[int], squeezenet: BackboneOptions
) -> None:
    apart = replace(options, cache=options.cache / "apart")
    wanted = [extract.extract(posts, b, apart, Silence()).file for b in (squeezenet, GPU)]
    batches.clear()
    done = extract_all(posts, [squeezenet, GPU], options, Silence())
    assert batches == [5, 5, 2]
    for found, file in zip(done, wanted, strict=True):
        assert found.file.header.fingerprint == file.header.fingerprint
        assert features(found.file) == features(file)


@pytest.mark.usefixtures("stand_in")
def test_backbones_of_other_decoders_have_a_pass_of_their_own(
    posts: PostSet, options: ExtractOptions, batches: list[int], squeezenet: BackboneOptions
) -> None:
    exactly = replace(squeezenet, decode=Decode.EXACT)
    apart = replace(options, cache=options.cache / "apart")
    wanted = features(extract.extract(posts, exactly, apart, Silence()).file)
    tiny, other = extract_all(posts, [GPU, exactly], options, Silence())
    assert batches == [5, 5, 2]
    assert features(other.file) == wanted
    assert tiny.file.header.fingerprint.preprocessing["decoder"] == Decode.GPU.decoder


def work_of(*backbones: BackboneOptions) -> DeviceImageWork:
    forwards: list[Forward[Any]] = [
        Forward(load_backbone(b), CPU, Precision.FLOAT32, StoredDtype.FLOAT32) for b in backbones
    ]
    return DeviceImageWork(forwards, 12, Clock())


def computed(work: DeviceImageWork, contents: Sequence[Content]) -> BatchResult:
    ready = work.read((tuple(contents),) * len(work.forwards))
    return work.collect(work.launch(ready))


def test_backbones_of_one_rule_share_pixels(
    posts: PostSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, _ = contents_of(posts, Modality.IMAGE)
    work = work_of(GPU, GPU)
    calls: Counter[int] = Counter()
    for number, backbone in enumerate(work._backbones):
        honest = backbone.prepare_tensor
        monkeypatch.setattr(
            backbone,
            "prepare_tensor",
            lambda whole, n=number, f=honest: (calls.update([n]), f(whole))[1],
        )
    first, second = computed(work, contents).computed
    assert calls == {0: 12}
    assert first is not None
    assert second is not None
    assert np.array_equal(first.pooled, second.pooled)


def test_memory_for_one_at_a_time_suffices(posts: PostSet, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, _ = contents_of(posts, Modality.IMAGE)
    (wanted,) = computed(work_of(GPU), contents).computed
    honest, most = device_decoding.decode_jpegs, 1

    def decode(jpegs: Sequence[bytes], device: torch.device) -> Any:
        if len(jpegs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to …")
        return honest(jpegs, device)

    monkeypatch.setattr(device_image_work, "decode_jpegs", decode)
    (found,) = computed(work_of(GPU), contents).computed
    assert found is not None
    assert wanted is not None
    assert np.array_equal(found.pooled, wanted.pooled)
    most = 0
    with pytest.raises(BackboneError, match=r"single picture needs more memory.*CUDA out of"):
        computed(work_of(GPU), contents)


@pytest.mark.parametrize("device", ["cpu", pytest.param("auto", id="auto")])
@pytest.mark.skipif(torch.cuda.is_available(), reason="here a GPU can decode")
def test_it_is_refused_where_no_device_decodes(
    posts: PostSet, options: ExtractOptions, device: str
) -> None:
    both = [BackboneOptions("tiny-text"), GPU]
    with pytest.raises(ConfigError) as refusal:
        extract_all(posts, both, replace(options, device=device), Silence())
    said = refusal.value.paragraph()
    assert "--decode gpu" in said
    assert "a CUDA device, and a torchvision that decodes JPEGs on it" in said
    assert f"device {CPU} (torch {torch.__version__}" in said
    assert "use --decode exact" in said
    assert not options.cache.exists()


def test_it_is_refused_where_torchvision_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a build of torchvision without nvJPEG, beside a torch that has CUDA."""

    def fail(*_: object) -> None:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support\n…")

    monkeypatch.setattr(device_decoding, "resolve_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(device_decoding.torch.version, "cuda", "13.2")
    monkeypatch.setattr(device_decoding, "_decoded", fail)
    with pytest.raises(ConfigError, match=r"device cuda .* not compiled with nvJPEG support"):
        device_decoding.require_device_decoder("cuda")
    monkeypatch.setattr(device_decoding, "_decoded", lambda *_: [])
    device_decoding.require_device_decoder("cuda")
    monkeypatch.setattr(device_decoding.torch.version, "cuda", None)  # as for AMD's cards
    with pytest.raises(ConfigError, match="built for CUDA None"):
        device_decoding.require_device_decoder("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_features_of_a_real_gpu(
    posts: PostSet, options: ExtractOptions, squeezenet: BackboneOptions
) -> None:
    try:
        device_decoding.require_device_decoder("cuda")
    except ConfigError as error:
        pytest.skip(error.paragraph())
    bad = mixed(posts)
    on_gpu = replace(options, device="cuda", on_bad_post=BadPostPolicy.SKIP, batch_size=12)
    exactly = [replace(b, decode=Decode.EXACT) for b in (squeezenet, GPU)]
    wanted = extract_all(posts, exactly, on_gpu, Silence())
    done = extract_all(posts, [squeezenet, GPU], on_gpu, Silence())
    for found, exact in zip(done, wanted, strict=True):
        assert found.skipped == exact.skipped
        assert found.skipped.keys() == {posts.posts[number].id for number in bad}
        assert cosines(found.file, exact.file).min() >= 0.999
