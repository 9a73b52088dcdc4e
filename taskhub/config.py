"""Settings: read once from the environment and one file into a frozen object, all mistakes told at once.

- A setting is a field of `Settings` (or `Timers`) whose metadata holds its default, meaning and kind;
  `table()` lists them, and `docs/configuration.md` is tested against that list.
- The real environment wins over `TASKHUB_ENV_FILE`; an empty value counts as not given.
- Secrets appear in no message and no repr.
- This module and the command line are the only readers of `os.environ`.
"""

# ruff: noqa: RUF009 (a setting's default is immutable metadata)
from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dotenv import dotenv_values

PREFIX = "TASKHUB_"
TIMER_PREFIX = "TASKHUB_INTERNAL_"
SECRETS = ("database_url", "redis_url")
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")

_NOTHING = ("off", "none")
_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_QUEUE = re.compile(r"([a-z0-9_.-]{1,64})(?:=([1-9][0-9]{0,2}))?")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class SettingsError(Exception):
    """The settings cannot be used; `problems` names every mistake, with what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Kind(NamedTuple):
    """How a setting's text becomes its value (ValueError if it cannot), and what is allowed, in words."""

    parse: Callable[[str], Any]
    allowed: str


class Described(NamedTuple):
    """One setting as its documentation shows it."""

    name: str
    default: str
    allowed: str
    meaning: str


def _whole(low: int, high: int = 2**31 - 1) -> Kind:
    def parse(text: str) -> int:
        return int(_checked(low <= int(text) <= high, text))

    return Kind(parse, f"a whole number, {low} to {high}" if high < 2**31 - 1 else f"a whole number, {low} or more")


def _seconds(low: float = 0) -> Kind:
    def parse(text: str) -> float:
        return float(_checked(math.isfinite(float(text)) and float(text) >= low, text))

    return Kind(parse, f"seconds, {low:g} or more")


def _choice(*names: str) -> Kind:
    return Kind(lambda text: _checked(text.lower() in names, text).lower(), " or ".join(names))


def _optional(kind: Kind) -> Kind:
    return Kind(lambda text: None if text.lower() in _NOTHING else kind.parse(text), f"{kind.allowed}; or off")


def _url(*schemes: str) -> Kind:
    def parse(text: str) -> str:
        return _checked(urlsplit(text).scheme in schemes, text)

    return Kind(_optional(Kind(parse, "")).parse, " or ".join(f"{scheme}://..." for scheme in schemes))


def _checked(acceptable: bool, text: str) -> str:
    if not acceptable:
        raise ValueError(text)
    return text


def _parse_cores(text: str) -> int:
    return len(os.sched_getaffinity(0)) if text.lower() == "cores" else int(_whole(1, 1024).parse(text))


def _parse_flag(text: str) -> bool:
    return _checked(text.lower() in _YES + _NO, text).lower() in _YES


def _parse_queues(text: str) -> tuple[tuple[str, int], ...]:
    """`critical=6,low` as (("critical", 6), ("low", 1)); `*`, all queues, as ()."""
    if text.strip() == "*":
        return ()
    matches = [_QUEUE.fullmatch(part.strip()) for part in text.split(",")]
    queues = tuple((match[1], int(match[2] or 1)) for match in matches if match)
    _checked(len(queues) == len(matches) == len(dict(queues)), text)
    return queues


def _parse_modules(text: str) -> tuple[str, ...]:
    if text.lower() in _NOTHING:
        return ()
    modules = tuple(part.strip() for part in text.split(","))
    _checked(all(map(_MODULE.fullmatch, modules)), text)
    return modules


def _parse_path(text: str) -> Path:
    return Path(_checked("\0" not in text, text)).expanduser().absolute()


