# What a developer types; `just check` is what CI runs.

# List the targets.
default:
    @just --list

# Install the package with its development tools into the active environment.
setup:
    pip install -c constraints.txt -e ".[dev]"

# Format and mend what can be mended.
fmt:
    ruff format .
    ruff check --fix .

# Formatting and lint, without changing anything.
lint:
    ruff format --check .
    ruff check .

# Types, strictly.
types:
    mypy

# Imports run downward only.
floors:
    lint-imports

# Everything that runs no test.
static: lint types floors

# All tests, warnings as errors.
test:
    pytest -q -n auto --dist worksteal

# Everything that CI checks.
check: static docs test

# The offline tour.
demo:
    mvsa quickstart

# The documentation as a site in build/site; a warning is an error (extra docs).
docs:
    mkdocs build --strict --quiet --config-file .mkdocs.yml

# The benchmarks; records go to benchmarks/results.
bench:
    python benchmarks/run.py
