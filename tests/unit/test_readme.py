"""The README says what the tables say."""

import re
from pathlib import Path

import pytest

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.heads import HEADS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = [*HEADS, *TEXT_BACKBONES, *IMAGE_BACKBONES]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_stands_in_the_readme(row):
    line = next(line for line in README.splitlines() if line.startswith(f"| `{row.name}` |"))
    assert row.summary in line


def test_first_two_shell_blocks_are_the_two_commands():
    blocks = re.findall(r"^```sh\n(.*?)\n```$", README, flags=re.MULTILINE | re.DOTALL)
    assert blocks == [
        "pip install -c constraints.txt . && mvsa quickstart",
        'pip install -c constraints.txt -e ".[dev]" && pytest -q -n auto --dist worksteal',
    ]
