"""Under which account PostgreSQL runs, and a place that this account can enter.

PostgreSQL refuses to run as root. Started by root it runs under an unprivileged account, which often may not enter
the state folder or the virtual environment (a clone in a 0700 folder): then data and programs live in a private
folder elsewhere, and the state folder keeps a note of where.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from stayline.control.postgres.programs import Programs
from stayline.domain.errors import refuse

_log = structlog.get_logger("postgres.account")

NOBODY = 65534
_NOTE = "location.json"
_SHELTERS = (Path("/var/tmp"), Path("/tmp"))
_SOCKET_PATH_LIMIT = 100
"""Bytes. The kernel allows 107 for the whole path of a socket; some are kept for the file's own name."""


@dataclass(frozen=True)
class Account:
    """``uid``/``gid`` to switch to; None: stay who we are (not root)."""

    uid: int | None
    gid: int | None

    def popen(self) -> dict[str, object]:
        """The arguments for ``subprocess`` that switch to this account."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make the account the owner of ``path`` (a link itself, not what it points to)."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def owns(self, path: Path) -> bool:
        """Whether ``path`` is a real folder of this account that nobody else may enter."""
        info = path.lstat()
        own = os.geteuid() if self.uid is None else self.uid
        return stat.S_ISDIR(info.st_mode) and info.st_uid == own and not info.st_mode & 0o077


class Location(msgspec.Struct, frozen=True):
    """Where a node lives: ``root`` (data, settings), ``run`` (sockets), ``bin_dir`` (programs), and why there."""

    root: str
    run: str
    bin_dir: str
    why: str


def choose_account() -> Account:
    """Ourselves; as root the system's ``postgres`` account, else nobody."""
    if os.geteuid() != 0:
        return Account(None, None)
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        return Account(NOBODY, NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def settle(directory: Path, account: Account, programs: Programs) -> Location:
    """Choose, make and note where the node of ``directory`` lives; the same answer every time it is asked.

    Raises RefusedError ``database.no_place`` when the account can enter no candidate.
    """
    directory.mkdir(parents=True, exist_ok=True)
    note = directory / _NOTE
    known = _read_note(note, account)
    root, why = (Path(known.root), known.why) if known else _choose_root(directory, account)
    run = Path(known.run) if known else root / "run"
    if len(os.fsencode(run)) + len("/.s.PGSQL.65535") > _SOCKET_PATH_LIMIT:
        run = _shelter(directory, account, "run", Path("/tmp"))
        why += "; sockets moved because the path would be too long for one"
    run = _run_folder(run, directory, account)
    bin_dir = _reachable_programs(programs, root, account)
    location = Location(root=str(root), run=str(run), bin_dir=str(bin_dir), why=why)
    if location != known:
        _write_note(note, location)
        _log.info("database place chosen", root=location.root, programs=location.bin_dir, why=why)
    return location


def _read_note(note: Path, account: Account) -> Location | None:
    try:
        known = msgspec.json.decode(note.read_bytes(), type=Location)
    except FileNotFoundError:
        return None
    root = Path(known.root)
    if not root.exists():
        # Never start an empty database silently where a full one was: somebody removed or unmounted it.
        raise refuse(
            "database.place_gone",
            f"The database of this site should be in {root}, but that folder is gone.",
            fix=f"Bring the folder back, or remove {note} to begin with an empty database.",
        )
    if not account.owns(root):
        raise refuse(
            "database.place_foreign",
            f"{root} does not belong to the account that runs the database, or others may enter it.",
            fix=f"Give it back (chown, chmod 700), or remove {note} to begin with an empty database.",
        )
    return known


def _write_note(note: Path, location: Location) -> None:
    fresh = note.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(location))
    fresh.replace(note)


def _choose_root(directory: Path, account: Account) -> tuple[Path, str]:
    here = directory / "cluster"
    _make_private(here, account)
    if _can_use(here, account):
        return here, "inside the state folder"
    here.rmdir()
    for base in _SHELTERS:
        root = _shelter(directory, account, "db", base)
        if _can_use(root, account):
            return root, f"the account that runs PostgreSQL (uid {account.uid}) cannot enter {directory}"
        root.rmdir()
    raise refuse(
        "database.no_place",
        f"The account that runs PostgreSQL (uid {account.uid}) can enter neither {directory} nor {_SHELTERS}.",
        fix="Put the state folder where others may pass through (chmod o+x), or do not start as root.",
    )


def _shelter(directory: Path, account: Account, kind: str, base: Path) -> Path:
    """A private folder outside the state folder, named after it; a taken name gets a random ending."""
    digest = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:12]
    path = base / f"stayline-{kind}-{digest}"
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        # The note that would have led here is gone, so whatever is in it is not this node's: leave it alone.
        path = Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=base))
    account.give(path)
    return path


def _run_folder(run: Path, directory: Path, account: Account) -> Path:
    """Make the folder of the sockets. Outside the state folder somebody else may have been quicker (after a restart of
    the machine ``/tmp`` is empty): what is not ours is never touched, a new place is taken."""
    try:
        run.mkdir(mode=0o700)
    except FileExistsError:
        return run if account.owns(run) else _shelter(directory, account, "run", Path("/tmp"))
    account.give(run)
    return run


def _make_private(path: Path, account: Account) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    account.give(path)


def _can_use(path: Path, account: Account) -> bool:
    """Ask the kernel, as that account: permissions along the way, ACLs and mounts all count."""
    probe = ["/bin/sh", "-c", 'cd -- "$1" && : > .probe && rm .probe', "probe", str(path)]
    done = subprocess.run(probe, cwd="/", capture_output=True, check=False, **account.popen())  # type: ignore[call-overload]
    return bool(done.returncode == 0)


def _runs(bin_dir: Path, account: Account) -> bool:
    try:
        done = subprocess.run(
            [str(bin_dir / "postgres"), "--version"],
            cwd="/",
            capture_output=True,
            check=False,
            **account.popen(),  # type: ignore[call-overload]
        )
    except (PermissionError, FileNotFoundError):
        return False
    return bool(done.returncode == 0)


def _reachable_programs(programs: Programs, root: Path, account: Account) -> Path:
    if _runs(programs.bin_dir, account):
        return programs.bin_dir
    copy = root / f"programs-{programs.major}"
    if not _runs(copy / "bin", account):
        fresh = root / "programs.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(programs.tree, fresh, symlinks=True)
        for folder, _, files in os.walk(fresh):
            account.give(Path(folder))
            for name in files:
                account.give(Path(folder, name))
        fresh.rename(copy)
    if not _runs(copy / "bin", account):
        raise refuse(
            "database.no_place",
            f"PostgreSQL's programs do not run from {copy} either.",
            fix="Give a bin_dir that every account may enter, or do not start as root.",
        )
    return copy / "bin"
