"""What is remembered of a backbone holds exactly as long as everything it rests on."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from mvsa_pipe import file_stamps
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.extraction import fingerprint_memo
from mvsa_pipe.extraction.fingerprint_memo import recall
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone
from mvsa_pipe.extraction.options import ExtractOptions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "squeezenet1_0.safetensors"
    torch.manual_seed(0)
    save_file(models.squeezenet1_0(weights=None).state_dict(), path)
    return path


@pytest.fixture
def weights(made: Path, tmp_path: Path) -> Path:
    path = tmp_path / "weights" / "squeezenet1_0.safetensors"
    path.parent.mkdir()
    path.write_bytes(made.read_bytes())
    return path


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExtractOptions:
    monkeypatch.setattr(file_stamps, "SETTLED_SECONDS", -60.0)  # files here are seconds old
    return ExtractOptions(cache=tmp_path / "cache", precision="float32", device="cpu")


def wanted(weights: Path) -> BackboneOptions:
    return BackboneOptions("torchvision:squeezenet1_0", str(weights))


def load(weights: Path, options: ExtractOptions) -> Fingerprint:
    return LoadedBackbone.load(wanted(weights), options).resolved.fingerprint


def memo(options: ExtractOptions) -> Path:
    (path,) = (options.cache / ".resolved").iterdir()
    return path


def test_it_is_recalled(weights: Path, options: ExtractOptions) -> None:
    assert recall(wanted(weights), options) is None
    fingerprint = load(weights, options)
    found = recall(wanted(weights), options)
    assert found is not None
    assert found.fingerprint == fingerprint
    assert found.device.startswith("cpu")


def test_changed_weights_are_another_fingerprint(weights: Path, options: ExtractOptions) -> None:
    first = load(weights, options)
    status = weights.stat()
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)  # of the same length, and with the old time put back
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert recall(wanted(weights), options) is None
    assert load(weights, options).weights != first.weights
    weights.unlink()
    assert recall(wanted(weights), options) is None


@pytest.mark.parametrize(
    "change",
    [{"precision": "bfloat16"}, {"dtype": StoredDtype.FLOAT32}, {"device": "auto"}],
    ids=str,
)
def test_other_options_are_another_question(
    weights: Path, options: ExtractOptions, change: dict[str, object]
) -> None:
    load(weights, options)
    assert recall(wanted(weights), replace(options, **change)) is None
    assert recall(replace(wanted(weights), weights="IMAGENET1K_V1"), options) is None


@pytest.mark.parametrize("name", ["HF_HOME", "TORCH_HOME", "CUDA_VISIBLE_DEVICES"])
def test_another_environment_is_another_question(
    weights: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    load(weights, options)
    monkeypatch.setenv(name, "elsewhere")
    assert recall(wanted(weights), options) is None


@pytest.mark.parametrize("what", ["package_versions", "_code_digest", "_cpu_digest"])
def test_another_machine_or_program_is_another_question(
    weights: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    load(weights, options)
    monkeypatch.setattr(fingerprint_memo, what, lambda: "another")
    assert recall(wanted(weights), options) is None


@pytest.mark.parametrize("spoil", ["", "{", "[]", "{}", "null", '{"question": 1}', "\0\xff"])
def test_a_damaged_memo_is_no_memo(weights: Path, options: ExtractOptions, spoil: str) -> None:
    fingerprint = load(weights, options)
    memo(options).write_bytes(spoil.encode("latin-1"))
    assert recall(wanted(weights), options) is None
    assert load(weights, options) == fingerprint
    assert recall(wanted(weights), options) is not None


def test_a_memo_of_nonsense_values(weights: Path, options: ExtractOptions) -> None:
    load(weights, options)
    known = json.loads(memo(options).read_text())
    for key, value in (
        ("witnesses", {"/no/such/file": [1]}),
        ("fingerprint", "{}"),
        ("witnesses", 3),
    ):
        memo(options).write_text(json.dumps(known | {key: value}))
        assert recall(wanted(weights), options) is None


def test_files_that_may_have_changed_while_loading_are_not_remembered(
    weights: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stamps, "SETTLED_SECONDS", 2.0)
    load(weights, options)  # the file is younger than that
    assert recall(wanted(weights), options) is None
    old = time.time() - 60
    os.utime(weights, (old, old))  # a copy keeps its time; that it is new shows all the same
    load(weights, options)
    assert recall(wanted(weights), options) is None


def test_a_file_added_to_a_folder_can_be_what_is_loaded(tmp_path: Path) -> None:
    from mvsa_pipe.backbones.weights import WeightsSource

    (tmp_path / "config.json").write_text("{}")
    source = WeightsSource(str(tmp_path))
    before = [(path, path.stat().st_mtime_ns) for path in source.witnesses]
    time.sleep(0.01)
    (tmp_path / "model.safetensors").touch()
    assert any(path.stat().st_mtime_ns != then for path, then in before)


def test_a_cache_folder_that_cannot_hold_a_memo(weights: Path, options: ExtractOptions) -> None:
    options.cache.mkdir()
    (options.cache / ".resolved").write_text("a file")
    assert load(weights, options).precision == "float32"
    assert recall(wanted(weights), options) is None
