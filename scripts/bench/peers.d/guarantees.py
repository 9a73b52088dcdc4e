"""What each side promises, by its own documentation, with the settings that are measured."""

from __future__ import annotations

from typing import NamedTuple


class Guarantee(NamedTuple):
    """One row; `after` is how long a job of a worker that was killed by SIGKILL waits for its next run."""

    side: str
    durable_submit: str
    redis_lost: str
    worker_killed: str
    after: str
    source: str


_REDIS_ONLY = "its jobs are lost"
_EVERYSEC = "no: in Redis (appendonly everysec: up to 1 s is lost)"
_COMMIT = "yes: committed in PostgreSQL"
_NO_REDIS = "uses none"

GUARANTEES = (
    Guarantee(
        "taskhub", _COMMIT, "nothing is lost; dispatch resumes in 5 s", "runs again", "2 s; a lost host: 20 s",
        "docs/reliability.md",
    ),
    Guarantee(
        "dramatiq", _EVERYSEC, _REDIS_ONLY, "runs again",
        "60 s without a heartbeat, then with the next maintenance (a chance of 1 in 1,000 commands)",
        "https://dramatiq.io/advanced.html; heartbeat_timeout and maintenance_chance of RedisBroker in "
        "https://dramatiq.io/reference.html",
    ),
    Guarantee(
        "huey", _EVERYSEC, _REDIS_ONLY, "lost: delivered at most once", "never",
        "https://huey.readthedocs.io/en/latest/guide.html and .../consumer.html",
    ),
    Guarantee(
        "rq", _EVERYSEC, _REDIS_ONLY, "fails (AbandonedJobError); runs again only with retries that were given",
        "at once if only the job's process was killed; else with the maintenance of another worker, every 10 min",
        "https://python-rq.org/docs/exceptions/ and https://python-rq.org/docs/workers/",
    ),
    Guarantee(
        "celery", _EVERYSEC, _REDIS_ONLY, "lost: acknowledged before it runs; what was only prefetched comes again",
        "never; prefetched: 1 h (visibility timeout)",
        "https://docs.celeryq.dev/en/stable/userguide/tasks.html",
    ),
    Guarantee(
        "celery (acks_late)", _EVERYSEC, _REDIS_ONLY, "runs again; also a job that runs for longer than 1 h",
        "at once if only the pool's process was killed; the whole worker: 1 h (visibility timeout)",
        "https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout and "
        ".../userguide/configuration.html#task-reject-on-worker-lost",
    ),
    Guarantee(
        "taskiq", _EVERYSEC, _REDIS_ONLY, "runs again; also a job that runs for longer than 10 min",
        "10 min (idle_timeout), then when another worker has next fetched something",
        "https://github.com/taskiq-python/taskiq-redis#stream and idle_timeout of RedisStreamBroker",
    ),
    Guarantee(
        "taskiq (lists)", _EVERYSEC, _REDIS_ONLY, "lost: no acknowledgements", "never",
        "https://github.com/taskiq-python/taskiq-redis#listqueue",
    ),
    Guarantee(
        "pgqueuer", _COMMIT, _NO_REDIS, "runs again", "30 s without a heartbeat (heartbeat_timeout)",
        "https://pgqueuer.readthedocs.io/en/latest/guides/reliability/ and .../guides/heartbeat/",
    ),
    Guarantee(
        "procrastinate", _COMMIT, _NO_REDIS, "stays `doing` for ever, unless a periodic task of one's own retries it",
        "never; with that task as documented: 30 s without a heartbeat, then within 10 min",
        "https://procrastinate.readthedocs.io/en/stable/howto/production/retry_stalled_jobs.html",
    ),
)  # fmt: skip
