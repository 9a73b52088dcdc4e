"""The helper thread of a child: beside a long job, finished neighbours are settled and waiting ones released.

It sleeps while there is no batch. It uses the child's connections under their lock, and touches only
outcomes and jobs that it has popped, so the main thread cannot settle or start the same.
"""

from __future__ import annotations

import threading

from taskhub import clock
from taskhub.child.link import SupervisorLink
from taskhub.child.settling import Settler
from taskhub.domain.errors import UnavailableError
from taskhub.logs import get_logger
from taskhub.outage import Outage

log = get_logger(__name__)


class LongJobHelper:
    """Watches the present job of one child; it settles and releases by the child's own settler."""

    def __init__(self, link: SupervisorLink, settler: Settler, *, settle_within_s: float, budget_s: float) -> None:
        self._link = link
        self._settler = settler
        self._batch = settler.batch
        self._settle_within_s = settle_within_s
        self._budget_s = budget_s
        self._batch_runs = threading.Event()
        self._outage = Outage(log, "child.helper_failed", "child.helper_back", base_s=settle_within_s, slot=link.slot)
        self._thread: threading.Thread | None = None

    def ensure(self) -> None:
        """Begin, also again if it has died. Where no thread can be had, the sidecar helps from outside."""
        if (self._thread is not None and self._thread.is_alive()) or not self._outage.is_due:
            return
        thread = threading.Thread(target=self._watch, name="long_job", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError as error:
            self._outage.lost(str(error))

    def batch_begins(self) -> None:
        """The main thread is about to run jobs."""
        self._link.relieved(True)  # by this thread: the other may not get the interpreter in time
        self._batch_runs.set()

    def batch_ends(self) -> None:
        """The main thread holds nothing that this one could help with."""
        self._batch_runs.clear()
        self._link.relieved(False)

    def _watch(self) -> None:
        while True:
            try:
                self._batch_runs.wait()
                self._link.relieved(True)
                clock.sleep(self._settle_within_s)
                self._look()
                self._outage.back()
            except UnavailableError as error:  # the main thread tells of it
                log.debug("help.waits", extra={"text": str(error)})
                clock.sleep(self._settle_within_s)
            except BaseException as error:  # noqa: BLE001 (whatever it is, the child goes on, and so does this)
                text = f"the helper thread goes on: {type(error).__name__}: {error}"
                clock.sleep(self._outage.lost(text, trace=error))

    def _look(self) -> None:
        began_s = self._link.running_since_s()
        if not began_s or not self._batch.is_held:
            return
        runs_for_s = clock.boottime_s() - began_s
        if runs_for_s < self._settle_within_s:
            return
        with self._settler.lock:
            if began_s != self._link.running_since_s():
                return  # the main thread went on in the meantime
            self._settler.settle_all()
            if runs_for_s >= self._budget_s and self._batch.pending:
                self._settler.release()
