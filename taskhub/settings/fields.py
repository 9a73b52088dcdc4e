"""Settings: read once from the environment and one file into a frozen object, all mistakes told at once.

- A setting is a field of `Settings` (or `Timers`) whose metadata holds its default, meaning and kind;
  `table()` lists them, and `docs/configuration.md` is tested against that list.
- The real environment wins over `TASKHUB_ENV_FILE`; an empty value counts as not given.
- Secrets appear in no message and no repr.
- This module and the command line are the only readers of `os.environ`.
"""

# ruff: noqa: RUF009 (a setting's default is immutable metadata)
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from taskhub import addresses, masking
from taskhub.settings import libpq_names, sources, stray_names
from taskhub.settings.declaring import SECRETS, Described, described, parse, setting
from taskhub.settings.kinds import (
    CORES,
    FAILPOINTS,
    FLAG,
    HOST,
    MODULES,
    PATH,
    QUEUES,
    choice,
    optional,
    seconds,
    whole,
)
from taskhub.settings.kinds import url as url_of
from taskhub.settings.sources import PREFIX
from taskhub.settings.timers import TIMER_PREFIX, Timers

_SECRET_NAMES = tuple(PREFIX + name.upper() for name in SECRETS)
_MILLION = 1_000_000
_DAY = 86_400.0
_TIMER = seconds(0, _DAY)
_RETRY = seconds(0, 365 * _DAY)
_KEEP = seconds(0, 3650 * _DAY)
_BYTES = whole(1024, 2**30)


