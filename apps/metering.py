"""Counts what happens in this process, for Prometheus.

Counting is an addition in memory, since every token may pass here; ``flush`` hands the sums on to
``prometheus_client``. That keeps them in this process or, where PROMETHEUS_MULTIPROC_DIR is set, in
files which the processes of one ``serve`` share: whichever is asked answers for all of them.
What is counted is declared in ``metrics.py``.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal, Protocol, TypeAlias

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

Labels: TypeAlias = tuple[str, ...]

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the folder of the files; it counts when this module is imported."""

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
registry = CollectorRegistry()
_lock = Lock()  # most is counted on the event loop, some in threads


class Metric(Protocol):
    """What is shown under one name."""

    name: str
    help: str
    labels: Labels

    def flush(self) -> None: ...


declared: list[Metric] = []
"""Every metric there is, in the order of its declaration."""


class Counter:
    """Something that only grows. Its ``name`` ends in ``_total``."""

    def __init__(self, name: str, help: str, *labels: str) -> None:  # noqa: A002 - Prometheus's word
        self.name, self.help, self.labels = name, help, labels
        self._shown = prometheus_client.Counter(name, help, labels, registry=registry)
        self._sums: defaultdict[Labels, float] = defaultdict(float)
        declared.append(self)

    def add(self, *labels: str, amount: float = 1) -> None:
        with _lock:
            self._sums[labels] += amount

    def flush(self) -> None:
        with _lock:
            sums, self._sums = self._sums, defaultdict(float)
        for labels, amount in sums.items():
            (self._shown.labels(*labels) if labels else self._shown).inc(amount)


class Gauge:
    """Something that is so many just now: a sum over the living processes, one for ``each``, or
    what ``any`` of them found out last."""

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - as above
        *,
        of: Literal["all", "each", "any"] = "all",
    ) -> None:
        self.name, self.help = name, help
        self.labels: Labels = ("pid",) if of == "each" else ()
        self._shown = prometheus_client.Gauge(
            name, help, registry=registry, multiprocess_mode=_MODES[of]
        )
        self._value = 0.0
        self._is_news = of != "any"
        self._of = of
        declared.append(self)

    def change(self, by: float) -> None:
        with _lock:
            self._value += by

    def set(self, value: float) -> None:
        self._value, self._is_news = value, True

    def flush(self) -> None:
        if self._is_news:  # else another process may know better
            self._shown.set(self._value)
            self._is_news = self._of != "any"


_MODES: dict[str, Literal["livesum", "liveall", "livemostrecent"]] = {
    "all": "livesum",
    "each": "liveall",
    "any": "livemostrecent",
}


@dataclass(slots=True)
class _Tally:
    counts: list[int]
    total: float = 0.0


class Histogram:
    """How large something is each time. ``bounds`` are the upper ends of the buckets."""

    def __init__(self, name: str, help: str, *labels: str, bounds: Sequence[float]) -> None:  # noqa: A002
        self.name, self.help, self.labels = name, help, labels
        self._shown = prometheus_client.Histogram(
            name, help, labels, buckets=bounds, registry=registry
        )
        self._bounds = tuple(bounds)
        self._tallies: dict[Labels, _Tally] = {}
        declared.append(self)

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        """Count a value, as often as it was seen."""
        with _lock:
            tally = self._tallies.get(labels)
            if tally is None:
                tally = self._tallies[labels] = _Tally([0] * (len(self._bounds) + 1))
            tally.counts[bisect_left(self._bounds, value)] += times
            tally.total += value * times

    def flush(self) -> None:
        with _lock:
            tallies, self._tallies = self._tallies, {}
        for labels, tally in tallies.items():
            child = self._shown.labels(*labels) if labels else self._shown
            # The public way takes one value at a time, and looks at each bucket for it.
            child._sum.inc(tally.total)
            for bucket, count in zip(child._buckets, tally.counts, strict=True):
                if count:
                    bucket.inc(count)


def flush() -> None:
    """Show what was counted since the last time."""
    for metric in declared:
        metric.flush()


def exposition(accept: str) -> tuple[bytes, str]:
    """Everything in the format that the reader prefers, and its media type. Reads files."""
    flush()
    shown = registry
    if SHARED in os.environ:
        shown = CollectorRegistry()
        MultiProcessCollector(shown)  # type: ignore[no-untyped-call]
    encode, media_type = choose_encoder(accept)
    return encode(shown), media_type
