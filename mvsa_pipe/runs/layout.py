"""Names of a run folder's files, and the version of their layout."""

CONFIG, METRICS, HISTORY = "config.json", "metrics.json", "history.jsonl"
HEAD, PREDICTIONS, SPLIT = "head.safetensors", "predictions.csv", "split.csv"
SCHEMA = 1
