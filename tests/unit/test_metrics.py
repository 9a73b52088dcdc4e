"""The metrics that a group of processes shares: bounded files, monotonic counters, scrapes that never fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.metrics import Samples

_CHILDREN_THAT_ARE_KILLED = """
import os, signal, sys
from pathlib import Path
from taskhub.metrics import slot_files
folder = Path(sys.argv[1])
slot_files.prepare(folder, "sidecar", wipe=True)
from taskhub.metrics import page
from taskhub.metrics import definitions
from taskhub.metrics.recorder import JobRecorder, seed
seed([("default", "demo"), ("low", "echo")])
def child(slot, generation):
    slot_files.set_identity(f"w{slot}")
    recorder = JobRecorder()
    for _ in range(5):
        recorder.record("default", "demo", "completed", None, 0.004)
    recorder.record("default", "demo", "retried", "exception", 2.0)
    recorder.flush()
    os.kill(os.getpid(), signal.SIGKILL)
for generation in range(40):
    slot = generation % 2
    if generation == 11:
        (folder / "counter_w1.db").write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        child(slot, generation)
    os.waitpid(pid, 0)
sys.stdout.buffer.write(page.render([definitions.QUEUE_DEPTH.of({("default",): 7})]))
"""


def _run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Samples, Path]:
    folder = tmp_path_factory.mktemp("metrics")
    return Samples(_run(_CHILDREN_THAT_ARE_KILLED, folder)), folder


def test_counts_of_killed_children_are_kept(killed: tuple[Samples, Path]) -> None:
    samples, _ = killed
    # 40 children of 5 jobs; the first 5 children of slot 1 counted into the file that was emptied.
    assert samples.get("jobs_processed_total", queue="default", type="demo", outcome="completed") == (40 - 5) * 5
    assert samples.get("job_failures_total", queue="default", type="demo", reason="exception") == 35
    assert samples.get("job_processing_duration_seconds_count", queue="default", type="demo") == 240
    assert samples.get("job_processing_duration_seconds_bucket", queue="default", type="demo", le="0.005") == 200
    total = samples.get("job_processing_duration_seconds_sum", queue="default", type="demo")
    assert total == pytest.approx(40 * (5 * 0.004 + 2.0))


def test_files_belong_to_slots(killed: tuple[Samples, Path]) -> None:
    _, folder = killed
    names = {file.name for file in folder.iterdir()}
    assert names == {f"{kind}_{who}.db" for kind in ("counter", "histogram") for who in ("sidecar", "w0", "w1")}


def test_every_execution_metric_is_there_at_zero_for_seeded_types(killed: tuple[Samples, Path]) -> None:
    samples, _ = killed
    for outcome in ("completed", "retried", "failed", "cancelled", "crashed"):
        assert samples.get("jobs_processed_total", queue="low", type="echo", outcome=outcome) == 0
    for reason in ("exception", "timeout", "crash"):
        assert samples.get("job_failures_total", queue="low", type="echo", reason=reason) == 0
    assert samples.get("job_processing_duration_seconds_count", queue="low", type="echo") == 0
    assert samples.get("queue_depth", queue="default") == 7


_TORN_FILES = """
import sys
from pathlib import Path
from taskhub.metrics import slot_files
folder = Path(sys.argv[1])
slot_files.prepare(folder, "api0", wipe=False)
from taskhub.metrics import page
from taskhub.metrics import definitions
definitions.RECONCILED.labels("default").inc(3)
(folder / "counter_w0.db").write_bytes(b"")
(folder / "counter_w1.db").write_bytes(b"\\xff\\x00\\x00\\x00" + b"\\x01" * 60)
entry = b"\\x08\\x00\\x00\\x00not json"
(folder / "counter_w2.db").write_bytes(b"\\x40\\x00\\x00\\x00" + bytes(4) + entry + bytes(100))
(folder / "histogram_w3.db").mkdir()
sys.stdout.buffer.write(page.render())
"""


def test_a_torn_or_empty_file_never_fails_a_scrape(tmp_path: Path) -> None:
    samples = Samples(_run(_TORN_FILES, tmp_path))
    assert samples.get("taskhub_reconciled_total", queue="default") == 3
    assert samples.get("taskhub_metrics_files_skipped") == 4


def test_wiping_forgets_and_not_wiping_goes_on(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from taskhub.metrics import slot_files
slot_files.prepare(Path(sys.argv[1]) / "m", "api0", wipe=%s)
from taskhub.metrics import page
from taskhub.metrics import definitions
definitions.RECONCILED.labels("default").inc(3)
sys.stdout.buffer.write(page.render())
"""
    shown = [Samples(_run(program % wipe, tmp_path)) for wipe in (True, False, False, True)]
    assert [samples.get("taskhub_reconciled_total", queue="default") for samples in shown] == [3, 6, 9, 3]


def test_names_of_queues_are_bounded() -> None:
    from taskhub.metrics.recorder import MAX_QUEUES, OTHER, QueueLabels

    labels = QueueLabels()
    assert [labels.label(f"q{n}") for n in range(MAX_QUEUES)] == [f"q{n}" for n in range(MAX_QUEUES)]
    assert labels.label("one-more") == OTHER
    assert labels.label("q0") == "q0"


def test_an_identity_may_not_break_the_file_names(tmp_path: Path) -> None:
    from taskhub.metrics import slot_files

    for identity in ("", "w_0", "../w0"):
        with pytest.raises(ValueError, match="identity"):
            slot_files.set_identity(identity)
