"""bert, from every place that its weights may lie in, against plain transformers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_support import (
    as_hub,
    encode_text,
    load_text,
    save_tokenizer,
    tiny_bert,
)
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertModel, BertTokenizer

from mvsa_pipe.backbones import bert, traits
from mvsa_pipe.backbones.base import weights_digest
from mvsa_pipe.backbones.options import Pooling
from mvsa_pipe.errors import BackboneError, ConfigError

TEXTS = ("goodly a b!", "", "x y z good")


def plain(folder: Path, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states and pooler output of transformers itself."""
    tokens = BertTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        output = BertModel.from_pretrained(folder, dtype=torch.float32).eval()(**tokens)
    return output.last_hidden_state[0], output.pooler_output[0]


@pytest.mark.parametrize("pooling", traits("bert").poolings)
def test_features_equal_plain_transformers(bert_folder: Path, pooling: Pooling) -> None:
    backbone = load_text("bert", weights=str(bert_folder), pooling=pooling, max_tokens=16)
    hidden, pooled = encode_text(backbone, *TEXTS)
    for k, text in enumerate(TEXTS):
        states, pooler = plain(bert_folder, text)
        wanted = {
            "cls": states[0],
            "mean": states.mean(dim=0),
            "pooler": pooler,
            "last": states[-1],
        }[pooling.value]
        torch.testing.assert_close(hidden[k, : len(states)], states, atol=1e-5, rtol=0)
        torch.testing.assert_close(pooled[k], wanted, atol=1e-5, rtol=0)


def test_padding_changes_nothing(bert_folder: Path) -> None:
    backbone = load_text("bert", weights=str(bert_folder), pooling=Pooling.MEAN, max_tokens=60)
    alone, padded = encode_text(backbone, "good a"), encode_text(backbone, "good a", width=60)
    length = alone.hidden.shape[1]
    torch.testing.assert_close(padded.hidden[:, :length], alone.hidden, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded.pooled, alone.pooled, atol=1e-5, rtol=0)


def test_cutting_keeps_the_closing_token(bert_folder: Path) -> None:
    backbone = load_text("bert", weights=str(bert_folder), max_tokens=5)
    (uncut,) = backbone.tokenize(["a b c d e f g h"])
    assert backbone.cut(uncut).tolist() == [*uncut[:4], uncut[-1]]
    assert len(uncut) == 10
    (short,) = backbone.tokenize(["a b c"])
    np.testing.assert_array_equal(backbone.cut(short), short)


