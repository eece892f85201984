"""The switch-over journal: append-only, flushed to disk, each record chained to the one before by its hash.

It lies on the disk of the Solution Control Server that runs the plan, never in the database whose mastership moves.
A crash between *intent* and *done* leaves the intent: the step is done again, and every step is written so that
doing it again is harmless. A crash while a record is being written leaves a torn last line, which is cut off: that
record was never acknowledged to anybody.
"""

import enum
import hashlib
import os
from pathlib import Path

import msgspec

from stayline.domain.switchover import Mode, Step


class Event(enum.StrEnum):
    """What a record says."""

    BEGUN = "begun"
    INTENT = "intent"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    ENDED = "ended"
    ABANDONED = "abandoned"
    COMMAND = "command"
    """No part of a plan: an operator's command to a server, ``evidence`` says which."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. ``at`` Unix seconds; ``facts`` what later steps (also after a restart) need to know."""

    plan: str
    event: Event
    at: float
    step: Step | None = None
    source: str = ""
    target: str = ""
    mode: Mode | None = None
    by: str = ""
    reason: str = ""
    evidence: str = ""
    seconds: float = 0.0
    facts: dict[str, str] = {}
    previous: str = ""
    hash: str = ""


def _digest(record: Record) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(record, hash=""))).hexdigest()


class JournalBrokenError(Exception):
    """A record other than the last does not fit the chain: somebody changed the file."""


class Journal:
    """The records of one file, in order. Not shared between processes: one Solution Control Server per site."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records: list[Record] = []
        if path.exists():
            self._load()

    def _load(self) -> None:
        lines = self._path.read_bytes().split(b"\n")
        whole, torn = lines[:-1], lines[-1]
        previous = ""
        for number, line in enumerate(whole, 1):
            try:
                record = msgspec.json.decode(line, type=Record)
            except msgspec.DecodeError as error:
                raise JournalBrokenError(f"{self._path.name} line {number}: {error}") from error
            if record.previous != previous or record.hash != _digest(record):
                raise JournalBrokenError(
                    f"{self._path.name} line {number} does not follow the line before it"
                )
            previous = record.hash
            self.records.append(record)
        if torn:
            with self._path.open("r+b") as file:
                file.truncate(sum(len(line) + 1 for line in whole))
                os.fsync(file.fileno())

    def append(self, record: Record) -> Record:
        """Write a record durably (flushed to disk when this returns) and give it back with its hashes."""
        previous = self.records[-1].hash if self.records else ""
        record = msgspec.structs.replace(record, previous=previous)
        record = msgspec.structs.replace(record, hash=_digest(record))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)
        return record

    def plan(self, plan: str) -> list[Record]:
        """All records of one plan."""
        return [record for record in self.records if record.plan == plan]

    def unfinished(self) -> Record | None:
        """The ``begun`` record of the last plan, when it has not ended."""
        begun = next((record for record in reversed(self.records) if record.event is Event.BEGUN), None)
        if begun is None:
            return None
        ended = any(record.event in (Event.ENDED, Event.ABANDONED) for record in self.plan(begun.plan))
        return None if ended else begun

    def done(self, plan: str) -> set[Step]:
        """Steps of a plan that need not be done again."""
        finished = (Event.DONE, Event.SKIPPED)
        return {
            record.step for record in self.plan(plan) if record.event in finished and record.step is not None
        }

    def facts(self, plan: str) -> dict[str, str]:
        """Facts of a plan, later records over earlier ones."""
        merged: dict[str, str] = {}
        for record in self.plan(plan):
            merged.update(record.facts)
        return merged
