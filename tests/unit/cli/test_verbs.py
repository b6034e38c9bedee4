"""The table of verbs has the names and summaries of the verbs' own files."""

import inspect
import re

import pytest

from mvsa_pipe.cli.verbs import VERBS, LazyGroup, load_verb


@pytest.mark.parametrize("row", VERBS, ids=lambda row: row.name)
def test_a_row_is_the_first_paragraph_of_its_verb(row):
    verb = load_verb(row.name)
    assert verb.name == row.name
    assert re.split(r"\n\n", inspect.cleandoc(verb.help))[0] == row.summary


def test_listing_shows_rows_and_calling_imports():
    group = LazyGroup(name="mvsa")
    context = group.make_context("mvsa", ["heads", "--json"])
    assert group.list_commands(context) == list(VERBS.names)
    name, command, rest = group.resolve_command(context, ["heads", "--json"])
    assert (name, rest) == ("heads", ["--json"])
    assert command.callback is not None
    assert group.get_command(context, "heads").callback is None