_CORES = Kind(_parse_cores, "a whole number, 1 to 1024; or cores")
_FLAG = Kind(_parse_flag, "yes or no")
_FAILPOINTS = Kind(lambda text: "" if text.lower() in _NOTHING else text, "name=action[:argument][*times];...")
_HOST = Kind(lambda text: _checked(not re.search(r"[\s/]", text), text), "a host name or an address")
_MODULES = Kind(_parse_modules, "module names with commas between")
_PATH = Kind(_parse_path, "a path")
_SECONDS = _seconds()
_QUEUES = Kind(_parse_queues, "*, or names [a-z0-9_.-] with optional weights, like critical=6,default=3,low")


def _setting(default: str, kind: Kind, meaning: str) -> Any:
    return field(metadata={"default": default, "kind": kind, "meaning": meaning})


@dataclass(frozen=True)
class Timers:
    """Internal timers, in seconds: not for tuning, tests shorten them (`TASKHUB_INTERNAL_<NAME>`)."""

    heartbeat_s: float = _setting("5", _SECONDS, "between two heartbeats of a worker")
    worker_dead_s: float = _setting("15", _SECONDS, "without a heartbeat, a worker counts as dead")
    validity_s: float = _setting("10", _SECONDS, "after a heartbeat, children may start jobs")
    dispatch_s: float = _setting("0.5", _SECONDS, "between two passes of the dispatcher")
    reconcile_s: float = _setting("1", _SECONDS, "between two passes of the reconciler")
    reconcile_slack_s: float = _setting("5", _SECONDS, "the reconciler leaves rows younger than this to Redis")
    mark_lag_s: float = _setting("15", _SECONDS, "a mark never comes nearer than this to now")
    recover_s: float = _setting("1", _SECONDS, "between two passes of the recoverer")
    epoch_s: float = _setting("1", _SECONDS, "between two raises of a queue's epoch")
    block_s: float = _setting("2", _SECONDS, "the longest wait of an idle child on Redis")
    batch_budget_s: float = _setting("0.05", _SECONDS, "the work that a child takes at once")
    settle_within_s: float = _setting("0.02", _SECONDS, "finished work is settled so soon beside a long job")
    interpreter_hold_s: float = _setting("1", _SECONDS, "a handler holding the interpreter longer is helped")
    kill_grace_s: float = _setting("5", _SECONDS, "from the soft timeout to the kill")
    stall_s: float = _setting("15", _SECONDS, "a child that neither works nor asks for work is replaced")
    boot_backoff_s: float = _setting("0.5", _SECONDS, "first wait after a child died before its first job")
    boot_backoff_cap_s: float = _setting("30", _SECONDS, "longest such wait")
    pg_statement_s: float = _setting("5", _SECONDS, "statement timeout in PostgreSQL")
    pg_lock_s: float = _setting("4", _SECONDS, "lock timeout in PostgreSQL")
    pg_connect_s: float = _setting("5", _SECONDS, "connecting to PostgreSQL")
    redis_api_s: float = _setting("0.1", _SECONDS, "one Redis call by the API")
    redis_worker_s: float = _setting("4", _SECONDS, "one Redis call by a worker")
    rescue_healthy_s: float = _setting("15", _SECONDS, "own health before declaring others dead")


