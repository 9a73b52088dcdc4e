"""Every metric of taskhub, defined once.

Import this after `slot_files.prepare`, in a process that shares its metrics with others. Counters and
histograms live in the processes that count; a `ComputedGauge` has no memory: whoever answers a scrape
gives it the values of that moment, and leaves it out when they are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

OUTCOMES = ("completed", "retried", "failed", "cancelled", "crashed")
REASONS = ("exception", "timeout", "crash")

DURATION_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
HTTP_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Of our own: a program that merely uses the Producer must not find these in its own registry.
REGISTRY = CollectorRegistry()


class ComputedGauge(NamedTuple):
    """A gauge whose values are found at the scrape."""

    name: str
    documentation: str
    label_names: tuple[str, ...]

    def of(self, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
        """The gauge with these values by their labels."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.label_names)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


class ComputedCounter(NamedTuple):
    """A counter that is kept elsewhere and read at the scrape."""

    name: str
    documentation: str

    def of(self, values: Mapping[tuple[str, ...], float]) -> CounterMetricFamily:
        family = CounterMetricFamily(self.name, self.documentation, labels=())
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, labels, registry=REGISTRY)


# The contract's five.
JOBS_PROCESSED = _counter("jobs_processed_total", "Executions that ended, by outcome.", "queue", "type", "outcome")
JOB_FAILURES = _counter("job_failures_total", "Executions that failed, by reason.", "queue", "type", "reason")
JOB_DURATION = Histogram(
    "job_processing_duration_seconds",
    "Time inside the handler.",
    ("queue", "type"),
    buckets=DURATION_BOUNDS_S,
    registry=REGISTRY,
)
QUEUE_DEPTH = ComputedGauge(
    "queue_depth", "Jobs ready to run now; the same from every worker and the API: use max.", ("queue",)
)
ACTIVE_PROCESSES = ComputedGauge("worker_active_processes", "Children running a job.", ())

# Workers.
STALE_WRITES = _counter("taskhub_stale_writes_total", "Settlements refused because their lease was lost.")
CHILD_EXITS = _counter("taskhub_child_exits_total", "Children that ended, by reason.", "reason")
JOBS_RESCUED = _counter("taskhub_jobs_rescued_total", "Jobs taken back from dead children and workers.", "cause")
RECONCILED = _counter("taskhub_reconciled_total", "Waiting jobs that Redis had forgotten.", "queue")
SLOT_BACKOFF = ComputedGauge("taskhub_slot_backoff", "Slots that wait before their next child.", ())
ROLE_AGE = ComputedGauge("taskhub_role_age_seconds", "Since a role of the sidecar last did its step well.", ("role",))
ROLE_FAILURES = _counter("taskhub_role_failures_total", "Unexpected failures of the sidecar's roles.", "role")
SIDECAR_RESTARTS = ComputedCounter("taskhub_sidecar_restarts_total", "Sidecars that ended by themselves, or hung.")
UNCLAIMED = ComputedGauge(
    "taskhub_unclaimed_seconds", "For how long jobs have been ready while no child of this worker runs one.", ()
)
SUPERVISOR_TURN = ComputedGauge(
    "taskhub_supervisor_turn_seconds", "The longest turn of the supervisor's loop in the last half minute or more.", ()
)
SUPERVISOR_FAILURES = ComputedGauge(
    "taskhub_supervisor_failed_steps", "Steps of the supervisor's loop that failed unexpectedly.", ()
)
DEAD_LETTERS = ComputedGauge("taskhub_dead_letters", "Failed jobs that are kept.", ("queue", "type"))
REDIS_UP = ComputedGauge("taskhub_redis_up", "1 if Redis answered, else 0.", ())
POSTGRES_UP = ComputedGauge("taskhub_postgres_up", "1 if PostgreSQL answered, else 0.", ())

# The API.
JOBS_SUBMITTED = _counter("taskhub_jobs_submitted_total", "Jobs accepted.", "queue", "type")
HTTP_REQUESTS = _counter("taskhub_http_requests_total", "Requests answered.", "method", "route", "status")
HTTP_DURATION = Histogram(
    "taskhub_http_request_duration_seconds",
    "Time from a request's arrival in the application to its answer.",
    ("method", "route"),
    buckets=HTTP_BOUNDS_S,
    registry=REGISTRY,
)
WAITERS = ComputedGauge("taskhub_api_waiters", "Requests that wait for a job, in the process that answers.", ())

# The page itself.
LINES_DROPPED = _counter("taskhub_log_lines_dropped_total", "Log lines dropped because nobody read them.")
FILES_SKIPPED = ComputedGauge("taskhub_metrics_files_skipped", "Metrics files that this scrape could not read.", ())
