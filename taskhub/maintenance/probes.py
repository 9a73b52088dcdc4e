"""The worker's HTTP port: probes that tell what is true of this process tree, and its metrics."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from taskhub import clock
from taskhub.domain.errors import TaskhubError
from taskhub.logs import get_logger
from taskhub.maintenance.records import Record, Watch
from taskhub.metrics import definitions as metrics
from taskhub.metrics import exposition
from taskhub.metrics.exposition import Metric
from taskhub.queue.broker import Broker
from taskhub.store.connection import Connection

log = get_logger(__name__)

_PARENT_SILENT_S = 10.0
_CHILD_SILENT_S = 15.0
_REQUEST_S = 10.0
_LETTERS_LAST_S = 5.0
_DEPTH_BOUND = 100_000
_CLAIMED_WITHIN_S = 15.0

Answer = tuple[int, str, bytes]


class Probes:
    """What the port answers. Each answer is made afresh; a dependency is asked only where its absence matters."""

    def __init__(self, watch: Watch, store: Connection, broker: Broker) -> None:
        self._watch = watch
        self._store = store
        self._broker = broker
        self._lock = threading.Lock()  # of the connections, which several scrapes may want
        self._depths: dict[str, int] = {}
        self._letters: dict[tuple[str, ...], float] = {}
        self._letters_at_s = -_LETTERS_LAST_S
        self._unclaimed_since_s: float | None = None

    def listen(self, host: str, port: int) -> int:
        """Serve in a thread; returns the port, also when 0 asked for a free one. Raises OSError if it is in use."""
        routes: dict[str, Callable[[], Answer]] = {
            "/livez": self.livez,
            "/readyz": self.readyz,
            "/health": self.readyz,
            "/metrics": self.metrics,
        }
        server = _Server((host, port), _handler(routes))
        threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        return int(server.server_address[1])

    def livez(self) -> Answer:
        """The supervisor's loop turns, and a child ticks, or has a reason not to."""
        records = [record for record in self._watch.all() if not record.is_dead]
        parent_ok = self._watch.parent_silent_for_s < _PARENT_SILENT_S
        ticking = [record for record in records if record.is_waiting or record.silent_for_s < _CHILD_SILENT_S]
        ticking += [record for record in records if record.running and record not in ticking]
        children_ok = bool(ticking) or self._watch.is_quiet or self._watch.is_draining
        checks: dict[str, Any] = {
            "supervisor": "ok" if parent_ok else f"silent for {self._watch.parent_silent_for_s:.0f} s",
            "children": {
                "wanted": self._watch.wanted_slots,
                "ticking": len(ticking),
                "in_backoff": self._watch.children_in_backoff,
            },
        }
        if self._unclaimed_since_s is not None:
            checks["unclaimed_for_s"] = round(clock.monotonic_s() - self._unclaimed_since_s)
        return _status(parent_ok and children_ok, checks)

    def readyz(self) -> Answer:
        """PostgreSQL answers and knows this worker, which does not drain. Redis never makes it unready."""
        checks: dict[str, Any] = {}
        with self._lock:
            checks["postgres"] = _outcome(lambda: self._store.run("server_clock", timeout_s=1.0))
            checks["redis"] = _outcome(self._broker.ping)
        checks["registered"] = self._watch.is_registered
        checks["draining"] = self._watch.is_draining
        checks["quiet"] = self._watch.is_quiet
        is_known = checks["postgres"] == "ok" and checks["registered"]
        return _status(is_known and not checks["draining"], checks)

    def metrics(self) -> Answer:
        with self._lock:
            page = exposition.render(self._computed())
        return 200, exposition.CONTENT_TYPE, page

    def _computed(self) -> Iterator[Metric]:
        records = [record for record in self._watch.all() if not record.is_dead]
        active = sum(1 for record in records if record.running)
        yield metrics.ACTIVE_PROCESSES.of({(): float(active)})
        yield metrics.SLOT_BACKOFF.of({(): float(self._watch.children_in_backoff)})
        store_is_up, redis_is_up = True, True
        try:
            names = [name for name, _ in self._store.run("queue_names", timeout_s=1.0)]
            yield metrics.DEAD_LETTERS.of(self._dead_letters())
        except TaskhubError:
            store_is_up, names = False, list(self._depths)
        try:
            self._depths = self._broker.depths(names)
            yield metrics.QUEUE_DEPTH.of({(name,): float(depth) for name, depth in self._depths.items()})
        except TaskhubError:
            redis_is_up = False
            yield from self._depths_of_store()
        yield metrics.REDIS_UP.of({(): float(redis_is_up)})
        yield metrics.POSTGRES_UP.of({(): float(store_is_up)})
        yield metrics.UNCLAIMED.of({(): self._unclaimed_s(records)})

    def _dead_letters(self) -> dict[tuple[str, ...], float]:
        """Counting them reads them all, so it is done now and then."""
        if clock.monotonic_s() - self._letters_at_s >= _LETTERS_LAST_S:
            rows = self._store.run("dead_letters")
            self._letters = {(queue, job_type): float(count) for queue, job_type, count in rows}
            self._letters_at_s = clock.monotonic_s()
        return self._letters

    def _depths_of_store(self) -> Iterator[Metric]:
        """Without Redis, PostgreSQL counts; without both, the depth is unknown and left out, never 0."""
        try:
            rows = self._store.run("queue_depth", _DEPTH_BOUND, timeout_s=2.0)
        except TaskhubError:
            return
        yield metrics.QUEUE_DEPTH.of({(name,): float(depth) for name, depth in rows})

    def _unclaimed_s(self, records: list[Record]) -> float:
        """For how long jobs have been ready while no child of this worker runs one."""
        is_idle = not any(record.running for record in records) and not self._watch.is_quiet
        if not (is_idle and any(self._depths.values())):
            self._unclaimed_since_s = None
            return 0.0
        if self._unclaimed_since_s is None:
            self._unclaimed_since_s = clock.monotonic_s()
        return clock.monotonic_s() - self._unclaimed_since_s


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves before its answer, as many a health check does, is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("probe.failed")


def _handler(routes: dict[str, Callable[[], Answer]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _REQUEST_S
        wbufsize = -1  # head and body leave together

        def do_GET(self) -> None:
            answer = routes.get(self.path.partition("?")[0])
            try:
                status, kind, body = answer() if answer else _status(False, {}, status=404)
            except Exception:
                log.exception("probe.failed", extra={"path": self.path})
                status, kind, body = _status(False, {}, status=500)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Scrapes and probes are no news."""

    return Handler


def _status(is_ok: bool, checks: dict[str, Any], *, status: int | None = None) -> Answer:
    body = orjson.dumps({"status": "ok" if is_ok else "unavailable", "checks": checks})
    return status or (200 if is_ok else 503), "application/json", body


def _outcome(check: Callable[[], object]) -> str:
    try:
        check()
    except TaskhubError as error:
        return f"unavailable: {error}"
    return "ok"
