"""Measures an extraction: time of stages that run in parallel, and wall time of phases.

A lane is a thread that reads or computes. Stages and idling add up to the time of all lanes; phases
add up to the wall time.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """Kinds of work on posts."""

    DECODE = "decode"
    TRANSFORM = "transform"
    MODEL = "model"
    TO_HOST = "to_host"
    DISK = "disk"


class Phase(StrEnum):
    """Steps of the whole extraction, one at a time."""

    LIST = "list"
    LOAD = "load"
    COMPUTE = "compute"
    AWAIT_DISK = "await_disk"
    MEASURE = "measure"
    FINISH = "finish"
    OTHER = "other"


class Clock:
    """Seconds of every stage and phase; stages may be timed from any thread."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._stages = dict.fromkeys(Stage, 0.0)
        self._phases = dict.fromkeys(Phase, 0.0)
        self._phase, self._since = Phase.OTHER, self._began
        self.lanes = 0

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Adds the time inside to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            with self._lock:
                self._stages[stage] += seconds

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Adds the time inside to a phase, and not to the enclosing phase."""
        before = self._switch(phase)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, phase: Phase) -> Phase:
        now = time.perf_counter()
        before = self._phase
        self._phases[before] += now - self._since
        self._phase, self._since = phase, now
        return before

    def absorb(self, record: Mapping[str, Any], processes: int) -> None:
        """Adds the record (``as_record``) of one of ``processes`` equal processes."""
        with self._lock:
            for name, seconds in record["stages"].items():
                if name in self._stages:  # idling is not a stage
                    self._stages[Stage(name)] += seconds
            self._stages[Stage.DISK] += record["disk_seconds"]
        self.lanes = max(self.lanes, record["lanes"] * processes)

    def bound_by(self) -> str:
        """The bottleneck: decode, model or disk."""
        if self._phases[Phase.AWAIT_DISK] > 0.5 * self._phases[Phase.COMPUTE] > 0:
            return "disk"
        read = self._stages[Stage.DECODE] + self._stages[Stage.TRANSFORM]
        model = self._stages[Stage.MODEL] + self._stages[Stage.TO_HOST]
        return "decode" if read > model else "model"

    def as_record(self) -> dict[str, Any]:
        """Seconds of all phases and stages as plain values."""
        self._switch(self._phase)
        wall = self._since - self._began
        shown = {phase.value: round(s, 4) for phase, s in self._phases.items()}
        in_lanes = {s.value: round(self._stages[s], 4) for s in Stage if s is not Stage.DISK}
        lane_seconds = self.lanes * (self._phases[Phase.COMPUTE] + self._phases[Phase.AWAIT_DISK])
        return {
            "wall_seconds": round(wall, 4),
            "phases": shown,
            "lanes": self.lanes,
            "lane_seconds": round(lane_seconds, 4),
            "stages": in_lanes | {"idle": round(lane_seconds - sum(in_lanes.values()), 4)},
            "disk_seconds": round(self._stages[Stage.DISK], 4),
        }
