"""What ``pg_controldata`` tells about a data folder, running or not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ControlData:
    """``state`` in PostgreSQL's words; ``checkpoint`` location of the latest checkpoint record; its timeline."""

    system_id: str
    state: str
    checkpoint: str
    timeline: int

    @property
    def cleanly_stopped(self) -> bool:
        """Stopped as a primary, with nothing left to recover."""
        return self.state == "shut down"


def parse_control_data(text: str) -> ControlData:
    """Parse the program's output (in the C locale). Raises KeyError when a line is missing."""
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return ControlData(
        system_id=values["Database system identifier"].strip(),
        state=values["Database cluster state"].strip(),
        checkpoint=values["Latest checkpoint location"].strip(),
        timeline=int(values["Latest checkpoint's TimeLineID"]),
    )
