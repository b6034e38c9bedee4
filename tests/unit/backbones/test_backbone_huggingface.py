"""The open doors to Hugging Face: any encoder of texts or pictures, and what is none."""

import json
from pathlib import Path

import pytest
import torch
from backbone_support import (
    WORDS,
    encode_images,
    encode_text,
    load_image,
    load_text,
    noise,
    save_tokenizer,
)
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BaseImageProcessor,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2Model,
    ResNetConfig,
    ResNetModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.errors import BackboneError, ConfigError

PICTURES = (noise(50, 40), noise(33, 70, 1))


def save_processor(folder: Path, **options: object) -> BaseImageProcessor:
    ViTImageProcessor(size={"height": 32, "width": 32}, **options).save_pretrained(folder)
    return AutoImageProcessor.from_pretrained(folder, backend="pil")


def test_any_text_encoder(bert_folder: Path) -> None:
    by_door = load_text(f"hf-text:{bert_folder}", max_tokens=16)
    by_name = load_text("bert", weights=str(bert_folder), max_tokens=16, pooling=Pooling.MEAN)
    assert by_door.identity.name == f"hf-text:{bert_folder.name}"  # no path of this machine
    assert by_door.identity.weights == by_name.identity.weights
    one, two = encode_text(by_door, "good a"), encode_text(by_name, "good a")
    assert torch.equal(one.pooled, two.pooled)


@pytest.mark.parametrize("max_tokens", [5, 16])
def test_tokens_are_found_in_their_text(bert_folder: Path, max_tokens: int) -> None:
    backbone = load_text(f"hf-text:{bert_folder}", max_tokens=max_tokens)
    text = " good  a, good day good"
    spans = backbone.spans(text)
    assert len(spans) == len(backbone.cut(backbone.tokenize([text])[0]))
    assert spans[0] == spans[-1] == (0, 0)
    assert [text[start:end] for start, end in spans[1:4]] == ["good", "a", ","]


def test_a_tokenizer_s_own_truncation_and_padding_stay_out(
    bert_folder: Path, tmp_path: Path
) -> None:
    for path in bert_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    rules = json.loads((tmp_path / "tokenizer.json").read_text())
    rules["truncation"] = {
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    rules["padding"] = {
        "strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    backbone = load_text(f"hf-text:{tmp_path}", max_tokens=16)
    assert [len(row) for row in backbone.tokenize(["a b c d e f", "a"])] == [8, 3]
    own = load_text(f"hf-text:{bert_folder}", max_tokens=16)
    assert backbone.identity.preprocessing == own.identity.preprocessing


def test_roberta_counts_positions_from_behind_its_padding(tmp_path: Path) -> None:
    config = RobertaConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=18, pad_token_id=0,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match="at most 17"):
        load_text(f"hf-text:{tmp_path}", max_tokens=18)
    backbone = load_text(f"hf-text:{tmp_path}", max_tokens=17)
    assert encode_text(backbone, "a " * 40).hidden.shape == (1, 17, 32)


def test_the_text_half_of_a_two_legged_model(tmp_path: Path) -> None:
    CLIPModel(_clip()).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match="at most 12"):
        load_text(f"hf-text:{tmp_path}")
    backbone = load_text(f"hf-text:{tmp_path}", max_tokens=12)
    assert encode_text(backbone, "a " * 40).hidden.shape == (1, 12, 32)


def _clip() -> CLIPConfig:
    half = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32,
    }  # fmt: skip
    text = half | {"vocab_size": len(WORDS), "max_position_embeddings": 12, "eos_token_id": 3}
    return CLIPConfig(text_config=text, vision_config=half | {"image_size": 32, "patch_size": 16})


@pytest.mark.parametrize("kind", ["vit", "vit-without-pooler", "resnet", "clip"])
def test_any_image_encoder(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    vit = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=16,
    )  # fmt: skip
    model = {
        "vit": lambda: ViTModel(vit),
        "vit-without-pooler": lambda: ViTModel(vit, add_pooling_layer=False),
        "resnet": lambda: ResNetModel(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ),
        "clip": lambda: CLIPModel(_clip()),
    }[kind]()
    model.save_pretrained(tmp_path)
    processor = save_processor(tmp_path)
    backbone = load_image(f"hf-image:{tmp_path}")
    hidden, pooled = encode_images(backbone, *PICTURES)
    plain = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    plain = plain.vision_model if kind == "clip" else plain
    with torch.no_grad():
        output = plain(**processor(images=list(PICTURES), return_tensors="pt"))
    states = output.last_hidden_state
    states = states.flatten(2).transpose(1, 2) if states.dim() == 4 else states
    torch.testing.assert_close(hidden, states, atol=1e-5, rtol=0)
    assert (backbone.tokens, backbone.width) == tuple(states.shape[1:])
    wanted = states.mean(1) if kind == "vit-without-pooler" else output.pooler_output.flatten(1)
    torch.testing.assert_close(pooled, wanted, atol=1e-5, rtol=0)


def test_the_processor_is_part_of_the_identity(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    ResNetModel(config).save_pretrained(tmp_path)
    save_processor(tmp_path)
    one = load_image(f"hf-image:{tmp_path}").identity
    save_processor(tmp_path, image_mean=[0.1, 0.2, 0.3])
    two = load_image(f"hf-image:{tmp_path}").identity
    assert one.weights == two.weights
    assert one.preprocessing != two.preprocessing


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic")
    ResNetModel(config).save_pretrained(tmp_path)
    save_processor(tmp_path, do_resize=False)
    backbone = load_image(f"hf-image:{tmp_path}")
    with pytest.raises(BackboneError, match=r"different sizes.*\(3, 40, 50\)"):
        backbone.prepare(PICTURES[0])


def test_what_is_no_encoder_of_texts(bert_folder: Path, tmp_path: Path) -> None:
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(BackboneError, match="encoder with a decoder"):
        load_text(f"hf-text:{tmp_path}")
    with pytest.raises(BackboneError, match="cannot be loaded"):
        load_image(f"hf-image:{bert_folder}")
    with pytest.raises(BackboneError, match=r"cannot be loaded.*--weights hf-text:no/such=PATH"):
        load_text("hf-text:no/such")


def test_a_model_without_a_pooler(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=len(WORDS), n_embd=32, n_layer=1, n_head=2, n_positions=20)
    GPT2Model(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match=r"no pooler.*cls or mean"):
        load_text(f"hf-text:{tmp_path}", pooling=Pooling.POOLER, max_tokens=20)
    backbone = load_text(f"hf-text:{tmp_path}", max_tokens=20)
    assert encode_text(backbone, "a b").hidden.shape == (1, 4, 32)


def test_a_relative_folder_is_found_again_from_anywhere(
    bert_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(bert_folder.parent)
    options = BackboneOptions(f"hf-text:{bert_folder.name}").located()
    monkeypatch.chdir(tmp_path)
    assert options.folder == bert_folder
