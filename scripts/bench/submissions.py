"""Submit jobs in this process, by the API's application and by a Producer, and tell the CPU that one took, in us.

Reads numbers of jobs, one a line, and answers each on stderr. The checkout is the one of PYTHONPATH: what is used here,
every version has.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from taskhub import Producer
from taskhub.wsgi import app

_BODY = b'{"payload":{"type":"sleep","seconds":1}}'
_ENVIRON = {
    "REQUEST_METHOD": "POST",
    "PATH_INFO": "/jobs",
    "QUERY_STRING": "",
    "SERVER_NAME": "bench",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "CONTENT_TYPE": "application/json",
    "CONTENT_LENGTH": str(len(_BODY)),
    "wsgi.url_scheme": "http",
}


def main() -> None:
    producer = Producer()
    keys = map(str, itertools.count())
    ways: dict[str, Callable[[], object]] = {
        "API": post,
        "API, with a key": lambda: post(HTTP_IDEMPOTENCY_KEY=f"{time.time_ns()}-{next(keys)}"),
        "Producer": lambda: producer.submit("sleep", {"seconds": 1}),
    }
    for line in sys.stdin:
        figures = {name: cpu_us(submit, int(line)) for name, submit in ways.items()}
        print(json.dumps(figures), file=sys.stderr, flush=True)


def post(**headers: str) -> None:
    """One request, as the WSGI server hands it over."""
    answered: list[str] = []

    def start_response(status: str, *_: Any) -> Callable[[bytes], object]:
        answered.append(status)
        return answered.append  # type: ignore[arg-type, return-value]

    environ: dict[str, Any] = {**_ENVIRON, **headers, "wsgi.input": io.BytesIO(_BODY), "wsgi.errors": sys.stderr}
    b"".join(app.wsgi_app(environ, start_response))
    assert answered == ["202 ACCEPTED"]


def cpu_us(submit: Callable[[], object], number: int) -> float:
    begun_ns = time.process_time_ns()
    for _ in range(number):
        submit()
    return (time.process_time_ns() - begun_ns) / number / 1000


if __name__ == "__main__":
    main()
