"""PostgreSQL must not run as root: another user for it, and a place that this user can reach."""

import contextlib
import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollotape.embedded.programs import Program
from rollotape.errors import Refused

STAND_INS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int


def for_postgres(data: Path) -> Account | None:
    """Who runs PostgreSQL: None for ourselves, or, when we are root, somebody else.

    That is who owns its data already, else who owns the directory around ours (a checkout of a plain
    user, say), else a user that exists for such purposes.
    """
    if os.geteuid() != 0:
        return None
    for entry in _candidates(data):
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise Refused("PostgreSQL does not run as root: run as a user, or set ROLLO_DATABASE_URL")


def home(place: Path, account: Account | None) -> tuple[Path, list[str]]:
    """The folder for PostgreSQL, and sentences for the operator.

    It is `place`; where the account cannot get there (below a home of mode 700), `place` is a link to a
    folder in /var/tmp.
    """
    if place.is_symlink() and not place.exists():
        raise Refused(f"{place} leads to {place.readlink()}, which is gone: remove {place.parent}")
    if not place.exists():
        if account and not reachable(place.parent, account):
            place.symlink_to(_elsewhere(place, account))
        else:
            place.mkdir(mode=0o700)
            give(place, account)
    if account is None and place.stat().st_uid != os.geteuid():
        raise Refused(f"{place} belongs to another user: remove {place.parent}, or choose another --data")
    if account and place.is_symlink():
        told = f"PostgreSQL runs as {account.name}, who cannot enter {place.parent}: its data are in "
        return place.resolve(), [f"{told}{place.resolve()}."]
    return place.resolve(), []


def give(path: Path, account: Account | None) -> None:
    """Make the account the owner, and nobody else a reader."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if account:
        os.chown(path, account.uid, account.gid)


def identity(account: Account | None) -> dict[str, Any]:
    """Arguments of `subprocess` that start a process as the account and in no other group."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def reachable(path: Path, account: Account) -> bool:
    """Whether the account may pass through `path` and all folders above it."""
    return all(_may_pass(p, account) for p in (path.resolve(), *path.resolve().parents))


def reachable_copy(program: Program, home: Path, account: Account | None) -> Path:
    """The folder of the program; a copy below `home` when the account cannot get to the original."""
    folder = program.path.parent
    if account is None or program.tree is None or reachable(folder, account):
        return folder
    copy = home / f"program-{'.'.join(map(str, program.version))}"
    if not copy.exists():
        new = copy.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        for tree in (program.tree, program.tree.with_name(program.tree.name + ".libs")):
            if tree.exists():
                shutil.copytree(tree, new / tree.name, ignore=shutil.ignore_patterns("include"))
        new.chmod(0o755)
        new.rename(copy)
    return copy / program.tree.name / folder.relative_to(program.tree)


def _candidates(data: Path) -> Iterator[pwd.struct_passwd]:
    for path in (data / "postgres", data.parent):
        with contextlib.suppress(OSError, KeyError):  # not there yet, or no name, which initdb wants
            yield pwd.getpwuid(path.stat().st_uid)
    for name in STAND_INS:
        with contextlib.suppress(KeyError):
            yield pwd.getpwnam(name)


def _may_pass(path: Path, account: Account) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _elsewhere(place: Path, account: Account) -> Path:
    """An empty folder for the account, always the same one for one place.

    What is in it belongs to a data directory that has been removed since.
    """
    bases = (Path("/var/tmp"), Path(tempfile.gettempdir()))  # noqa: S108  the folder itself is 0700 and checked
    base = next((p for p in bases if p.is_dir() and reachable(p, account)), None)
    if base is None:
        raise Refused(f"{account.name}, as PostgreSQL, cannot enter {place.parent}: choose another --data")
    folder = base / f"rollo-{hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:12]}"
    if folder.exists():
        if folder.is_symlink() or folder.stat().st_uid not in (0, account.uid):
            raise Refused(f"{folder} belongs to somebody else: remove it, or choose another --data")
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    give(folder, account)
    return folder
