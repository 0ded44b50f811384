"""A daemon's status as one sentence, for `systemctl status`."""

from spoolhouse.monitoring.status_model import Status, describe


def status_line(status: Status) -> str:
    """Return troubles first, with their hints, then the numbers."""
    return ". ".join([*_troubles(status), _numbers(status)])


def _troubles(status: Status) -> list[str]:
    stuck = {} if status.liveness is None else status.liveness.stuck
    texts = [f"Stuck for {seconds:.0f} s: {stage}" for stage, seconds in sorted(stuck.items())]
    if status.paused is not None:
        texts.append(f"Paused {status.paused}")
    if status.readiness is not None:
        texts.extend(map(describe, status.readiness.reasons))
    return texts


def _numbers(status: Status) -> str:
    backlog, readiness = status.backlog, status.readiness
    if backlog is None or readiness is None:
        return status.state.capitalize()
    in_flight = backlog.claimed_files - backlog.unmovable_files
    if readiness.state == "stopping":
        return f"Stopping: {_files(in_flight)} to finish, within {status.grace or 0:g} s"
    if status.instance is None:
        return "Starting"
    if readiness.state == "starting":
        return f"Starting: {_files(backlog.pending_files)} waiting in the spool"
    settled, rejected = sum(status.files.values()), sum(kind.rejected for kind in status.types)
    text = f"Ingesting: {_files(backlog.pending_files)} waiting, {in_flight} in flight, {settled} done since start"
    return f"{text}, {rejected} lines rejected" if rejected else text


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
