"""Run folders as no program writes them: one value somewhere in a file is another."""

import copy
import csv
import io
import json
import random
from pathlib import Path

ODD = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**9, 10**30, 0.5, -0.0, 1e308,
    "", " ", "x", "../../x", "/etc/passwd", "nan", "inf", "\x00", "\x1b[31m", "=1+1", "ü" * 300,
    "text", "image", "svm", "cmac", "learned", "gpu", "a" * 100_000,
    [], [None], [[]], [1, 2], ["x"], [[1, 2]], [{}], {}, {"x": 1}, {"text": None}, {"": {}},
]  # fmt: skip
RAW = [
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000, '"\\ud800"', "[" * 50_000, '{"a":' * 200,
    "[" * 100 + "]" * 100, "1.", "", "tru",
]  # fmt: skip
CELLS = ["", "x", "nan", "inf", "-1", "2", "1e400", "0.5", "train", "test", '"', "a,b", "\x00", "ü"]
_MARK = "\ue000here\ue000"


def places(value, path=()):
    """Every place in a value, containers included."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, each in list(inner)[:40]:
        yield from places(each, (*path, key))


def mutated_json(path: Path, draw: random.Random) -> str:
    """Changes one entry of a JSON file; returns what was done."""
    value = copy.deepcopy(json.loads(path.read_text(encoding="utf-8")))
    *way, last = draw.choice(list(places(value)))
    holder = value
    for key in way:
        holder = holder[key]
    deed = draw.choice(["replace", "replace", "replace", "raw", "delete", "add", "swap", "whole"])
    said = f"{deed} {'.'.join(map(str, [*way, last]))}"
    if deed == "whole":
        path.write_bytes(draw.choice([b"", b"[]", b"null", b"\xff\xfe{}", b"{", b"[" * 200_000]))
        return said
    if deed == "delete":
        del holder[last]
    elif deed == "add" and isinstance(holder, dict):
        holder[draw.choice(["x", "", "seeds", "finetune", "text", "width"])] = draw.choice(ODD)
    elif deed == "swap":
        holder[last] = [holder[last]] if draw.random() < 0.5 else {"x": holder[last]}
    elif deed == "raw":
        holder[last] = _MARK
    else:
        holder[last] = draw.choice(ODD)
        said += f" by {holder[last]!r:.60}"
    text = json.dumps(value, ensure_ascii=False)
    if deed == "raw":
        raw = draw.choice(RAW)
        text, said = text.replace(f'"{_MARK}"', raw), f"{said} by {raw:.20}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return said


def mutated_csv(path: Path, draw: random.Random) -> str:
    """Changes cells, rows or bytes of a table; returns what was done."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    deed = draw.choice(["cell", "cell", "cell", "row", "twice", "short", "long", "header", "bytes"])
    row = draw.randrange(len(rows))
    column = draw.randrange(len(rows[0]))
    if deed == "bytes":
        data = bytearray(path.read_bytes())
        for _ in range(3):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        return deed
    if deed == "cell":
        rows[row][column] = draw.choice(CELLS)
    elif deed == "row":
        del rows[row]
    elif deed == "twice":
        rows.insert(row, list(rows[row]))
    elif deed == "short":
        del rows[row][column:]
    elif deed == "long":
        rows[row].append("x")
    else:
        draw.shuffle(rows[0])
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    path.write_text(table.getvalue(), encoding="utf-8", newline="")
    return f"{deed} of row {row}, column {column}"


def mutated_bytes(path: Path, draw: random.Random) -> str:
    """Changes bytes of a checkpoint; returns where."""
    data = bytearray(path.read_bytes())
    if draw.random() < 0.2:
        path.write_bytes(data[: draw.randrange(len(data))])
        return "cut short"
    start = draw.choice([0, 8, 8, draw.randrange(len(data))])
    for _ in range(draw.choice([1, 2, 8])):
        data[min(len(data) - 1, start + draw.randrange(400))] = draw.randrange(256)
    path.write_bytes(data)
    return f"bytes from {start}"


MUTATIONS = {
    "config.json": mutated_json,
    "metrics.json": mutated_json,
    "predictions.csv": mutated_csv,
    "split.csv": mutated_csv,
    "head.safetensors": mutated_bytes,
    "baseline.skops": mutated_bytes,
}
