"""The page that Prometheus scrapes.

A file that cannot be read (its process was killed while making it) is left out and counted; it never
fails the scrape.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Metric as Metric  # for those who compute families
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from taskhub.metrics import slot_files
from taskhub.metrics.definitions import FILES_SKIPPED, REGISTRY
from taskhub.metrics.recorder import count_dropped_lines

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_ROUNDS = 3


class _Given(Collector):
    """Families as they are, in a registry of one scrape."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(computed: Iterable[Metric] = ()) -> bytes:
    """The page: what all processes of the group have counted, and the gauges computed for this scrape."""
    count_dropped_lines()
    registry = CollectorRegistry()
    registry.register(_Given([*_counted(), *computed]))
    return generate_latest(registry)


def _counted() -> Iterable[Metric]:
    folder = slot_files.folder()
    if folder is None:
        return REGISTRY.collect()
    files = sorted(map(str, folder.glob("*.db")))
    readable, merged = _merge(files)
    return [*merged, FILES_SKIPPED.of({(): len(files) - readable})]


def _merge(files: list[str]) -> tuple[int, list[Metric]]:
    """How many files could be read, and the metrics in them."""
    for _ in range(_ROUNDS):
        try:
            return len(files), _read(files)
        except slot_files.UNREADABLE:
            files = [file for file in files if _is_readable(file)]
    return 0, []  # files of living processes kept changing under the reader


def _is_readable(file: str) -> bool:
    try:
        _read([file])
    except slot_files.UNREADABLE:
        return False
    return True


def _read(files: list[str]) -> list[Metric]:
    return list(MultiProcessCollector.merge(files, accumulate=True))  # type: ignore[no-untyped-call]
