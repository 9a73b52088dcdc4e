"""A small HTTP client with one kept connection, as a test's client of the API."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Status, headers with lower-case names, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Http:
    """Requests to one port of this host; not to be shared by threads."""

    def __init__(self, port: int, timeout_s: float = 10) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Send `body` as JSON; bytes go as they are."""
        raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return self.request("POST", path, raw, {"Content-Type": "application/json", **headers})

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def submit(self, type: str, payload: dict[str, Any] | None = None, **fields: Any) -> str:
        """POST a job that must be accepted; returns its id."""
        answer = self.post("/jobs", {"payload": {"type": type, **(payload or {})}, **fields})
        assert answer.status == 202, (answer.status, answer.body)
        return str(answer.json["id"])

    def submit_many(self, jobs: list[dict[str, Any]]) -> list[str]:
        """POST fields in one request that must be accepted; returns the ids in order."""
        answer = self.post("/jobs/bulk", {"jobs": jobs})
        assert answer.status == 202, (answer.status, answer.body)
        return [str(found) for found in answer.json["ids"]]

    def job(self, job_id: str) -> dict[str, Any]:
        """The job object."""
        answer = self.get(f"/jobs/{job_id}")
        assert answer.status == 200, (answer.status, answer.body)
        found: dict[str, Any] = answer.json
        return found

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
