"""Settings: defaults, layers, mistakes, secrets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from supervisor.shared.layout import MAX_SLOTS
from taskhub.settings.fields import Settings, SettingsError
from taskhub.settings.kinds import MAX_CHILDREN


def problems_of(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    return caught.value.problems


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.load({})

    assert (settings.http_host, settings.http_port, settings.metrics_port) == ("127.0.0.1", 8080, 9091)
    assert (settings.max_attempts, settings.retry_base_s, settings.retry_cap_s) == (5, 2, 600)
    assert (settings.job_timeout_s, settings.drain_s, settings.wait_max_s) == (900, 25, 30)
    assert (settings.retention_s, settings.dead_retention_s) == (7 * 86400, 30 * 86400)
    assert (settings.max_body_bytes, settings.max_bulk_bytes) == (2**20, 2**24)
    assert (settings.auth, settings.log_level, settings.log_format) == ("keys", "info", "json")
    assert (settings.env, settings.failpoints, settings.auth_off_public) == ("production", "", False)
    assert settings.worker_processes >= 1
    assert settings.state_dir == Path.cwd() / ".taskhub" / "state"
    assert (settings.timers.heartbeat_s, settings.timers.worker_dead_s) == (5, 15)
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("QUEUES", "*", ()),
        ("QUEUES", "critical=6,default=3, low", (("critical", 6), ("default", 3), ("low", 1))),
        ("HANDLERS", "shop.jobs, mail", ("shop.jobs", "mail")),
        ("MAX_RSS_MB", "200", 200),
        ("MAX_RSS_MB", "off", None),
        ("QUEUE_MAX_AGE_S", "1.5", 1.5),
        ("AUTH_OFF_PUBLIC", "YES", True),
        ("LOG_LEVEL", "DEBUG", "debug"),
        ("DATA_DIR", "/var/lib/taskhub", Path("/var/lib/taskhub")),
        ("METRICS_PORT", "0", 0),
        ("HTTP_PORT", "", 8080),
        ("WORKER_PROCESSES", " 3 ", 3),
    ],
)
def test_a_value_is_parsed_to_its_type(name: str, text: str, value: Any) -> None:
    settings = Settings.load({f"TASKHUB_{name}": text})

    assert getattr(settings, name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HTTP_PORT", "0"),
        ("HTTP_PORT", "65536"),
        ("HTTP_PORT", "80a"),
        ("WORKER_PROCESSES", "0"),
        ("WORKER_PROCESSES", "many"),
        ("DRAIN_S", "nan"),
        ("DRAIN_S", "-1"),
        ("QUEUES", "a,a"),
        ("QUEUES", "a=0"),
        ("QUEUES", "Big Queue"),
        ("QUEUES", "a,,b"),
        ("HANDLERS", "shop/jobs.py"),
        ("LOG_FORMAT", "xml"),
        ("AUTH_OFF_PUBLIC", "perhaps"),
        ("MAX_RSS_MB", "0"),
        ("INTERNAL_HEARTBEAT_S", "soon"),
    ],
)
def test_a_bad_value_is_told_with_its_name_and_what_is_allowed(name: str, text: str) -> None:
    [problem] = problems_of({f"TASKHUB_{name}": text})

    assert problem.startswith(f"TASKHUB_{name}={text}: must be ")


def test_all_mistakes_are_told_at_once() -> None:
    problems = problems_of(
        {
            "TASKHUB_HTTP_PORT": "x",
            "TASKHUB_INTERNAL_STALL_S": "y",
            "TASKHUB_FAILPOINTS": "a=kill",
            "TASKHUB_RETRY_CAP_S": "1",
            "TASKHUB_ENV_FILE": "/nowhere/at/all",
        }
    )

    assert [problem.split("=")[0].split(" ")[0] for problem in problems] == [
        "TASKHUB_ENV_FILE",
        "TASKHUB_HTTP_PORT",
        "TASKHUB_INTERNAL_STALL_S",
        "TASKHUB_FAILPOINTS",
        "TASKHUB_RETRY_CAP_S",
    ]


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# of the shop\nTASKHUB_HTTP_PORT=1234\nTASKHUB_DRAIN_S='5'\nOTHER=1\nTASKHUB_LOG_LEVLE=debug\n")

    settings = Settings.load({"TASKHUB_ENV_FILE": str(file), "TASKHUB_HTTP_PORT": "4321"})

    assert (settings.http_port, settings.drain_s) == (4321, 5)
    assert settings.warnings == ("TASKHUB_LOG_LEVLE is not a setting; did you mean TASKHUB_LOG_LEVEL?",)


def test_defaults_of_a_caller_lose_against_both() -> None:
    settings = Settings.load({"TASKHUB_LOG_FORMAT": "json"}, defaults={"auth": "off", "log_format": "console"})

    assert (settings.auth, settings.log_format) == ("off", "json")


def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"TASKHUB_HTTP_PORT=\xff\n")

    assert problems_of({"TASKHUB_ENV_FILE": str(file)}) == [f"TASKHUB_ENV_FILE={file}: not a readable UTF-8 file"]


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "pg").write_text("postgresql://u:hidden@db/app\n")
    (tmp_path / "redis").write_text("redis://:hidden@cache/0\n")
    names = {"TASKHUB_DATABASE_URL_FILE": str(tmp_path / "pg"), "TASKHUB_REDIS_URL_FILE": str(tmp_path / "redis")}

    settings = Settings.load(names)

    assert settings.server_urls() == ("postgresql://u:hidden@db/app", "redis://:hidden@cache/0")
    assert settings.warnings == ()
    assert "hidden" not in repr(settings)


def test_a_secret_given_twice_or_in_an_empty_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    environ = {
        "TASKHUB_DATABASE_URL": "postgresql://db/a",
        "TASKHUB_DATABASE_URL_FILE": "x",
        "TASKHUB_REDIS_URL_FILE": str(tmp_path / "empty"),
    }

    first, second = problems_of(environ)[:2]

    assert first == "TASKHUB_DATABASE_URL and TASKHUB_DATABASE_URL_FILE are both set: keep one"
    assert second == f"TASKHUB_REDIS_URL_FILE={tmp_path / 'empty'}: the file is empty"


def test_a_secret_in_the_environment_replaces_either_form_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("TASKHUB_DATABASE_URL_FILE=/nowhere\n")

    settings = Settings.load({"TASKHUB_ENV_FILE": str(file), "TASKHUB_DATABASE_URL": "postgresql://db/a"})

    assert settings.database_url == "postgresql://db/a"


def test_a_bad_secret_is_never_shown() -> None:
    [problem] = problems_of({"TASKHUB_DATABASE_URL": "mysql://root:hidden@db"})

    assert "hidden" not in problem
    assert problem.startswith("TASKHUB_DATABASE_URL: must be postgresql://")


def test_urls_that_are_needed_and_missing_are_named() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"TASKHUB_REDIS_URL": "unix:///tmp/r"}).server_urls()

    assert caught.value.problems == ["TASKHUB_DATABASE_URL is not set, nor is TASKHUB_DATABASE_URL_FILE"]


def test_failpoints_are_refused_outside_of_tests() -> None:
    assert Settings.load({"TASKHUB_ENV": "test", "TASKHUB_FAILPOINTS": "a=kill"}).failpoints == "a=kill"
    assert "TASKHUB_ENV=test" in problems_of({"TASKHUB_FAILPOINTS": "a=kill"})[0]


@pytest.mark.parametrize(("host", "public"), [("127.0.0.1", "no"), ("0.0.0.0", "yes")])
def test_an_open_api_is_accepted_where_nobody_or_everybody_is_meant(host: str, public: str) -> None:
    environ = {"TASKHUB_AUTH": "off", "TASKHUB_HTTP_HOST": host, "TASKHUB_AUTH_OFF_PUBLIC": public}

    assert Settings.load(environ).auth == "off"


@pytest.mark.parametrize("auth", ["keys", "off"])
def test_an_api_that_others_reach_needs_to_be_meant_so(auth: str) -> None:
    settings = Settings.load({"TASKHUB_AUTH": auth, "TASKHUB_HTTP_HOST": "0.0.0.0"})
    with pytest.raises(SettingsError, match="TASKHUB_AUTH_OFF_PUBLIC=yes"):
        settings.require_meant_exposure()
    meant = {"TASKHUB_AUTH": "off", "TASKHUB_HTTP_HOST": "0.0.0.0", "TASKHUB_AUTH_OFF_PUBLIC": "yes"}
    Settings.load(meant).require_meant_exposure()
    Settings.load({"TASKHUB_AUTH": auth}).require_meant_exposure()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings.load({}).http_port = 1  # type: ignore[misc]


LINKS = {
    "TASKHUB_HTTP_PORT": "tcp://10.0.0.1:8080",
    "TASKHUB_METRICS_PORT": "udp://10.0.0.1:53",
    "TASKHUB_INTERNAL_STALL_S": "sctp://10.0.0.1:1",
    "TASKHUB_PORT": "tcp://10.0.0.1:80",
    "TASKHUB_PORT_80_TCP": "tcp://10.0.0.1:80",
    "TASKHUB_PORT_80_TCP_ADDR": "10.0.0.1",
    "TASKHUB_PORT_80_TCP_PROTO": "tcp",
    "TASKHUB_SERVICE_HOST": "10.0.0.1",
    "TASKHUB_SERVICE_PORT_HTTP": "80",
    "TASKHUB_API_SERVICE_HOST": "10.0.0.1",
    "TASKHUB_API_SERVICE_PORT": "80",
    "TASKHUB_API_PORT_80_UDP_PORT": "80",
}


def test_service_links_of_kubernetes_are_ignored_with_one_warning_that_names_them() -> None:
    settings = Settings.load(LINKS)

    assert (settings.http_port, settings.metrics_port, settings.timers.stall_s) == (8080, 9091, 15)
    [warning] = settings.warnings
    assert all(name in warning for name in LINKS)
    assert "enableServiceLinks: false" in warning


def test_what_only_looks_a_little_like_a_service_link_is_still_a_mistake() -> None:
    assert problems_of({"TASKHUB_HTTP_PORT": "80x"})
    assert problems_of({"TASKHUB_HTTP_PORT": "http://10.0.0.1"})
    assert problems_of({"TASKHUB_DATABASE_URL": "tcp://10.0.0.1:5432"})
    assert "not a setting" in Settings.load({"TASKHUB_SERVICES": "1"}).warnings[0]


def test_children_are_at_most_as_many_as_a_worker_has_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CHILDREN == MAX_SLOTS
    for value in ("257", "100000", "0", "-1", "1e3", "2.5", "٣"):
        [problem] = problems_of({"TASKHUB_WORKER_PROCESSES": value})
        assert problem.endswith("must be a whole number, 1 to 256; or cores")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(384))
    assert Settings.load({}).worker_processes == 256


def test_a_bulk_smaller_than_a_body_is_a_contradiction() -> None:
    assert problems_of({"TASKHUB_MAX_BULK_BYTES": "2048"}) == ["TASKHUB_MAX_BULK_BYTES is below TASKHUB_MAX_BODY_BYTES"]


@pytest.mark.parametrize("text", ["::1", "[::1]"])
def test_a_host_is_kept_without_brackets(text: str) -> None:
    assert Settings.load({"TASKHUB_HTTP_HOST": text}).http_host == "::1"


@pytest.mark.parametrize(
    ("url", "environ", "completed"),
    [
        ("postgresql:///x", {"PGHOST": "db", "PGPORT": "5433", "PGUSER": "a b"}, "?host=db&port=5433&user=a%20b"),
        ("postgresql:///x?sslmode=require", {"PGHOST": "/run/pg"}, "&host=%2Frun%2Fpg"),
        ("postgresql:///x", {"PGHOST": "a,b", "PGPORT": "1,2"}, "?host=a%2Cb&port=1%2C2"),
        ("postgresql://u@h:1/x", {"PGHOST": "db", "PGPORT": "junk", "PGUSER": "o"}, ""),
        ("postgresql:///x?host=h&port=1&user=u", {"PGHOST": "db", "PGPORT": "junk", "PGUSER": "o"}, ""),
        ("postgresql:///x?service=s", {"PGHOST": "db", "PGPORT": "junk"}, ""),
        ("postgresql:///x", {"PGHOST": "db", "PGSERVICE": "s"}, ""),
        ("postgresql:///x", {"PGHOST": ""}, ""),
    ],
)
def test_what_a_url_leaves_open_is_taken_from_libpqs_variables(
    url: str, environ: dict[str, str], completed: str
) -> None:
    assert Settings.load({"TASKHUB_DATABASE_URL": url, **environ}).database_url == url + completed


@pytest.mark.parametrize("port", ["abc", "0", "65536", "tcp://10.0.0.1:5432", "1,", "\u0663"])
def test_a_port_of_libpqs_variables_that_is_none_is_told_by_its_name(port: str) -> None:
    [problem] = problems_of({"TASKHUB_DATABASE_URL": "postgresql:///x", "PGPORT": port})
    assert problem.startswith("PGPORT=")
    assert "must be 1 to 65535; TASKHUB_DATABASE_URL names no port of its own" in problem


@pytest.mark.parametrize("name", ["PGHOST", "PGUSER"])
def test_whatever_stands_in_libpqs_variables_is_used_or_told(name: str) -> None:
    [problem] = problems_of({"TASKHUB_DATABASE_URL": "postgresql:///x", name: "a\udcffb"})
    assert problem.startswith(f"{name}=a")
