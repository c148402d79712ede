"""How long objects spend in each stage, in plain numbers.

A `Histogram` of prometheus_client takes two locks and a dozen calls for each time, and an image has nine of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds."""
_NAMES = (*map(floatToGoString, BUCKETS), "+Inf")


class StageTimes:
    """How many objects are in one stage, and how long those took that have left it."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.seconds = 0.0
        self.counts = [0] * len(_NAMES)

    def observe(self, seconds: float) -> None:
        """An object has left the stage."""
        self.seconds += seconds
        self.counts[bisect_left(BUCKETS, seconds)] += 1


class StageSeconds(Collector):
    """The histogram of all stages. One thread observes, which runs the event loop; any may collect."""

    _labelnames = ("stage",)
    """As the metrics of the client have it."""

    def __init__(self) -> None:
        self._stages: dict[str, StageTimes] = {}

    def add(self, stage: str) -> StageTimes:
        """Begin to count a stage."""
        self._stages[stage] = times = StageTimes()
        return times

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric with its samples."""
        text = "Time an object spends in a stage."
        family = HistogramMetricFamily("imgtag_stage_seconds", text, labels=self._labelnames)
        for stage, times in tuple(self._stages.items()):
            family.add_metric([stage], list(zip(_NAMES, accumulate(times.counts), strict=True)), times.seconds)
        yield family
