"""Weights files that are damaged, hostile, or no weights at all."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from backbone_support import Bomb
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import save_file

from mvsa_pipe.backbones.pretrained import pretrained
from mvsa_pipe.backbones.weights import read_weights
from mvsa_pipe.errors import BackboneError

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2)}


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}]
)
def test_state_files(tmp_path: Path, wrap: object) -> None:
    torch.save(wrap({f"module.{k}": v for k, v in STATE.items()}), tmp_path / "s.pth")
    save_file(STATE, tmp_path / "s.safetensors")
    for name in ("s.pth", "s.safetensors"):
        state = read_weights(tmp_path / name)
        assert state.keys() == STATE.keys()
        assert all(torch.equal(state[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, legacy: bool) -> None:
    proof, path = tmp_path / "ran", tmp_path / "bomb.pth"
    torch.save({"a": Bomb(proof), **STATE}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BackboneError, match="cannot be read safely") as caught:
        read_weights(path)
    assert "safetensors.torch.save_file" in str(caught.value)
    assert not proof.exists()


def test_what_holds_no_tensors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"lr": 0.1}, tmp_path / "numbers.pth")
    for name in ("list.pth", "numbers.pth"):
        with pytest.raises(BackboneError, match="contains no state dict"):
            read_weights(tmp_path / name)
    with pytest.raises(BackboneError, match="no weights file"):
        read_weights(tmp_path)
    (tmp_path / "text.pth").write_text("these are no weights")
    (tmp_path / "text.safetensors").write_text("these are no weights")
    (tmp_path / "empty.pth").touch()
    for name in ("text.pth", "text.safetensors", "empty.pth"):
        with pytest.raises(BackboneError, match="cannot be read safely"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["s.pth", "s.safetensors", "legacy.pth"])
def test_damaged_files_never_end_in_another_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(STATE, path, _use_new_zipfile_serialization=name == "s.pth")
    else:
        save_file(STATE, path)
    whole, draw = path.read_bytes(), random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        if draw.random() < 0.3:
            del damaged[draw.randrange(len(whole)) :]
        else:
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            read_weights(path)
        except BackboneError:
            continue


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("dinov3", "facebook/dinov3-vitb16-pretrain-lvd1689m", r"its terms \(DINOv3 License\) on"),
        ("hf-text:some/model", "some/model", "its terms on the page of some/model"),
    ],
)
def test_gated_weights_name_their_terms(name: str, source: str, said: str) -> None:
    def load(_: str, **__: object) -> None:
        answer = SimpleNamespace(headers={}, request=None)
        try:
            raise GatedRepoError("gated", response=answer)  # type: ignore[arg-type]
        except GatedRepoError as error:
            raise OSError("You are trying to access a gated repo.") from error

    with pytest.raises(BackboneError, match=rf"{said}.*sign in.*--weights {name}=PATH"):
        pretrained(load, source, name)


def test_other_weights_that_cannot_be_fetched_have_no_terms() -> None:
    def load(_: str, **__: object) -> None:
        raise OSError("no connection")

    with pytest.raises(BackboneError, match=r"Next: point to weights on this machine"):
        pretrained(load, "google-bert/bert-base-uncased", "bert")
