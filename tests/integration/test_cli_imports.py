"""What the command line imports before it computes: little, and of the verb that runs alone."""

import os
import subprocess
import sys

import pytest

from mvsa_pipe.cli.verbs import VERBS

# A main module, so that the interpreter ends as it does after ``mvsa``.
PROBE = """
import atexit, sys
atexit.register(lambda: print("\\nIMPORTED", *sys.modules, file=sys.stderr))
from mvsa_pipe.cli import main
main()
"""
# All that the package is built on, but what draws the screen.
COMPUTING = {
    *("charset_normalizer", "filelock", "h5py", "jaxtyping", "msgspec", "numpy", "onnx", "pandas"),
    *("PIL", "pyarrow", "ray", "safetensors", "scipy", "simplejpeg", "skops", "sklearn"),
    *("threadpoolctl", "torch", "torchvision", "transformers", "xxhash"),
}
# The table of scores, whose names are choices of options.
SCORES = {"numpy"}
# What reading the headers of caches takes.
READING = {"filelock", "h5py", "jaxtyping", "msgspec", "numpy", "xxhash"}
PATHS = [*VERBS.names, "data check", "heads check"] + [
    f"cache {verb}" for verb in ("list", "info", "verify", "repair", "merge", "export", "remove")
]


def imported(*words, exit_code=0, **environment):
    """The modules that one command imported, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **environment},
    )
    assert done.returncode == exit_code, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("IMPORTED"))
    return set(line.split()[1:]), done.stdout


def completed(words):
    """The same of a shell that asks how the last of several words could end."""
    last = str(len(words.split(" ")) - 1)
    return imported(_MVSA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=last)


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_what_names_no_verb_imports_none(words):
    modules, _ = imported(*words)
    assert not COMPUTING & modules
    rooms = {name.split(".")[1] for name in modules if name.startswith("mvsa_pipe.")}
    assert rooms == {"cli", "errors", "lazy", "printable", "registry"}
    assert not {row.target.partition(":")[0] for row in VERBS} & modules


def test_completing_a_verb_imports_none():
    modules, offered = completed("mvsa fi")
    assert offered.split() == ["fit", "finetune"]
    assert not COMPUTING & modules
    assert "mvsa_pipe.cli.fit" not in modules


def test_a_verb_imports_no_other():
    modules, _ = imported("backbones")
    others = {row.target.partition(":")[0] for row in VERBS} - {"mvsa_pipe.cli.backbones"}
    assert not others & modules


def test_help_screens_import_nothing_that_computes():
    """One process for all of them: modules stay loaded, so the last look sees every verb's."""
    script = "import sys\nfrom mvsa_pipe.cli.app import app\n"
    for path in PATHS:
        script += f"try: app({[*path.split(), '--help']!r}, prog_name='mvsa')\n"
        script += "except SystemExit as end: assert not end.code, end.code\n"
    script += f"found = {COMPUTING - SCORES!r} & sys.modules.keys()\nassert not found, found\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: mvsa") == len(PATHS)
    assert done.stderr == ""


def test_completing_a_head_imports_nothing_that_computes():
    modules, offered = completed("mvsa fit --head du")
    assert offered.split() == ["dual-attention"]
    assert not (COMPUTING - SCORES) & modules


@pytest.mark.parametrize(
    ("words", "exit_code", "forbidden"),
    [
        ("heads", 0, COMPUTING),
        ("backbones", 0, COMPUTING),
        ("fit --head nope", 2, COMPUTING - SCORES),
        ("cache list", 0, COMPUTING - READING),
    ],
)
def test_light_verbs_import_little(words, exit_code, forbidden):
    modules, _ = imported(*words.split(), exit_code=exit_code)
    assert not forbidden & modules


@pytest.mark.usefixtures("workplace")
def test_training_loads_no_compiler_of_torch_and_no_scikit_learn_models():
    modules, _ = imported("fit", "--head", "native-cat", "--epochs", "1", "--name", "x")
    assert "torch" in modules
    assert not {"torch._dynamo", "torch._inductor", "sklearn"} & modules
