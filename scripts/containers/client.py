"""A client that submits until it is told yes, and remembers every job that was accepted."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from containers.waiting import Failed, wait_until

TROUBLE = (OSError, http.client.HTTPException)


def get(url: str, timeout_s: float = 15) -> tuple[int, bytes]:
    """Status and body; 0 and the reason if there was no answer."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except TROUBLE as error:
        return 0, str(error).encode()


class Client:
    """Submits with an Idempotency-Key, so that repeating a request whose answer was lost makes no second job."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.accepted: list[str] = []
        self.refusals: list[str] = []

    def submit(self, type_: str, within_s: float = 60, **payload: Any) -> str:
        """Returns the job's id. Raises Failed if nobody accepts it in time, or if it is refused."""
        body = json.dumps({"payload": {"type": type_, **payload}}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        deadline = time.monotonic() + within_s
        while True:
            status, answer = self._post(body, headers)
            if status in (200, 202):
                job_id = str(json.loads(answer)["id"])
                self.accepted.append(job_id)
                return job_id
            if 400 <= status < 500 or time.monotonic() > deadline:
                raise Failed(f"submit: {status} {answer[:200]!r}")
            self.refusals.append(f"{status} {answer[:80]!r}")
            time.sleep(0.1)

    def submit_many(self, number: int, type_: str, **payload: Any) -> list[str]:
        """From eight threads."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: self.submit(type_, **payload), range(number)))

    def job(self, job_id: str) -> dict[str, Any]:
        status, body = get(f"{self.url}/jobs/{job_id}")
        if status != 200:
            raise Failed(f"GET /jobs/{job_id}: {status} {body[:200]!r}")
        return dict(json.loads(body))

    def wait(self, job_ids: Iterable[str], within_s: float, status: str = "completed") -> float:
        """Until every job has that status; returns the seconds that it took."""
        waiting = set(job_ids)

        def all_there() -> bool:
            for job_id in list(waiting):
                if self.job(job_id)["status"] != status:
                    return False
                waiting.discard(job_id)
            return True

        return wait_until(all_there, within_s, f"{len(waiting)} jobs {status}")

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        request = urllib.request.Request(f"{self.url}/jobs", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except TROUBLE as error:
            return 0, str(error).encode()


class Load:
    """Jobs submitted one after the other in the background, while something is done to the platform."""

    def __init__(self, client: Client, type_: str, **payload: Any) -> None:
        self._client = client
        self._type, self._payload = type_, payload
        self._stop = threading.Event()
        self._error: Failed | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.ids: list[str] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.02):
                self.ids.append(self._client.submit(self._type, **self._payload))
        except Failed as error:
            self._error = error


class Probe:
    """Asks an address all the time, and counts the answers that were not 200."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers = 0
        self.failures: list[str] = []

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(0.03):
            status, body = get(self._url)
            if status == 200:
                self.answers += 1
            else:
                self.failures.append(f"{status} {body[:80]!r}")
