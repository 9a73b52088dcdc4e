"""Bytes from a pipe as lines of the log: whole, bounded, each somebody's."""

from __future__ import annotations

from typing import Any

import pytest

from taskhub.logs import loggers
from taskhub.logs.bounded import MAX_LINES_PER_S
from taskhub.logs.raw_lines import RawLines

A, B = {"slot": 0, "job_id": "a"}, {"slot": 0, "job_id": "b"}


class Told:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def tell(self, _level: str, _event: str, message: str, fields: dict[str, Any]) -> None:
        self.lines.append((message, fields))

    def close(self) -> None:
        """It has nothing open."""

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.lines]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    kept = Told()
    monkeypatch.setattr(loggers, "_process_log", kept)
    return kept


def test_a_line_in_pieces_is_one_and_one_without_an_end_waits_for_silence(told: Told) -> None:
    lines = RawLines()
    lines.add(b"one\ntw", A, 10.0)
    lines.add(b"o\nthree", A, 10.1)
    lines.look(10.3)
    assert told.texts == ["one", "two"]
    lines.look(10.7)
    lines.look(20.0)
    assert told.texts == ["one", "two", "three"]


def test_what_one_job_has_begun_is_not_joined_with_what_the_next_writes(told: Told) -> None:
    lines = RawLines()
    lines.add(b"half", A, 10.0)
    lines.add(b"other\n", B, 10.0)
    assert [(text, fields["job_id"]) for text, fields in told.lines] == [("half", "a"), ("other", "b")]


@pytest.mark.parametrize("sign", ["x", "é", "𝄞"])
def test_a_long_line_is_told_in_pieces_of_whole_characters(told: Told, sign: str) -> None:
    lines = RawLines()
    text = sign * 5000
    lines.add(b"." + text.encode(), A, 10.0)
    assert max(len(piece.encode()) for piece in told.texts) <= 3000
    lines.end()
    assert "".join(told.texts) == "." + text


def test_any_bytes_become_text(told: Told) -> None:
    lines = RawLines()
    lines.add(bytes(range(256)) + b"\x80" * 9000 + b"\n", A, 10.0)
    lines.end()
    assert sum(text.count("\\x80") for text in told.texts) == 9001


def test_a_flood_is_bounded_and_what_is_missing_is_counted(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("taskhub.logs.bounded.clock.monotonic_s", lambda: now_s[0])
    lines = RawLines()
    for _ in range(10):
        lines.add(b"y\n" * 1000, A, 100.0)
    lines.look(100.6)
    assert len(told.lines) == MAX_LINES_PER_S
    now_s[0] = 101.0
    lines.look(101.0)
    assert told.lines[-1][1]["dropped"] == 10 * 1000 - MAX_LINES_PER_S
