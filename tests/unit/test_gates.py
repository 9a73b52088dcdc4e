"""The number of requests at work: turns in order, places given back, and nobody lost who comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from taskhub import clock
from taskhub.api import gates
from taskhub.api.gates import Gate, Gated
from tests.harness.background import Background
from tests.waiting import wait_until


def test_turns_come_in_the_order_of_asking() -> None:
    gate, order = Gate(1), list[int]()

    def work(number: int) -> None:
        assert gate.enter(10)
        order.append(number)
        gate.leave()

    assert gate.enter(0)
    waiting = []
    for number in range(5):
        waiting.append(Background(work, number))
        wait_until(lambda: len(gate._queue) == len(waiting), 5, "it waits for its turn")
    gate.leave()
    for each in waiting:
        each.result()
    assert order == [0, 1, 2, 3, 4]


def test_one_whose_turn_does_not_come_leaves_the_queue() -> None:
    gate = Gate(1)
    assert gate.enter(0)
    assert not gate.enter(0.01)
    gate.leave()
    assert gate.enter(0)
    assert not gate.enter(0.01)


def test_who_comes_back_goes_on_beyond_the_number_and_it_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_RETURN_S", 0.01)
    gate = Gate(1)
    assert gate.enter(0)
    with gate.aside():
        assert gate.enter(0)
    gate.leave()
    assert not gate.enter(0.01), "two had one place"
    gate.leave()
    assert gate.enter(0)


def test_the_place_comes_back_whatever_is_raised_aside() -> None:
    gate = Gate(1)
    assert gate.enter(0)
    with pytest.raises(ValueError, match="x"), gate.aside():
        raise ValueError("x")
    assert not gate.enter(0.01)


def test_a_full_process_refuses_in_time_and_answers_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_TURN_S", 0.05)
    entered, end = threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            end.wait(10)
        start_response("200 OK", [])
        return [b"ok"]

    gated = Gated(application, Gate(1))

    def ask(path: str) -> str:
        lines: list[str] = []
        gated({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda line, headers: lines.append(line))  # type: ignore[arg-type, return-value]
        return lines[0][:3]

    slow = Background(ask, "/slow")
    assert entered.wait(10)
    assert ask("/jobs/x") == "503"
    assert [ask(path) for path in ("/livez", "/readyz", "/health", "/metrics")] == ["200"] * 4
    end.set()
    assert slow.result() == "200"
    assert ask("/jobs/x") == "200"


def test_one_that_waited_too_long_for_a_thread_is_refused() -> None:
    gated = Gated(lambda environ, start: (start("200 OK", []), [b"ok"])[1], Gate(1))  # type: ignore[func-returns-value, return-value]
    lines: list[str] = []
    for path in ("/jobs/x", "/readyz"):
        body = SimpleNamespace(whole_s=clock.monotonic_s() - 2 * gates._TURN_S)
        environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "wsgi.input": body}
        gated(environ, lambda line, headers: lines.append(line))  # type: ignore[arg-type, return-value]
    assert [line[:3] for line in lines] == ["503", "200"]
