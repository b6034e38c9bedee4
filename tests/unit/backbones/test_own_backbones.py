"""Backbones outside of the package: how the tables take them, and what tells caches apart."""

import pickle

import pytest
from own_code import WORDS, start_again, write_code

from mvsa_pipe.backbones import TEXT_BACKBONES, backbone_name, load_backbone, parse_backbone
from mvsa_pipe.backbones.from_record import backbone_from_record
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.own import register_backbone
from mvsa_pipe.backbones.tiny import TinyText
from mvsa_pipe.errors import CacheError, ConfigError, UnknownNameError
from mvsa_pipe.layers import Layers
from mvsa_pipe.modality import Modality


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    start_again(monkeypatch, tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    return write_code(tmp_path / "mine.py", WORDS)


def test_a_class_of_a_file_has_a_row_and_a_name():
    options = BackboneOptions("mine.py:Words", max_tokens=5)
    assert options.name == "words"
    assert parse_backbone("words") == (Modality.TEXT, "words", "")
    assert TEXT_BACKBONES.row("words").summary == "A random vector a word"
    backbone = load_backbone(options)
    assert backbone.identity.name == "words"
    assert not any(p.requires_grad for p in backbone.module.parameters())
    assert backbone.identity.preprocessing["max_tokens"] == 5
    assert backbone.identity.preprocessing["source"] == options.source.sha256[:16]
    assert backbone_name("bert") == "bert"
    with pytest.raises(UnknownNameError, match=r"did you mean torchvision"):
        BackboneOptions("tourchvision:resnet18")
    with pytest.raises(ConfigError, match=r"only the last can be stored"):
        load_backbone(BackboneOptions("words", layers=Layers.ALL))


def test_a_changed_source_is_another_identity(fresh, monkeypatch):
    before = load_backbone(BackboneOptions("mine.py:Words")).identity
    write_code(fresh, WORDS + "# changed\n")
    start_again(monkeypatch)
    after = load_backbone(BackboneOptions("mine.py:Words")).identity
    assert before.weights == after.weights
    assert before != after


def test_records_and_other_processes_find_the_class(fresh, monkeypatch, tmp_path):
    options = BackboneOptions("mine.py:Words")
    record, pickled = options.located().as_record(), pickle.dumps(options)
    assert "source" not in BackboneOptions("tiny-text").as_record()
    start_again(monkeypatch)
    assert pickle.loads(pickled).modality is Modality.TEXT
    start_again(monkeypatch)
    assert backbone_from_record(record, "a cache") == options
    write_code(fresh, WORDS + "# changed\n")
    start_again(monkeypatch)
    with pytest.raises(CacheError, match="has changed since") as caught:
        backbone_from_record(record, "a cache")
    assert "mvsa extract --backbone" in caught.value.hint
    BackboneOptions("mine.py:Words")
    with pytest.raises(CacheError, match="is not the class that these features came from"):
        backbone_from_record(record, "a cache")
    write_code(fresh, WORDS)
    start_again(monkeypatch, tmp_path / "somebody else")
    with pytest.raises(CacheError, match="code that you have not run before"):
        backbone_from_record(record, "a cache")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("class Words(TextBackbone)", "class Words", "This is no backbone"),
        ("class Words(", "class Bert(", r"there is a text backbone 'bert'"),
        ("class Words(", "class Dinov2(", r"there is a image backbone 'dinov2'"),
        ("def cut(", "def cuts(", r"not complete.*methods cut"),
        ("self.pad_id = 8, options.max_tokens, 0", "_ = 8, 9, 0", "not complete.*self.pad_id, int"),
        ("self.width, self.max", "1 / 0; self.width, self.max", "cannot be built.*ZeroDivision"),
    ],
)
def test_what_is_no_usable_backbone_is_one_paragraph(fresh, old, new, expected):
    assert old in WORDS
    write_code(fresh, WORDS.replace(old, new))
    name = new.partition("class ")[2].partition("(")[0] or "Words"
    with pytest.raises(ConfigError, match=expected):
        load_backbone(BackboneOptions(f"mine.py:{name}"))


def test_classes_without_a_file_are_refused():
    kind = type("Cell", (TinyText,), {"__module__": "__main__"})
    with pytest.raises(ConfigError, match="no source file"):
        register_backbone(kind)
