"""Heads outside of the package: what they declare, and how the table of heads takes them."""

from dataclasses import asdict, dataclass

import pytest
import torch
from own_code import MINE, start_again, write_code
from torch import nn

from mvsa_pipe import user_code
from mvsa_pipe.errors import ConfigError, RunError, UnknownNameError
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads import HEADS, named_head
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Dropout
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.gated import Gated
from mvsa_pipe.heads.options import HeadOptions, size
from mvsa_pipe.heads.own import SOURCE, SOURCE_FILE, head_name, recorded_head, register_head
from mvsa_pipe.registry import Registry

SIZES = FeatureSizes(text_width=5, image_width=4, image_tokens=3, classes=3)


@pytest.fixture(autouse=True)
def fresh_table(monkeypatch, tmp_path):
    """A table of heads that forgets what a test adds, and a user who has named nothing."""
    start_again(monkeypatch, tmp_path / "state")
    monkeypatch.chdir(tmp_path)


def batch(posts=4):
    draws = torch.Generator().manual_seed(0)
    return FeatureBatch(
        text_pooled=torch.randn(posts, 5, generator=draws),
        image_pooled=torch.randn(posts, 4, generator=draws),
    )


class Plain(FusionHead):
    """Reads the text. It has no options."""

    needs = (Field.TEXT_POOLED,)

    def __init__(self, sizes):
        super().__init__(sizes)
        self.out = nn.Linear(sizes.text_width, sizes.classes)

    def forward(self, batch):
        return self.out(self.read(batch, "text_pooled"))


def test_a_head_of_a_file_is_built_by_name(tmp_path):
    path = write_code(tmp_path / "my_heads.py", MINE)
    assert named_head("my_heads.py:Mine") == "mine"
    assert named_head("mine") == head_name("my_heads.py:Mine") == "mine"
    row = HEADS.row("mine")
    assert row.target == f"{path}:Mine"
    assert row.summary == "Multiplies both vectors, brought to one width"
    head = build_head("mine", SIZES, 0, {"width": "3", "dropout": 0})
    assert head.needs == {Field.TEXT_POOLED, Field.IMAGE_POOLED}
    assert asdict(head.options) == {"width": 3, "dropout": 0.0}
    assert head(batch()).shape == (4, 3)
    assert not head.shares_stack
    with pytest.raises(ConfigError, match=r"no option 'widht'.*did you mean width"):
        build_head("mine", SIZES, 0, {"widht": 3})
    with pytest.raises(UnknownNameError, match="did you mean mine"):
        named_head("minee")


def test_layers_of_torchs_dropout_draw_from_the_heads_own_generator(tmp_path):
    write_code(tmp_path / "my_heads.py", MINE)
    name = head_name("my_heads.py:Mine")

    def logits(seed):
        return build_head(name, SIZES, seed, {"dropout": 0.5}).train()(batch())

    first = logits(1)
    torch.rand(3)
    assert torch.equal(first, logits(1))
    layers = [m for m in build_head(name, SIZES, 0).modules() if isinstance(m, nn.Dropout)]
    assert layers == []
    (layer,) = build_head(name, SIZES, 0, {"dropout": 0.5}).dropouts().values()
    assert isinstance(layer, Dropout)
    assert layer.probability == 0.5


def test_options_as_a_frozen_dataclass_of_ones_own_or_derived():
    @dataclass(frozen=True)
    class Free:
        width: int = 3
        mix: str = "sum"

    @dataclass(frozen=True)
    class Bound(HeadOptions):
        width: int = size(3)

    class Base(Plain):
        def __init__(self, sizes, options):
            super().__init__(sizes)
            self.seen = options

    class WithFree(Base):
        Options = Free

    class WithBound(Base):
        Options = Bound

    register_head(WithFree)
    register_head(WithBound)
    head = build_head("with-free", SIZES, 0, {"width": "7"})
    assert isinstance(head.seen, Free)
    assert asdict(head.options) == {"width": 7, "mix": "sum"}
    with pytest.raises(ConfigError, match=r"'width' cannot be used.*Found 0"):
        build_head("with-bound", SIZES, 0, {"width": 0})


def test_a_subclass_inherits_options_or_brings_its_own():
    class Wider(Gated):
        """As gated, in a class of my own."""

    class Fixed(Gated):
        def __init__(self, sizes):
            super().__init__(sizes, Gated.Options(width=2))

    assert Wider.Options is Gated.Options
    register_head(Wider)
    assert build_head("wider", SIZES, 0, {"width": 6}).options.width == 6
    register_head(Fixed)
    assert asdict(build_head("fixed", SIZES, 0).options) == {}
    assert (Gated.shares_stack, Wider.shares_stack) == (True, False)


def test_the_class_says_what_its_row_says():
    @register_head
    class Named(Plain):
        """Something else."""

        name, summary, source = "my-own", "the text, read twice", "Nobody 2024"

    row = HEADS.row("my-own")
    assert (row.summary, row.source) == ("the text, read twice", "Nobody 2024")
    assert head_name(Named) == "my-own"
    assert head_name(Gated) == "gated"