class SettingsError(Exception):
    """The settings cannot be used; `problems` names every mistake, with what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, repr=False, kw_only=True)
class Settings:
    """Everything that can be set from outside, checked; `load` is the way to make one."""

    database_url: str | None = setting("none", url_of(addresses.POSTGRES), "PostgreSQL, the truth")
    redis_url: str | None = setting("none", url_of(addresses.REDIS), "Redis, the doorbell")
    http_host: str = setting("127.0.0.1", HOST, "address that both ports listen on")
    http_port: int = setting("8080", whole(1, 65535), "port of the API")
    metrics_port: int = setting("9091", whole(0, 65535), "port of a worker's metrics; 0: a free one, logged")
    api_processes: int = setting("2", whole(1, 256), "processes of the API")
    api_threads: int = setting("8", whole(1, 1024), "requests at work at once in each API process")
    api_waiters: int = setting("200", whole(1, 2000), "requests with `?wait=` in each API process")
    worker_processes: int = setting("cores", CORES, "children of a worker, one job each")
    queues: tuple[tuple[str, int], ...] = setting("*", QUEUES, "queues that a worker serves; *: all known")
    handlers: tuple[str, ...] = setting("none", MODULES, "modules with handlers, importable")
    data_dir: Path = setting(".taskhub", PATH, "folder of the servers that `taskhub dev` starts")
    state_dir: Path = setting("$DATA_DIR/state", PATH, "a worker's shared memory; keep it")
    env_file: Path | None = setting("none", optional(PATH), "file of NAME=value lines; the environment wins")
    env: str = setting("production", choice("production", "development", "test"), "where this runs")
    max_attempts: int = setting("5", whole(1, 1000), "a job's executions, unless its type or itself says so")
    retry_base_s: float = setting("2", _RETRY, "first retry delay; doubles, with full jitter")
    retry_cap_s: float = setting("600", _RETRY, "longest retry delay")
    job_timeout_s: float = setting("900", seconds(0.001, 7 * _DAY), "time for one execution, likewise")
    drain_s: float = setting("25", _TIMER, "time for running jobs to end at shutdown")
    max_jobs_per_child: int | None = setting(
        "off", optional(whole(1, 1000 * _MILLION)), "a child is replaced after so many jobs"
    )
    max_rss_mb: int | None = setting(
        "off", optional(whole(1, 1000 * _MILLION)), "a child above this is replaced between jobs"
    )
    hard_rss_mb: int | None = setting(
        "off", optional(whole(1, 1000 * _MILLION)), "a child above this is killed, even in mid-job"
    )
    queue_max_depth: int | None = setting(
        "off", optional(whole(1, 1000 * _MILLION)), "a queue this deep refuses more (429)"
    )
    queue_max_age_s: float | None = setting(
        "off", optional(seconds(0.001, 365 * _DAY)), "a queue this late refuses more (429)"
    )
    max_body_bytes: int = setting("1048576", _BYTES, "largest body of a request")
    max_bulk_bytes: int = setting("16777216", _BYTES, "largest body of a bulk request")
    wait_max_s: float = setting("30", seconds(0, 3600), "longest `?wait=`")
    retention_s: float = setting("604800", _KEEP, "finished jobs are kept so long; 0: for ever")
    dead_retention_s: float = setting("2592000", _KEEP, "failed jobs are kept so long; 0: for ever")
    auth: str = setting("keys", choice("keys", "off"), "who may call the API; keys do not exist yet")
    auth_off_public: bool = setting("no", FLAG, "the API may be open on an address others reach")
    log_level: str = setting("info", choice("debug", "info", "warning", "error"), "least level that is logged")
    log_format: str = setting("json", choice("json", "console"), "one JSON object a line, or lines for people")
    failpoints: str = setting("none", FAILPOINTS, "faults to inject; refused unless ENV=test")
    timers: Timers
    warnings: tuple[str, ...]

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, str] | None = None,
        given: Mapping[str, str | None] | None = None,
    ) -> Settings:
        """Read the settings; by field name, `defaults` replace the built-in ones and `given` win over all.

        Raises SettingsError with every problem found.
        """
        problems: list[str] = []
        places = sources.replaced(os.environ if environ is None else environ, given or {})
        found = sources.read(places, _SECRET_NAMES, problems)
        known = {entry.name for entry in table()}
        links = sources.links(found, known, _SECRET_NAMES)
        found = {name: value for name, value in found.items() if name not in links}
        values = parse(cls, PREFIX, found, defaults or {}, problems)
        if PREFIX + "STATE_DIR" not in found and values["data_dir"]:
            values["state_dir"] = values["data_dir"] / "state"
        if values["database_url"]:
            values["database_url"] = libpq_names.completed(values["database_url"], places, problems)
        timers = Timers(**parse(Timers, TIMER_PREFIX, found, {}, problems))
        warnings = (*stray_names.of_links(links), *stray_names.unknown(found, known))
        settings = cls(**values, timers=timers, warnings=warnings)
        problems += settings._contradictions()
        if problems:
            raise SettingsError([*warnings, *problems])
        for secret in SECRETS:
            masking.learn(values[secret])
        return settings

    def server_urls(self) -> tuple[str, str]:
        """The URLs of PostgreSQL and Redis; SettingsError names those that are not set."""
        database_url, redis_url = self.needed(*SECRETS)
        return database_url, redis_url

    def needed(self, *names: str) -> list[Any]:
        """The values of settings that have no default but are needed now."""
        missing = [PREFIX + name.upper() for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError([*self.warnings, *(f"{name} is not set, nor is {name}_FILE" for name in missing)])
        return [getattr(self, name) for name in names]

    def require_meant_exposure(self) -> None:
        """For the API: SettingsError if others can reach it and nobody said that it may be open to them.

        This version has no keys, so `AUTH=keys` cannot close it.
        """
        if not addresses.is_loopback(self.http_host) and not (self.auth == "off" and self.auth_off_public):
            problem = (
                f"TASKHUB_HTTP_HOST={self.http_host} opens the API to everybody who reaches it, and there are no "
                "API keys yet: listen on 127.0.0.1, or say that you mean it by TASKHUB_AUTH=off and "
                "TASKHUB_AUTH_OFF_PUBLIC=yes"
            )
            raise SettingsError([problem])

    def _contradictions(self) -> Iterator[str]:
        if self.failpoints and self.env != "test":
            yield f"TASKHUB_FAILPOINTS is refused unless TASKHUB_ENV=test (it is {self.env})"
        if self.retry_cap_s < self.retry_base_s:
            yield "TASKHUB_RETRY_CAP_S is below TASKHUB_RETRY_BASE_S"
        if self.max_rss_mb and self.hard_rss_mb and self.hard_rss_mb < self.max_rss_mb:
            yield "TASKHUB_HARD_RSS_MB is below TASKHUB_MAX_RSS_MB"
        if self.max_bulk_bytes < self.max_body_bytes:
            yield "TASKHUB_MAX_BULK_BYTES is below TASKHUB_MAX_BODY_BYTES"

    def __repr__(self) -> str:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values.update({name: addresses.masked(values[name]) for name in SECRETS if values[name]})
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def table() -> list[Described]:
    """Every setting, then every internal timer, in the order of the code."""
    return [*described(Settings, PREFIX), *described(Timers, TIMER_PREFIX)]
