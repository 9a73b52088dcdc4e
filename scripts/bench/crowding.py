"""The two sides of the bench of slow clients: the crowd, in a process of its own, and the requests that are timed."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle

import harness

ARRIVAL_S = 3.0
_READY_S = 30
_JOB = json.dumps({"payload": {"type": "demo"}}).encode()
_JSON = {"Content-Type": "application/json"}
_FAIR = {"waiting": {"200", "holding"}, "silent": {"closed", "holding"}}  # who has asked nothing is answered nothing


class Others:
    """Requests at a steady rate, one after the other on one connection."""

    def __init__(self, port: int, rate: float) -> None:
        self.refused: list[str] = []
        self._rate = rate
        self._link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._job = self.jobs(1)[0]
        self._asked: Iterator[tuple[str, str, bytes | None]] = cycle(
            [("POST", "/jobs", _JOB), ("GET", f"/jobs/{self._job}", None)]
        )

    def jobs(self, count: int) -> list[str]:
        """The ids of new jobs, which nobody runs."""
        body = json.dumps({"jobs": [{"payload": {"type": "demo"}}] * count}).encode()
        found: list[str] = json.loads(self._ask("POST", "/jobs/bulk", body))["ids"]
        return found

    def time(self, seconds: float) -> list[float]:
        """How long each took, in milliseconds from the moment that it was meant to be sent."""
        waits: list[float] = []
        begin = time.monotonic()
        for n in range(int(seconds * self._rate)):
            at = begin + n / self._rate
            time.sleep(max(0.0, at - time.monotonic()))
            self._ask(*next(self._asked))
            waits.append((time.monotonic() - at) * 1000)
        return waits

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        self._link.request(method, path, body, _JSON)
        answer = self._link.getresponse()
        data = answer.read()
        if answer.status not in (200, 202):
            self.refused.append(f"{method} {path}: {answer.status}")
        return data


class Crowd:
    """The clients that wait and the slow ones, from all at once to all gone."""

    def __init__(self, port: int, jobs: list[str], waiters: int, slow: int) -> None:
        self.told = ""
        self.refused: list[str] = []
        command = [sys.executable, str(harness.HERE / "crowd.py"), str(port), str(waiters), str(slow)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(jobs) + "\n")
        self._process.stdin.flush()

    def await_all(self) -> None:
        """Return when all have connected and sent what they send at first."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "here\n":
            raise RuntimeError("the crowd did not come")

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        """Let it go, and hear how it was treated."""
        try:
            said, _none = self._process.communicate("go\n", _READY_S)
        finally:
            self._process.kill()
        heard: dict[str, Counter[str]] = {kind: Counter(counts) for kind, counts in json.loads(said).items()}
        self.told = "; ".join(f"{kind}: {_shown(counts)}" for kind, counts in heard.items())
        for kind, counts in heard.items():
            fair = _FAIR.get(kind, {"408", "202", "holding"})
            self.refused += [f"{kind}: {count} x {what}" for what, count in counts.items() if what not in fair]


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
