"""What a host agent keeps on disk about its database: its role, and what was lost when it last joined the other
site."""

from pathlib import Path

import msgspec

from stayline.control.host.placement import RoleFile
from stayline.control.host.run_file import write_durably
from stayline.link.messages.control import FollowReport


class RecordedReport(msgspec.Struct):
    """The last :class:`FollowReport`, and the epoch it was made under."""

    epoch: int
    report: FollowReport

    def loss(self, epoch: int) -> str:
        """In words what only this node had when it last joined the other site's history; empty when nothing
        was lost, or when ``epoch`` is a later one."""
        report = self.report
        if self.epoch != epoch or not (report.lost_journal or report.lost_entries):
            return ""
        return (
            f"Acknowledged here alone before epoch {epoch} and lost: {report.lost_journal} steps of interactions, "
            f"{report.lost_entries} chat messages."
        )


class RoleRecord:
    """The two files of a site folder; writes are on the disk before they return."""

    def __init__(self, folder: Path) -> None:
        self._role = folder / "run" / "database-role.json"
        self._report = folder / "journal" / "follow-report.json"

    def role(self) -> RoleFile | None:
        """The recorded role; None: this node never had one. A damaged file raises: guessing could make two
        primaries."""
        try:
            return msgspec.json.decode(self._role.read_bytes(), type=RoleFile)
        except FileNotFoundError:
            return None

    def write_role(self, role: RoleFile) -> None:
        """Record the role."""
        write_durably(self._role, msgspec.json.encode(role))

    def report(self) -> RecordedReport | None:
        """The last report; None when there is none (or none that can be read)."""
        try:
            return msgspec.json.decode(self._report.read_bytes(), type=RecordedReport)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_report(self, recorded: RecordedReport) -> None:
        """Record a report."""
        write_durably(self._report, msgspec.json.encode(recorded))
