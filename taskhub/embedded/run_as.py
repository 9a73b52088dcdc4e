"""How to run PostgreSQL, which refuses to be root and wants a user that has a name.

Preferred: a user namespace in which we bear another number; files keep their owner and no mode changes.
Where that is forbidden, root lends the data folder to the user nobody, if that user can reach it.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from taskhub.embedded.local_processes import EmbeddedError


@dataclass(frozen=True)
class Identity:
    """What to put before a command, and the user who must own its folder, if not us."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None

    def lend(self, folder: Path) -> None:
        """Make `folder` and all in it belong to this identity."""
        if self.owner is not None:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, self.owner, self.owner, follow_symlinks=False)


def fitting(binaries: Path, folder: Path) -> Identity:
    """An identity that may run the programs in `binaries` and write into `folder`."""
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Identity()
    account = _ordinary_account()
    for identity in _others(account) if account is not None else ():
        if _works(identity, binaries, folder):
            return identity
    raise EmbeddedError(
        f"PostgreSQL does not run as user number {os.geteuid()} and neither a user namespace nor setpriv helps "
        "here: start this as an ordinary user, or in a folder that other users may enter, or set "
        "TASKHUB_DATABASE_URL to a server of your own"
    )


def _others(account: int) -> list[Identity]:
    others = [Identity(("unshare", "--user", f"--map-user={account}", f"--map-group={account}"))]
    if os.geteuid() == 0:
        prefix = ("setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups")
        others.append(Identity(prefix, account))
    return others


def _works(identity: Identity, binaries: Path, folder: Path) -> bool:
    """Try it: may such a process run a binary and write into the folder once it is lent?"""
    identity.lend(folder)
    command: list[str | Path] = [
        *identity.prefix,
        "sh",
        "-c",
        '"$0/postgres" --version && test -w "$1"',
        binaries,
        folder,
    ]
    try:
        subprocess.run(command, capture_output=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        Identity(owner=os.geteuid() if identity.owner is not None else None).lend(folder)
        return False
    return True


def _ordinary_account() -> int | None:
    """The number of an account other than root: nobody, if there is one."""
    accounts = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0}
    return accounts.get("nobody", next(iter(accounts.values()), None))


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False
