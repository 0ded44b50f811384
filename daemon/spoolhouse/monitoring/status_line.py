"""How the daemon stands, as one sentence for a person: what `systemctl status` shows."""

from collections.abc import Mapping
from dataclasses import dataclass

from spoolhouse.errors import DiskError, TransientError
from spoolhouse.monitoring.health import SERVER, Complaint


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusLine:
    """What the sentence is made of."""

    prepared: bool
    """ClickHouse has answered, and its schema is up to date."""
    stopping: bool
    grace: float
    waiting: int | None
    """Files in the spool that nobody has claimed; None where it cannot be read yet."""
    claimed: int
    """Files that are ours, with rows that ClickHouse has not acknowledged yet."""
    settled: int
    """Files that are done, since the start."""
    rejected: int
    """Lines that were rejected, since the start."""
    troubles: Mapping[str, Complaint]
    outage: str | None
    """Since when ClickHouse does not answer; None if it does."""
    paused: str | None
    """Since when, and why, no new files are claimed; None if they are."""
    stuck: Mapping[str, float]
    """Stages that do not get on, and for how many seconds."""

    def __str__(self) -> str:
        """Return what matters most first: what is wrong and its mend, then the numbers."""
        return ". ".join([*self._wrong(), self._numbers()])

    def _wrong(self) -> list[str]:
        said = [f"Stuck for {seconds:.0f} s: {stage}" for stage, seconds in sorted(self.stuck.items())]
        if self.paused is not None:
            said.append(f"Paused {self.paused}")
        for scope, error in sorted(self.troubles.items()):
            if scope == SERVER and self.outage is not None:
                said.append(f"{self.outage} ({error})")
            elif scope == SERVER:
                said.append(f"Waiting for ClickHouse: {error}")
            elif isinstance(error, DiskError):
                said.append(f"The disk: {error}")
            else:
                said.append(f"{'Trying again' if isinstance(error, TransientError) else 'Held'}, {scope}: {error}")
        return said

    def _numbers(self) -> str:
        if self.stopping:
            return f"Stopping: {_files(self.claimed)} to finish, within {self.grace:g} s"
        if self.waiting is None:
            return "Starting"
        if not self.prepared:
            return f"Starting: {_files(self.waiting)} waiting in the spool"
        text = f"Ingesting: {_files(self.waiting)} waiting, {self.claimed} in flight, {self.settled} done since start"
        return f"{text}, {self.rejected} lines rejected" if self.rejected else text


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