def test_a_name_can_be_taken_once():
    def make(name, place=__name__):
        return type("Twice", (Plain,), {"name": name, "__module__": place})

    first, other = make("twice"), type("Other", (Plain,), {"name": "twice"})
    register_head(first)
    assert register_head(first) is first
    with pytest.raises(ConfigError, match=r"there is a head 'twice'.*name = 'my-name'"):
        register_head(other)
    with pytest.raises(ConfigError, match=r"there is a head 'gated'.*mvsa_pipe\.heads\.gated"):
        register_head(make("gated"))
    with pytest.raises(ConfigError, match="cannot be named"):
        register_head(make("../gated"))
    again = make("twice")  # as a cell of a notebook that is run again
    register_head(again)
    assert HEADS.load("twice") is again


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("class Mine:\n    pass", "no fusion head.*subclass of mvsa_pipe"),
        (
            "class Mine(FusionHead):\n    needs = {'text_pooled'}",
            r"not complete.*no method forward",
        ),
        ("class Mine(FusionHead):\n    def forward(self, batch): ...", "no features that it needs"),
        ("class Mine(FusionHead):\n    needs = {'text'}", "names features that there are not"),
        (
            "class Mine(FusionHead):\n    def __init__(self, sizes, width): ...",
            "'width' of Mine has no default.*Found none",
        ),
        (
            "class Mine(FusionHead):\n    def __init__(self, sizes, width=None): ...",
            "'width' of Mine has no default.*Found None",
        ),
        ("class Mine(FusionHead):\n    Options = dict", "Options cannot be used.*frozen dataclass"),
        (
            (
                "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass O:\n    w: int\n"
                "class Mine(Gated):\n    Options = O"
            ),
            "cannot be built from their defaults",
        ),
        (
            (
                "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass O:\n"
                "    w: int | None = 3\nclass Mine(Gated):\n    Options = O"
            ),
            r"'w' of head Mine cannot be set by a text.*int \| None",
        ),
    ],
)
def test_what_is_no_usable_head_is_one_paragraph(tmp_path, body, expected):
    imports = "from mvsa_pipe.heads.base import FusionHead\n"
    imports += "from mvsa_pipe.heads.gated import Gated\n"
    write_code(tmp_path / "my_heads.py", imports + body)
    with pytest.raises(ConfigError, match=expected):
        head_name("my_heads.py:Mine")


def config_of(name):
    from mvsa_pipe.heads.own import head_origin

    return {"head": name, SOURCE: head_origin(name).as_record()}


def test_a_run_finds_its_class_again(tmp_path, monkeypatch):
    path = write_code(tmp_path / "my_heads.py", MINE)
    config = config_of(head_name("my_heads.py:Mine"))
    assert recorded_head(config, tmp_path) == (HEADS.load("mine"), "")
    start_again(monkeypatch)
    kind, remark = recorded_head(config, tmp_path)
    assert (kind.__name__, remark) == ("Mine", "")
    assert recorded_head({"head": "gated"}, tmp_path) == (Gated, "")

    path.write_text(MINE + "# changed\n", encoding="utf-8")
    with pytest.raises(RunError, match="head 'mine' has changed since"):
        recorded_head(config, tmp_path)
    changed, remark = recorded_head(config, tmp_path, "my_heads.py:Mine")
    assert changed is not kind
    assert "head 'mine' has changed since the run" in remark
    write_code(tmp_path / SOURCE_FILE, MINE)
    copied, remark = recorded_head(config, tmp_path)
    assert "is taken from" in remark
    assert copied.__name__ == "Mine"
    with pytest.raises(ConfigError, match=r"The run has another head.*--head mine.*'gated'"):
        recorded_head(config, tmp_path, "gated")


def test_a_class_without_a_file_is_only_found_where_it_is_registered(tmp_path, monkeypatch):
    mine = type("Cell", (Plain,), {"__module__": "__main__"})
    config = config_of(head_name(mine))
    assert recorded_head(config, tmp_path)[0] is mine
    start_again(monkeypatch)
    with pytest.raises(RunError, match="a script or a notebook"):
        recorded_head(config, tmp_path)


def test_a_head_of_an_installed_package(monkeypatch, tmp_path):
    from importlib import metadata

    write_code(tmp_path / "plugin_of_mine.py", MINE)
    monkeypatch.syspath_prepend(tmp_path)
    point = metadata.EntryPoint("theirs", "plugin_of_mine:Mine", "mvsa_pipe.heads")
    monkeypatch.setattr(metadata, "entry_points", lambda group: (point,) if group else ())
    table = Registry("head", HEADS.built_in, "mvsa_pipe.heads")
    monkeypatch.setattr("mvsa_pipe.heads.HEADS", table)
    monkeypatch.setattr("mvsa_pipe.heads.own.HEADS", table)
    assert "theirs" in table.names
    assert named_head("theirs") == "theirs"
    config = config_of("theirs")
    assert config[SOURCE]["module"] == "plugin_of_mine"
    monkeypatch.setattr(user_code, "_named", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert recorded_head(config, tmp_path) == (table.load("theirs"), "")
    write_code(tmp_path / "plugin_of_mine.py", MINE + "# changed\n")
    monkeypatch.setattr(user_code, "origin_of", user_code.origin_of.__wrapped__)
    monkeypatch.setattr("mvsa_pipe.heads.own.origin_of", user_code.origin_of)
    monkeypatch.setattr("mvsa_pipe.heads.own._chosen", set())
    with pytest.raises(RunError, match=r"has changed since.*--head theirs takes it as it is now"):
        recorded_head(config, tmp_path)
    changed, remark = recorded_head(config, tmp_path, "theirs")
    assert (changed.__name__, "has changed since the run" in remark) == ("Mine", True)