@dataclass(frozen=True, repr=False, kw_only=True)
class Settings:
    """Everything that can be set from outside, checked; `load` is the way to make one."""

    database_url: str | None = _setting("none", _url("postgresql", "postgres"), "PostgreSQL, the truth")
    redis_url: str | None = _setting("none", _url("redis", "rediss", "unix"), "Redis, the doorbell")
    http_host: str = _setting("127.0.0.1", _HOST, "address that both ports listen on")
    http_port: int = _setting("8080", _whole(1, 65535), "port of the API")
    metrics_port: int = _setting("9091", _whole(0, 65535), "port of a worker's metrics; 0: a free one, logged")
    api_processes: int = _setting("2", _whole(1, 1024), "processes of the API")
    api_threads: int = _setting("8", _whole(1, 1024), "threads of each API process")
    worker_processes: int = _setting("cores", _CORES, "children of a worker, one job each")
    queues: tuple[tuple[str, int], ...] = _setting("*", _QUEUES, "queues that a worker serves; *: all known")
    handlers: tuple[str, ...] = _setting("none", _MODULES, "modules with handlers, importable")
    data_dir: Path = _setting(".taskhub", _PATH, "folder of the servers that `taskhub dev` starts")
    state_dir: Path = _setting("$DATA_DIR/state", _PATH, "a worker's shared memory; keep it")
    env_file: Path | None = _setting("none", _optional(_PATH), "file of NAME=value lines; the environment wins")
    env: str = _setting("production", _choice("production", "development", "test"), "where this runs")
    max_attempts: int = _setting("5", _whole(1, 1000), "a job's executions, unless its type or itself says so")
    retry_base_s: float = _setting("2", _SECONDS, "first retry delay; doubles, with full jitter")
    retry_cap_s: float = _setting("600", _SECONDS, "longest retry delay")
    job_timeout_s: float = _setting("900", _seconds(0.001), "time for one execution, likewise")
    drain_s: float = _setting("25", _SECONDS, "time for running jobs to end at shutdown")
    max_jobs_per_child: int | None = _setting("off", _optional(_whole(1)), "a child is replaced after so many jobs")
    max_rss_mb: int | None = _setting("off", _optional(_whole(1)), "a child above this is replaced between jobs")
    hard_rss_mb: int | None = _setting("off", _optional(_whole(1)), "a child above this is killed, even in mid-job")
    queue_max_depth: int | None = _setting("off", _optional(_whole(1)), "a queue this deep refuses more (429)")
    queue_max_age_s: float | None = _setting("off", _optional(_seconds(0.001)), "a queue this late refuses more (429)")
    max_body_bytes: int = _setting("1048576", _whole(1024), "largest body of a request")
    max_bulk_bytes: int = _setting("16777216", _whole(1024), "largest body of a bulk request")
    wait_max_s: float = _setting("30", _SECONDS, "longest `?wait=`")
    retention_s: float = _setting("604800", _SECONDS, "finished jobs are kept so long; 0: for ever")
    dead_retention_s: float = _setting("2592000", _SECONDS, "failed jobs are kept so long; 0: for ever")
    auth: str = _setting("keys", _choice("keys", "off"), "who may call the API; keys do not exist yet")
    auth_off_public: bool = _setting("no", _FLAG, "the API may be open on an address others reach")
    log_level: str = _setting("info", _choice("debug", "info", "warning", "error"), "least level that is logged")
    log_format: str = _setting("json", _choice("json", "console"), "one JSON object a line, or lines for people")
    failpoints: str = _setting("none", _FAILPOINTS, "faults to inject; refused unless ENV=test")
    timers: Timers
    warnings: tuple[str, ...]

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, *, defaults: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; `defaults` (by field name) replace the built-in ones.

        Raises SettingsError with every problem found.
        """
        problems: list[str] = []
        given = _given(os.environ if environ is None else environ, problems)
        values = _parse(cls, PREFIX, given, defaults or {}, problems)
        if PREFIX + "STATE_DIR" not in given:
            values["state_dir"] = values["data_dir"] / "state"
        timers = Timers(**_parse(Timers, TIMER_PREFIX, given, {}, problems))
        settings = cls(**values, timers=timers, warnings=tuple(_unknown(given)))
        problems += settings._contradictions()
        if problems:
            raise SettingsError(problems)
        return settings

    def server_urls(self) -> tuple[str, str]:
        """The URLs of PostgreSQL and Redis; SettingsError names those that are not set."""
        database_url, redis_url = self.needed(*SECRETS)
        return database_url, redis_url

    def needed(self, *names: str) -> list[Any]:
        """The values of settings that have no default but are needed now."""
        missing = [PREFIX + name.upper() for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError([f"{name} is not set, nor is {name}_FILE" for name in missing])
        return [getattr(self, name) for name in names]

    def require_meant_exposure(self) -> None:
        """For the API: SettingsError if others can reach it and nobody said that it may be open to them.

        This version has no keys, so `AUTH=keys` cannot close it.
        """
        if self.http_host not in LOOPBACK_HOSTS and not (self.auth == "off" and self.auth_off_public):
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

    def __repr__(self) -> str:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values.update({name: mask_url(values[name]) for name in SECRETS if values[name]})
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def table() -> list[Described]:
    """Every setting, then every internal timer, in the order of the code."""
    pairs = [(PREFIX, entry) for entry in _settings_of(Settings)]
    pairs += [(TIMER_PREFIX, entry) for entry in _settings_of(Timers)]
    return [
        Described(prefix + entry.name.upper(), about["default"], about["kind"].allowed, about["meaning"])
        for prefix, entry in pairs
        for about in [entry.metadata]
    ]


def mask_url(url: str) -> str:
    """`url` with every password in it replaced, fit for people's eyes."""
    masked = re.sub(r"(//[^/?#:@]*:)[^/?#]*@", r"\1***@", url)
    return re.sub(r"([?&][^=&]*pass[^=&]*=)[^&#]*", r"\1***", masked)


