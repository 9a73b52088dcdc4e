"""What became of a handler is told where its author looks: in the job's history and in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskhub.broker.broker import Broker
from tests.harness.fixtures import MakeApi, MakeWorker
from tests.harness.rows import Rows
from tests.harness.seed_jobs import SOON, place

SHOP = """
import json, logging
from taskhub import handler

@handler("shop.read")
def read(job):
    logging.getLogger("shop").warning("reading %s", "it", extra={"width": 3, "type": "mine"})
    job.log.info("read", extra={"width": job.payload["width"]})
    try:
        json.loads("{")
    except ValueError as error:
        refuse(error)

def refuse(error):
    raise RuntimeError("cannot be read") from error
"""


def shop(folder: Path) -> dict[str, str]:
    (folder / "shop.py").write_text(SHOP)
    return {**SOON, "TASKHUB_HANDLERS": "shop", "PYTHONPATH": str(folder), "TASKHUB_MAX_ATTEMPTS": "1"}


@pytest.mark.parametrize("point", ["", "store.settle_failures=kill**1"])
def test_a_failed_job_says_where_and_by_which_errors_also_if_its_child_dies_before_it_can(
    api: MakeApi, worker: MakeWorker, rows: Rows, broker: Broker, tmp_path: Path, point: str
) -> None:
    with worker(**shop(tmp_path), TASKHUB_FAILPOINTS=point) as running, api() as serving:
        [job] = place(rows, broker, "shop.read", {"width": 80}, max_attempts=1)
        rows.wait_counts({"failed": 1}, 15)
        with serving.http() as client:
            [error] = client.get(f"/jobs/{job}/errors").json["errors"]
        [said] = running.events("job.log")
        [read] = running.events("shop")
        assert len(running.events("child.exited")) == bool(point)
    assert (error["type"], error["message"]) == ("RuntimeError", "cannot be read")
    assert error["where"] == f"{tmp_path}/shop.py:15 refuse"
    assert '    raise RuntimeError("cannot be read") from error\n' in error["traceback"]
    assert "JSONDecodeError" in error["traceback"].partition("direct cause")[0]
    assert "run_job.py" not in error["traceback"]
    assert (said["width"], said["job_id"], said["attempt"]) == (80, job, 1)
    assert (read["message"], read["job_id"], read["type"], read["attempt"]) == ("reading it", job, "shop.read", 1)
    assert (read["width"], read["extra_type"]) == (3, "mine")
