"""The other side of scripts/bench/submit_http: a Flask view that sends a Dramatiq message, and answers with its id."""

from __future__ import annotations

from flask import Flask, request
from peer_dramatiq import stamp

app = Flask(__name__)


@app.post("/jobs")
def submit() -> tuple[dict[str, str], int]:
    payload = request.get_json()["payload"]
    return {"id": stamp.send(payload["number"]).message_id}, 202
