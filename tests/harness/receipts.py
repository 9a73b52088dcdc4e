"""A client that writes down what it was promised: the other side of the ledger.

Invariants: an id is in the journal, on disk, exactly if an answer of 2xx with it was read; a submission that
was not answered so is repeated with its key until it is.
"""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness.http import Answer, Http
from tests.waiting import pause

_AGAIN_S = 0.2
_ACCEPTED = (200, 202)
_LATER = (429, 503)


class Receipts:
    """An append-only file of accepted ids, each synchronised to disk before it counts."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._path = path
        self._lock = threading.Lock()

    def note(self, key: str, answer: Answer) -> None:
        line = f"{key} {answer.status} {answer.json['id']}\n".encode()
        with self._lock:
            os.write(self._file, line)
            os.fsync(self._file)

    def accepted(self) -> list[str]:
        """The ids, in the order of their answers."""
        return [line.split()[2] for line in self._path.read_text().splitlines()]

    def close(self) -> None:
        os.close(self._file)


class Clients:
    """Some threads that submit `count` jobs over HTTP: half of them at once, the other half over `lasts_s`."""

    def __init__(
        self,
        port: int,
        journal: Receipts,
        body: Callable[[int], dict[str, Any]],
        count: int,
        lasts_s: float,
        threads: int,
    ) -> None:
        self._port = port
        self._journal = journal
        self._body = body
        self._count = count
        self._pause_s = lasts_s * threads / max(1, count - count // 2)
        self._next = iter(range(count))
        self._lock = threading.Lock()
        self._is_ending = False
        self.refused: list[str] = []  # what was answered neither with 2xx nor with "later"
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def are_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Stop submitting, and wait for the threads."""
        self._is_ending = True
        for thread in self._threads:
            thread.join(20)

    def _work(self) -> None:
        with Http(self._port) as client:
            while not self._is_ending:
                with self._lock:
                    number = next(self._next, None)
                if number is None:
                    return
                self._submit(client, number)
                if number >= self._count // 2:
                    pause(self._pause_s)

    def _submit(self, client: Http, number: int) -> None:
        key = f"chaos-{number}"
        while not self._is_ending:
            try:
                answer = client.post("/jobs", self._body(number), **{"Idempotency-Key": key})
            except (OSError, http.client.HTTPException):
                pause(_AGAIN_S)
                continue
            if answer.status in _ACCEPTED:
                self._journal.note(key, answer)
                return
            if answer.status not in _LATER:
                self.refused.append(f"{answer.status} {answer.body[:200]!r}")
                return
            pause(_AGAIN_S)
