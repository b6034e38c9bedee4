"""What of two runs must be the same."""

import json

from mvsa_pipe.runs import Run

# When and how long, and nothing else.
_TIMES = ("seconds", "scoring_seconds", "peak_memory_bytes", "resumed_after_epochs")


def files_of(run: Run) -> dict[str, object]:
    """A run's files, without the times in them."""
    files: dict[str, object] = {
        path.name: path.read_bytes()
        for path in run.path.iterdir()
        if path.name not in ("config.json", "metrics.json")
    }
    metrics = json.loads((run.path / "metrics.json").read_text())
    files["metrics"] = {k: v for k, v in metrics.items() if k not in _TIMES}
    config = json.loads((run.path / "config.json").read_text())
    files["config"] = {k: v for k, v in config.items() if k != "written"}
    return files