def test_a_file_a_folder_and_the_hub_give_the_same_backbone(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    reference = as_hub(bert_folder, "google-bert/bert-base-uncased", tmp_path / "hub")
    as_typed = load_text("bert", max_tokens=16)
    assert reference in as_typed.identity.witnesses

    pth = tmp_path / "state.pth"  # its configuration and tokenizer are the published ones
    torch.save(load_file(bert_folder / "model.safetensors"), pth)
    small = tiny_bert().config
    monkeypatch.setattr(bert, "BertConfig", lambda: small)
    beside = bert_folder / "model.safetensors"
    for weights in (str(bert_folder), str(beside), str(pth)):
        other = load_text("bert", weights=weights, max_tokens=16)
        assert other.identity == as_typed.identity
        torch.testing.assert_close(
            encode_text(other, *TEXTS).hidden, encode_text(as_typed, *TEXTS).hidden
        )


def test_a_published_checkpoint_with_older_names_and_a_head(
    bert_folder: Path, tmp_path: Path
) -> None:
    """bert-base-uncased's own file: LayerNorm.gamma, a bert. prefix, the masked language model."""
    masked = BertForMaskedLM(tiny_bert().config)
    masked.bert.load_state_dict(tiny_bert().state_dict(), strict=False)
    state = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor.clone()
        for name, tensor in masked.state_dict().items()
    }
    state["bert.embeddings.position_ids"] = torch.arange(64)[None]
    shutil.copytree(bert_folder, tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    save_file(state, tmp_path / "old" / "published.safetensors")
    backbone = load_text(
        "bert", weights=str(tmp_path / "old" / "published.safetensors"), max_tokens=16
    )
    own = load_text("bert", weights=str(bert_folder), max_tokens=16)
    torch.testing.assert_close(
        encode_text(backbone, *TEXTS).hidden, encode_text(own, *TEXTS).hidden
    )


def test_a_pooler_that_the_checkpoint_lacks(bert_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no-pooler"
    shutil.copytree(bert_folder, folder)
    state = load_file(bert_folder / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if "pooler" not in k},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    for weights in (folder, folder / "model.safetensors"):
        load_text("bert", weights=str(weights), max_tokens=16)
        with pytest.raises(BackboneError, match=r"2 missing: pooler.*--weights bert=PATH"):
            load_text("bert", weights=str(weights), pooling=Pooling.POOLER, max_tokens=16)


def _lacking(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in state.items() if "layer.1.output" not in k}


def _misshapen(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {"embeddings.word_embeddings.weight": torch.zeros(7, 32)}


def _deeper(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return state | {k.replace("layer.1", "layer.2"): v.clone() for k, v in state.items()}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lacking, r"4 missing: encoder\.layer\.1\.output"),
        (_misshapen, r"1 of wrong shape: embeddings\.word_embeddings\.weight"),
        (_deeper, r"left over: encoder\.layer\.2"),
    ],
)
@pytest.mark.parametrize("what", ["folder", "file"])
def test_weights_of_another_architecture(
    bert_folder: Path, tmp_path: Path, damage: object, message: str, what: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(bert_folder, folder)
    state = load_file(bert_folder / "model.safetensors")
    save_file(damage(state), folder / "model.safetensors", {"format": "pt"})
    path = folder if what == "folder" else folder / "model.safetensors"
    with pytest.raises(BackboneError, match=message) as caught:
        load_text("bert", weights=str(path), max_tokens=16)
    assert "--weights bert=PATH" in str(caught.value)


def test_a_folder_of_another_family(dinov2_folder: Path) -> None:
    with pytest.raises(BackboneError, match=r"not a bert model.*model_type bert.*dinov2"):
        load_text("bert", weights=str(dinov2_folder))


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match=r"cannot be loaded.*--weights bert=PATH"):
        load_text("bert")
    with pytest.raises(BackboneError, match=r"a path that does not exist.*--weights bert=PATH"):
        load_text("bert", weights=str(tmp_path / "nowhere"))


def test_weights_without_a_tokenizer(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("config.json", "model.safetensors"):
        shutil.copy(bert_folder / name, tmp_path)
    with pytest.raises(BackboneError, match=r"comes without its tokenizer"):
        load_text("bert", weights=str(tmp_path), max_tokens=16)


def test_more_tokens_than_positions(bert_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--max-tokens.*at most 64"):
        load_text("bert", weights=str(bert_folder), max_tokens=65)


def test_other_weights_are_another_identity(bert_folder: Path, tmp_path: Path) -> None:
    tiny_bert(seed=1).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    one = load_text("bert", weights=str(bert_folder), max_tokens=16)
    two = load_text("bert", weights=str(tmp_path), max_tokens=16)
    assert one.identity.weights != two.identity.weights
    assert one.identity.preprocessing == two.identity.preprocessing


def test_half_precision_files_are_the_weights_that_they_hold(
    bert_folder: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert_folder / name, tmp_path)
    half = {k: v.half() for k, v in load_file(bert_folder / "model.safetensors").items()}
    save_file(half, tmp_path / "model.safetensors", {"format": "pt"})
    save_file({k: v.float() for k, v in half.items()}, tmp_path / "full.safetensors")
    stored = load_text("bert", weights=str(tmp_path), max_tokens=16)
    assert next(stored.module.parameters()).dtype is torch.float32
    full = load_text("bert", weights=str(tmp_path / "full.safetensors"), max_tokens=16)
    assert stored.identity.weights == full.identity.weights == weights_digest(full.module)