def _settings_of(owner: type[Any]) -> list[Field[Any]]:
    return [entry for entry in fields(owner) if entry.metadata]


def _given(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """What the environment and its file set, by full name, secrets read from their files."""
    given = _own(environ)
    from_file = _own(_env_file(given.get(PREFIX + "ENV_FILE"), problems))
    for secret in SECRETS:
        forms = (f"{PREFIX}{secret.upper()}", f"{PREFIX}{secret.upper()}_FILE")
        if any(form in given for form in forms):
            from_file = {name: value for name, value in from_file.items() if name not in forms}
    merged = {**from_file, **given}
    for secret in SECRETS:
        _read_secret(merged, f"{PREFIX}{secret.upper()}", problems)
    return merged


def _own(environ: Mapping[str, str | None]) -> dict[str, str]:
    return {
        name: value.strip() for name, value in environ.items() if name.startswith(PREFIX) and value and value.strip()
    }


def _env_file(path: str | None, problems: list[str]) -> dict[str, str | None]:
    if path is None or path.lower() in _NOTHING:
        return {}
    try:
        with _parse_path(path).open(encoding="utf-8") as stream:
            return dotenv_values(stream=stream, interpolate=False)
    except (OSError, ValueError) as error:
        problems.append(f"TASKHUB_ENV_FILE={path}: {_reason(error)}")
        return {}


def _read_secret(given: dict[str, str], name: str, problems: list[str]) -> None:
    """Replace `<name>_FILE` by the secret in that file."""
    path = given.pop(f"{name}_FILE", None)
    if path is None:
        return
    if name in given:
        problems.append(f"{name} and {name}_FILE are both set: keep one")
        return
    try:
        given[name] = _parse_path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        problems.append(f"{name}_FILE={path}: {_reason(error)}")
        return
    if not given[name]:
        problems.append(f"{name}_FILE={path}: the file is empty")


def _reason(error: Exception) -> str:
    return (error.strerror or "cannot be read") if isinstance(error, OSError) else "not a readable UTF-8 file"


def _parse(
    owner: type[Any], prefix: str, given: Mapping[str, str], defaults: Mapping[str, str], problems: list[str]
) -> dict[str, Any]:
    """The values of `owner`'s settings; a bad one is told in `problems` and replaced by its default."""
    values = {}
    for entry in _settings_of(owner):
        name, kind = prefix + entry.name.upper(), entry.metadata["kind"]
        default = kind.parse(defaults.get(entry.name, entry.metadata["default"]))
        try:
            values[entry.name] = kind.parse(given[name]) if name in given else default
        except ValueError:
            shown = "" if entry.name in SECRETS else f"={given[name]}"
            problems.append(f"{name}{shown}: must be {kind.allowed}")
            values[entry.name] = default
    return values


def _unknown(given: Mapping[str, str]) -> Iterator[str]:
    known = [described.name for described in table()]
    for name in sorted(set(given) - set(known)):
        near = difflib.get_close_matches(name, known, 1)
        yield f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "")
