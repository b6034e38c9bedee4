"""The trackers' own libraries, which read back what was written to this machine."""

import importlib.util
import json
import sqlite3
import warnings
from pathlib import Path

import pytest

import mvsa_pipe as mv
from mvsa_pipe.tracking.trackers import TRACKERS

RUNS = Path("runs-here")


def needs(name: str) -> pytest.MarkDecorator:
    missing = [p for p in TRACKERS.row(name).packages if importlib.util.find_spec(p) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    """No variable or login of the user's own; folders outside of the home."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name in ("TRACKIO_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


@pytest.fixture
def trained(workplace):
    """Trains two seeds of a head with a tracker; returns the runs."""
    assert Path.cwd() == workplace

    def train(tracker: str) -> list:
        found = mv.load(mv.read_posts("data"))
        training = {"epochs": 2, "device": "cpu"}
        bench = mv.bench(found, heads=["text"], seeds=2, runs=RUNS, tracker=tracker, **training)
        return bench.runs

    return train


def expected(runs) -> dict:
    """Validation losses, test accuracy and seed of each run by its name."""
    return {
        run.path.name: (
            [pytest.approx(entry["val_loss"], rel=1e-6) for entry in run.read_history()],
            pytest.approx(run.metrics["scores"]["test"]["values"]["accuracy"], rel=1e-6),
            run.metrics["seed"],
        )
        for run in runs
    }


@needs("tensorboard")
def test_tensorboard(trained):
    runs = trained("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    found = {}
    for folder in (RUNS / "tensorboard").iterdir():
        events = EventAccumulator(str(folder)).Reload()
        losses = [event.value for event in events.Scalars("val_loss")]
        assert [event.step for event in events.Scalars("val_loss")] == [0, 1]
        (accuracy,) = (event.value for event in events.Scalars("test_accuracy"))
        data = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        options = HParamsPluginData.FromString(data).session_start_info.hparams
        found[folder.name] = (losses, accuracy, options["training.seed"].number_value)
    assert found == expected(runs)


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")  # SQLAlchemy's and pydantic's, where mlflow uses them
def test_mlflow(trained):
    runs = trained("mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{(RUNS / 'mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("mvsa-pipe")
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.status == "FINISHED"
        losses = client.get_metric_history(run.info.run_id, "val_loss")
        assert [metric.step for metric in losses] == [0, 1]
        found[run.info.run_name] = (
            [metric.value for metric in losses],
            run.data.metrics["test_accuracy"],
            int(run.data.params["training.seed"]),
        )
    assert found == expected(runs)


def log_records(data: bytes) -> list[bytes]:
    """Records of a log in LevelDB's format: blocks of 32 KiB with records in fragments."""
    records, at, block = [b""], 7, 2**15
    while at + 7 <= len(data):
        if block - at % block < 7:  # no room for a header
            at += block - at % block
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        records[-1] += data[at + 7 : at + 7 + length]
        records += [b""] if kind in (1, 4) else []  # whole, or the last fragment
        at += 7 + length
    return records[:-1]


@needs("wandb")
@pytest.mark.filterwarnings("ignore")  # of wandb's own imports
def test_wandb_offline(trained):
    runs = trained("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for file in (RUNS / "wandb").glob("offline-run-*/*.wandb"):
        name, losses, summary, config = "", [], {}, {}
        for record in map(Record.FromString, log_records(file.read_bytes())):
            name = record.run.display_name or name
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            logged = {
                item.key or item.nested_key[0]: item.value_json for item in record.history.item
            }
            losses += [json.loads(logged["val_loss"])] if "val_loss" in logged else []
            summary |= {i.key or i.nested_key[0]: i.value_json for i in record.summary.update}
        found[name] = (losses, json.loads(summary["test_accuracy"]), config["training.seed"])
    assert found == expected(runs)


@needs("trackio")
@pytest.mark.filterwarnings("ignore")  # of trackio's own imports
def test_trackio(trained, tmp_path, capsys, monkeypatch):
    import trackio

    for module in (trackio.utils, trackio.sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio_dir", raising=False)
    runs = trained("trackio")
    assert "Trackio" not in capsys.readouterr().out
    (file,) = tmp_path.glob("**/mvsa-pipe.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
        configs = dict(base.execute("SELECT run_name, config FROM configs").fetchall())
    found = {}
    for run in {name for name, _, _ in rows}:
        steps = [json.loads(metrics) for name, _, metrics in rows if name == run]
        found[run] = (
            [entry["val_loss"] for entry in steps if "val_loss" in entry],
            *[entry["test_accuracy"] for entry in steps if "test_accuracy" in entry],
            json.loads(configs[run])["training.seed"],
        )
    assert found == expected(runs)
