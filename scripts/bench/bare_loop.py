"""The floor of the drain: the same two round trips per batch of 500, and nothing else.

No handler, no journal, no log, no metric, no supervisor, but true times.
Run as `python bare_loop.py WORKER SLOT CHILDREN BYTES`: with BYTES, each job has a result of so many, and as many jobs
are taken at once as may be by the bytes of their payloads.
"""

from __future__ import annotations

import json
import os
import sys
import time

from sample_text import sample_text

from taskhub import ids
from taskhub.broker import key_names
from taskhub.broker.broker import Broker
from taskhub.domain.job import MAX_BATCH_BYTES, WorkerSlot
from taskhub.store.connection import Connection
from taskhub.store.slots import open_slot
from taskhub.store.statements import number_array, text_array, uuid_array

BATCH = 500


def main(worker: str, slot: int, children: int, result_bytes: int) -> None:
    result = json.dumps(sample_text(result_bytes)) if result_bytes else None
    most = max(1, min(BATCH, MAX_BATCH_BYTES // max(1, result_bytes)))
    store = Connection(os.environ["TASKHUB_DATABASE_URL"], application="bare loop", index_only=True)
    broker = Broker(os.environ["TASKHUB_REDIS_URL"], timeout_s=5)
    open_slot(store, WorkerSlot(worker, slot, 1), os.getpid())
    done, lease, bank, settled = "{}", None, 0, "none"
    arrays = ("{}", "{}", "{}")
    began = 0.0
    while True:
        target = key_names.inflight("default", worker, slot, 1, bank)
        taken = broker.take("default", settled, target, most, children)
        if not taken and done == "{}":
            if began and time.monotonic() - began > 0.5:
                break
            broker.wait(["default"], 0.05)
            continue
        claim_lease = ids.new_token()
        mine = (worker, slot, 1, "default", uuid_array(taken), claim_lease, MAX_BATCH_BYTES)
        rows = store.run("settle_and_claim", done, *arrays, lease, *mine)
        jobs = [job_id for _, _, _, job_id, *_ in rows[1:]]
        done, lease, settled, bank = uuid_array(jobs), claim_lease, target, 1 - bank
        began = time.monotonic()
        spans = [round((time.monotonic() - began) * 1e6) for _ in jobs]  # each of its own, as they are in earnest
        arrays = (text_array([result] * len(jobs)), number_array(spans), number_array(spans))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
