"""Every setting with every odd value, from every place: a value or a problem that names it, nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskhub.settings.fields import Settings, SettingsError, table
from taskhub.settings.timers import TIMER_PREFIX
from tests.sweep.drawing import drawn, rng

NAMES = [described.name for described in table()]
ODD = [
    "0", "-1", "+1", "1_000", "1e3", "1E400", "1e300", "2.5", ".5", "5.", ".", "inf", "-inf", "nan", "NaN", "infinity",
    "0x10", "0b1", "007", "٣", "²", "½", "1 000", "1,5", "9" * 18, "9" * 19, "9" * 5000, str(2**31 - 1), str(2**31),
    str(2**63), "0." + "0" * 20 + "1", "true", "yes", "None", "null", "off", "cores", "*", ",", "a=,b", "a=1=2", "=",
    "~", "~nobody-such/x", "/", "//", ".", "..", "/dev/null/x", "a" * 10_000, "ü", "🙂", "\u202e", "a\nb", "a\tb",
    "\x1b[2J",
    "\x00", "\ud800", "\udcff", "%s", "{x}", "$HOME", "${HOME}", "`id`", "'", '"', "\\", "[::1]", "::1", "fe80::1%lo",
    "[::1", "::1]", "[127.0.0.1]", "::ffff:127.0.0.1", "localhost", "tcp://10.0.0.1:80", "UDP://x", "http://x", "://",
    "postgresql://", "redis://", "unix://", "unix:///x", "postgresql://[", "redis://[::1", "postgresql://u:p@h:x/d",
    "redis://:p#w@h/0", "host=h password=p", "postgresql://h/d?x", "redis://h/0?db=", "[]", "{}", "NUL", "con", "-",
    "--help",
]  # fmt: skip


def loaded(environ: dict[str, str]) -> tuple[Settings | None, list[str]]:
    """The settings, or else what is wrong with them."""
    try:
        return Settings.load(environ), []
    except SettingsError as refusal:
        return None, refusal.problems


@pytest.mark.parametrize("name", drawn("settings", NAMES, 15))
def test_an_odd_value_is_taken_or_told(name: str) -> None:
    for value in ODD:
        settings, problems = loaded({name: value})
        assert all(problem.isprintable() and name in problem for problem in problems), (value, problems)
        assert max(map(len, problems), default=0) < 700
        assert settings is None or repr(settings)
        assert settings is None or all(warning.isprintable() for warning in settings.warnings)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.endswith(("_S", "_MB", "_BYTES", "_PROCESSES", "_PORT"))]
)
def test_what_is_accepted_as_a_number_fits_every_use(name: str) -> None:
    for value in ODD:
        settings, _ = loaded({name: value})
        if settings is None:
            continue
        owner = settings.timers if name.startswith(TIMER_PREFIX) else settings
        field = name.removeprefix(TIMER_PREFIX if owner is settings.timers else "TASKHUB_").lower()
        number = getattr(owner, field) or 0
        assert 0 <= number < 2**31
        assert int(number * 1e9) < 2**63


def test_many_odd_values_at_once_are_all_told() -> None:
    chance = rng("odd-settings")
    for _ in range(30):
        chosen = {name: chance.choice(ODD) for name in chance.sample(NAMES, 12)}
        _, problems = loaded(chosen)
        assert all(problem.isprintable() for problem in problems)


def _files(folder: Path) -> dict[str, Path]:
    """Files that are none of what a setting's file should be."""
    made = {name: folder / name for name in ("folder", "fifo", "huge", "binary", "loop", "nul", "missing", "latin")}
    made["folder"].mkdir()
    os.mkfifo(made["fifo"])
    with made["huge"].open("wb") as stream:
        stream.truncate(1 << 34)  # sparse
    made["binary"].write_bytes(bytes(range(256)) * 16)
    made["loop"].symlink_to(made["loop"])
    made["nul"].write_bytes(b"TASKHUB_HTTP_PORT=8\x00\n")
    made["latin"].write_bytes("TASKHUB_HTTP_HOST=grün".encode("latin-1"))
    return {**made, "terminal": Path("/dev/tty"), "zeros": Path("/dev/zero"), "long": Path("/" + "x" * 5000)}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("setting", ["TASKHUB_ENV_FILE", "TASKHUB_DATABASE_URL_FILE", "TASKHUB_REDIS_URL_FILE"])
def test_a_file_that_cannot_be_read_is_told_at_once(setting: str, tmp_path: Path) -> None:
    for name, path in _files(tmp_path).items():
        with pytest.raises(SettingsError) as refusal:
            Settings.load({setting: str(path)})
        assert refusal.value.problems[0].startswith(f"{setting}="), name


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    env, secret = tmp_path / "env", tmp_path / "secret"
    env.write_bytes(b"\xef\xbb\xbfTASKHUB_HTTP_PORT=1234\r\nTASKHUB_DRAIN_S=5\r\n")
    secret.write_bytes(b"\xef\xbb\xbfredis://h/1\r\n\r\n")
    settings = Settings.load({"TASKHUB_ENV_FILE": str(env), "TASKHUB_REDIS_URL_FILE": str(secret)})
    assert (settings.http_port, settings.drain_s, settings.redis_url) == (1234, 5, "redis://h/1")


def test_a_name_that_is_not_text_is_told_in_printable_words() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.load({"TASKHUB_\udc80": "x", "TASKHUB_DATA_DIR": "/\udcff"})
    assert all(problem.isprintable() for problem in refusal.value.problems)
    assert [problem.split(":")[0] for problem in refusal.value.problems] == ["TASKHUB_\\udc80", "TASKHUB_DATA_DIR"]


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone, before = tmp_path / "gone", Path.cwd()
    gone.mkdir()
    os.chdir(gone)
    try:
        gone.rmdir()
        with pytest.raises(SettingsError, match=r"TASKHUB_DATA_DIR=\.taskhub: .*working directory is gone"):
            Settings.load({})
    finally:
        os.chdir(before)
