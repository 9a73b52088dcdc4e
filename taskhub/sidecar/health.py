"""What the probes say: whether this process tree is alive, whether it is ready, and which role is not well.

`/livez` is 503 only for what a restart of the whole worker can mend: its supervisor's loop or all of its
children stand still, or a role without which no job starts or comes back has failed unexpectedly for a minute,
which recreating it has not mended. An absent dependency never makes it so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskhub.broker.broker import Broker
from taskhub.domain.errors import TaskhubError
from taskhub.maintenance.link import WorkerLink
from taskhub.roles.state import RoleState
from taskhub.sidecar.http_answer import HttpAnswer, checked
from taskhub.store.connection import Store
from taskhub.store.migrations import require_current

_PARENT_SILENT_S = 10.0
_CHILD_SILENT_S = 15.0
_BEYOND_MENDING_S = 60.0


class Health:
    """The probes' answers, each made afresh; a dependency is asked only where its absence matters."""

    def __init__(
        self, link: WorkerLink, roles: list[RoleState], store: Store, broker: Broker, unclaimed_s: Callable[[], float]
    ) -> None:
        self._link = link
        self._roles = roles
        self._store = store
        self._broker = broker
        self._unclaimed_s = unclaimed_s

    def livez(self) -> HttpAnswer:
        """The supervisor's loop turns, a child ticks or has a reason not to, and vital roles can be kept up."""
        records = [record for record in self._link.all() if not record.is_dead]
        parent_ok = self._link.parent_silent_for_s < _PARENT_SILENT_S
        ticking = [
            record for record in records if record.is_waiting or record.running or record.silent_for_s < _CHILD_SILENT_S
        ]
        children_ok = bool(ticking) or self._link.is_quiet or self._link.is_draining
        roles_ok = not any(role.is_vital and role.failing_for_s > _BEYOND_MENDING_S for role in self._roles)
        checks: dict[str, Any] = {
            "supervisor": "ok" if parent_ok else f"silent for {self._link.parent_silent_for_s:.0f} s",
            "children": {
                "wanted": self._link.wanted_slots,
                "ticking": len(ticking),
                "in_backoff": self._link.children_in_backoff,
            },
            **self._of_roles(),
        }
        if unclaimed_s := self._unclaimed_s():
            checks["unclaimed_for_s"] = round(unclaimed_s)
        return checked(parent_ok and children_ok and roles_ok, checks)

    def readyz(self) -> HttpAnswer:
        """PostgreSQL answers, with a schema that allows this code, and knows this worker, which does not drain.

        Redis never makes it unready.
        """
        newer: list[str | None] = []
        checks: dict[str, Any] = {
            "postgres": _outcome(lambda: newer.append(require_current(self._store, timeout_s=1.0))),
            "redis": _outcome(self._broker.ping),
            "registered": self._link.is_registered,
            "draining": self._link.is_draining,
            "quiet": self._link.is_quiet,
            **self._of_roles(),
        }
        if any(newer):
            checks["schema"] = newer[0]
        is_known = checks["postgres"] == "ok" and checks["registered"]
        return checked(is_known and not checks["draining"], checks)

    def _of_roles(self) -> dict[str, Any]:
        return {
            "unwell": [role.name for role in self._roles if not role.is_well],
            "roles": {
                role.name: {"age_s": round(role.age_s, 1), "failures": role.failures, "last_error": role.last_error}
                for role in self._roles
            },
        }


def _outcome(check: Callable[[], object]) -> str:
    try:
        check()
    except TaskhubError as error:
        return f"unavailable: {error}"
    except BaseException as error:  # noqa: BLE001 (the probe is to say it, not to die of it)
        return f"unavailable: {type(error).__name__}"
    return "ok"
