"""URLs and hosts: each means one thing or is refused, and no part of a password is ever shown."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from psycopg2 import extensions

from taskhub import addresses, masking
from taskhub.settings.fields import Settings, SettingsError
from tests.sweep.drawing import rng

MEANINGFUL = "#?/@%[]\\\"'<>^`{|} \t\n\x7f\u00fc\U0001f642,&=+:;~"


def reason(url: str) -> str:
    with pytest.raises(ValueError, match=r".") as refusal:
        addresses.parse(url, addresses.POSTGRES + addresses.REDIS)
    return str(refusal.value)


def taken_apart(url: str) -> tuple[addresses.Address | None, str]:
    try:
        return addresses.parse(url, addresses.POSTGRES + addresses.REDIS), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("character", MEANINGFUL)
@pytest.mark.parametrize("where", ["postgresql://user:{}@host:5432/db", "redis://:{}@host:6379/0", "redis://u:{}@h"])
def test_a_character_in_a_password_is_taken_as_it_is_or_refused_without_a_leak(character: str, where: str) -> None:
    for secret in (f"tops{character}cret", f"{character}cret", f"12{character}34cret", f"tops{character}"):
        url = where.format(secret)
        shown = addresses.masked(url)
        assert "cret" not in shown
        assert "tops" not in shown
        address, told = taken_apart(url)
        if address is None:
            assert "percent-encode" in told
            assert "cret" not in told
            assert "tops" not in told
        else:
            assert address.password == unquote(secret)
            assert address.hosts[0].name in ("host", "h")


def test_any_password_works_percent_encoded_and_the_driver_reads_the_same() -> None:
    chance = rng("passwords")
    for _ in range(300):
        password = "".join(chance.choice(MEANINGFUL + "aZ09é日") for _ in range(chance.randint(1, 20)))
        url = f"postgresql://us%40er:{quote(password, safe='')}@[::1]:5433/d%2Fb?password2".removesuffix("?password2")
        address = addresses.parse(url, addresses.POSTGRES)
        read = extensions.parse_dsn(url)
        assert (address.user, address.password, address.path) == ("us@er", password, "/d/b")
        assert (read["user"], read["password"], read["dbname"]) == ("us@er", password, "d/b")
        assert (read["host"], int(read["port"])) == address.hosts[0] == ("::1", 5433)
        assert addresses.parse(f"unix://:{quote(password, safe='')}@/run/r.sock", addresses.REDIS).password == password


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("host=db password=secret", "key=value"),
        ("POSTGRESQL://h/db", "lower case"),
        ("mysql://root:secret@db", "must begin so"),
        ("postgresql:/h/db", "must begin so"),
        ("", "must begin so"),
        ("postgresql://u:p@h:0/db", "1 to 65535"),
        ("postgresql://u:p@h:65536/db", "1 to 65535"),
        ("postgresql://u:p@h:/db", "1 to 65535"),
        ("postgresql://u:p@h:٣/db", "percent-encode"),
        ("postgresql://u:p@::1/db", "brackets"),
        ("postgresql://u:p@fe80::1%25eth0/db", "brackets"),
        ("postgresql://u:p@[::1/db", "percent-encode"),
        ("postgresql://u:p@[1.2.3.4]/db", "not an IPv6 address"),
        ("postgresql://u:p@[::1%lo]/db", "percent-encode"),
        ("postgresql://u:p@h/db#part", "percent-encode"),
        ("postgresql://u:%ff@h/db", "UTF-8"),
        ("postgresql://u:%00@h/db", "%00"),
        ("postgresql://u:p@h/db?colour=red", "colour is not on it"),
        ("postgresql://u:p@h/db?sslmode", "not on it"),
        ("postgresql://u:p@h/db?sslmode=on", "sslmode must be disable or"),
        ("redis://h/first", "number of a database"),
        ("redis://h/-1", "number of a database"),
        ("redis://h/1/2", "number of a database"),
        ("redis://h?db=x", "db must be the number"),
        ("redis://h?socket_timeout=9999", "socket_timeout is not on it"),
        ("redis://h?decode_responses=true", "not on it"),
        ("redis://a,b/0", "one host"),
        ("redis://h?ssl_ca_certs=/ca.pem", "rediss://"),
        ("unix://run/redis.sock", "must begin with a slash"),
        ("unix://", "must begin with a slash"),
    ],
)
def test_a_url_that_is_none_is_refused_with_its_reason(url: str, told: str) -> None:
    assert told in reason(url)


@pytest.mark.parametrize(
    ("url", "hosts", "number"),
    [
        ("postgresql://u@/db?host=/run&port=1", [("", None)], None),
        ("postgresql://u:p@a:1,b,[::1]:2/db?target_session_attrs=any", [("a", 1), ("b", None), ("::1", 2)], None),
        ("postgresql://u@[fe80::1%25lo]:5432/db", [("fe80::1%lo", 5432)], None),
        ("postgresql://u@[::ffff:127.0.0.1]/db", [("::ffff:127.0.0.1", None)], None),
        ("postgresql://%2Frun%2Fpostgresql/db", [("/run/postgresql", None)], None),
        ("redis://h", [("h", None)], 0),
        ("redis://:p@/3", [("", None)], 3),
        ("redis://h:1/3?db=4", [("h", 1)], 4),
        ("rediss://u:p@h/0?ssl_cert_reqs=none", [("h", None)], 0),
        ("unix://:p@/run/r.sock?db=2", [("", None)], 2),
    ],
)
def test_a_good_url_is_taken_apart(url: str, hosts: list[tuple[str, int | None]], number: int | None) -> None:
    address = addresses.parse(url, addresses.POSTGRES + addresses.REDIS)
    assert list(address.hosts) == hosts
    if number is not None:
        assert address.database_number == number


def test_the_driver_knows_every_parameter_that_is_accepted() -> None:
    for name in addresses._POSTGRES_PARAMETERS:
        assert extensions.parse_dsn(f"postgresql://h/db?{name}=1")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40w@h:1/db", "postgresql://u:***@h:1/db"),
        ("postgresql://u@/db?host=/run&password=p&port=1", "postgresql://u@/db?host=/run&password=***&port=1"),
        ("redis://:p@h/0", "redis://:***@h/0"),
        ("redis://p@h/0", "redis://***@h/0"),
        ("unix://:p@/run/r.sock?db=0", "unix://:***@/run/r.sock?db=0"),
        ("unix:///run/r.sock?db=0", "unix:///run/r.sock?db=0"),
        ("postgresql://h:5432/db", "postgresql://h:5432/db"),
        ("postgresql://u:p@w@h:1/db", "postgresql://***"),
        ("host=h password=p", "***"),
        ("", "***"),
    ],
)
def test_masking_hides_passwords_and_all_that_is_doubtful(url: str, shown: str) -> None:
    assert addresses.masked(url) == shown


def test_a_text_of_a_driver_shows_no_password_in_any_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", ())
    monkeypatch.setattr(masking, "_short", None)
    Settings.load({"TASKHUB_DATABASE_URL": "postgresql://u:p%23a%2Fb@h/db?sslpassword=other"})
    for form in ("p#a/b", "p%23a%2Fb", "other"):
        assert masking.masked(f"cannot use {form} here") == "cannot use *** here"
    assert masking.first_line(ValueError("one other\ntwo")) == "one ***"


@pytest.mark.parametrize("password", ["7", "ab", "%23", "a%40"])
def test_a_short_password_is_hidden_where_a_value_stands(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setattr(masking, "_known", ())
    monkeypatch.setattr(masking, "_short", None)
    Settings.load({"TASKHUB_DATABASE_URL": f"postgresql://u:{password}@h/db"})
    for form in {password, unquote(password)}:
        told = f"u:{form}@h password={form} 'password'='{form}' password \"{form}\""
        assert masking.masked(told) == "u:***@h password=*** 'password'='***' password \"***\""
    words = "a table of 17 absent rows, about 7 ab"
    assert masking.masked(words) == words


def test_a_refused_url_is_told_by_its_settings_name_alone() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load({"TASKHUB_REDIS_URL": "redis://:tops#cret@127.0.0.1:1/0"})
    [problem] = refusal.value.problems
    assert problem.startswith("TASKHUB_REDIS_URL: must be redis://")
    assert "cret" not in problem
    assert "%23" in problem


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("::1%lo", True),
        ("localhost", True), ("LOCALHOST.", True), ("::ffff:127.0.0.1", True), ("0:0:0:0:0:0:0:1", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("example.org", False),
        ("127.0.0.1.example.org", False), ("0", False), ("127.1", False), ("", False),
    ],
)  # fmt: skip
def test_only_what_surely_is_this_machine_counts_as_such(host: str, is_own: bool) -> None:
    assert addresses.is_loopback(host) is is_own
