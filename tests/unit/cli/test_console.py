"""What is printed: nothing read as markup, lines that stay whole, tables that fit."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from mvsa_pipe.cli import bench, console, score_tables, screen
from mvsa_pipe.errors import DataError

NASTY = "a[/b] [red]c :smile: \\[d]"


@pytest.fixture
def printed(monkeypatch):
    """Replaces both consoles by ones of a given width; returns what they print."""

    def replace(width=100, *, terminal=False):
        buffer = io.StringIO()
        fake = Console(
            file=buffer,
            width=width,
            force_terminal=terminal,
            no_color=True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        for module in (console, bench):
            for name in ("out", "err"):
                monkeypatch.setattr(module, name, fake, raising=False)
        return buffer

    return replace


def scores(name="x"):
    shown = dict.fromkeys(score_tables.DEFAULT_SCORES, 0.5)
    return {
        "values": shown,
        "intervals": dict.fromkeys(shown, (0.25, 1.0)),
        "classes": [name],
        "confusion": [[3]],
        "per_class": {name: {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 3.0}},
    }


def test_names_are_printed_as_they_are(printed):
    buffer = printed(width=200)
    table = score_tables.score_table(NASTY, NASTY)
    score_tables.add_scores(table, NASTY, scores())
    console.out.print(table)
    console.out.print(score_tables.class_table(scores(NASTY), NASTY))
    console.line((NASTY, "bold"), f" {NASTY}")
    console.remark(NASTY)
    screen.ScreenProgress().say(NASTY)
    assert buffer.getvalue().count(NASTY) == 10


def test_an_error_is_one_line_in_a_log_and_wrapped_words_on_a_terminal(printed):
    error = DataError("What is wrong", where="p" * 90, found="two\nlines", hint="the next thing")
    buffer = printed(width=60)
    console.report_error(error)
    assert buffer.getvalue() == f"error: {error.paragraph()}\n".replace("\n", " ", 1)
    buffer = printed(width=60, terminal=True)
    console.report_error(error)
    assert buffer.getvalue().count("\n") > 2


def test_lines_with_paths_are_never_broken(printed):
    buffer = printed(width=40)
    console.line("run: ", "runs/" + "x" * 100)
    assert buffer.getvalue() == "run: runs/" + "x" * 100 + "\n"


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB")]
)
def test_sizes(count, shown):
    assert console.size(count) == shown


def test_json_is_one_document(capsys):
    console.show_json({"ü": [1, 2]})
    assert capsys.readouterr().out == '{\n  "ü": [\n    1,\n    2\n  ]\n}\n'


SPENT = {"loading": 1.0, "wall": 1234.5, "training": 2000.0, "scoring": 10.0}


def summary(head, **changed):
    from mvsa_pipe.benches.summary import HeadSummary

    shown = dict.fromkeys(score_tables.DEFAULT_SCORES, 0.7654)
    fields = {
        "head": head,
        "pair": "",
        "setting": "",
        "part": "test",
        "mean": shown,
        "deviation": dict.fromkeys(shown, 0.123),
        "interval": dict.fromkeys(shown, (0.5, 1.0)),
        "seconds": 3.21,
        "parameters": 1_234_567,
        "batch_independent": True,
    }
    return HeadSummary(**(fields | changed))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_of_a_bench_fits(printed, width, seeds):
    from mvsa_pipe.benches.summary import Bench

    rows = [
        summary("dual-attention", seeds=seeds),
        summary("native-combine-faithful", seeds=seeds, batch_independent=False),
    ]
    reference = {"name": "chance", "values": rows[0].mean, "deviations": rows[0].deviation}
    done = Bench("p/10/s", "test", [{"text": "bert"}], rows, [reference], [{}] * 2 * seeds, SPENT)
    buffer = printed(width)
    bench.show_bench(done)
    text = buffer.getvalue()
    assert max(len(line) for line in text.splitlines() if line[0] in "┏┃┡│├└") <= width
    assert "…" not in text
    assert "ceiling" not in text
    figure = "76.5 ± 12.3" if seeds > 1 else "76.5"
    assert f"{figure} [50.0, 100.0]" in text or re.search(rf"│ +{figure} │", text)
    assert ("native-combine-faithful †" in text) == (width > 80)
    over = "posts and seeds" if seeds > 1 else "posts"
    assert f"[95 % interval over {over}]" in text
    assert ("± standard deviation over 3 seeds" in text) == (seeds == 3)
    assert "wall 1,234.5 s, loading 1.0 s; summed over runs training 2,000.0 s" in text
    buffer = printed(width)
    bench.show_bench(replace(done, ceilings={"text": 0.5, "[red]": 0.9512}))
    assert re.search(r"│ ceiling: text +│ +50\.0 │ +│", buffer.getvalue())
    assert re.search(r"│ ceiling: \[red\] +│ +95\.1 │", buffer.getvalue())
