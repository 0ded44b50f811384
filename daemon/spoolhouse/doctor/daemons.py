"""Judges the running daemons of the spool by their own status."""

import time

from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.errors import BadSettingError
from spoolhouse.monitoring.client import fetch
from spoolhouse.monitoring.status_model import Status
from spoolhouse.settings import Settings
from spoolhouse.spool import inspect

SUBJECT = "daemon"


def examine(settings: Settings) -> list[Finding]:
    """Return a finding for each daemon that is alive. Blocks on the disk."""
    try:
        instances = inspect.instances(settings.spool.root, time.time())
    except (BadSettingError, OSError):
        return []  # the findings on the spool report it
    return [_of(instance) for instance in instances if instance.state in {"running", "stopped"}]


def _of(instance: Status) -> Finding:
    answer = "it serves no HTTP" if instance.url is None else fetch(instance.url)
    if not isinstance(answer, Status) or answer.instance != instance.instance:
        return good(SUBJECT, f"{instance.instance} runs")
    if answer.state in {"running", "stopping", "starting"}:
        return good(SUBJECT, f"{instance.instance}: {answer.state}")
    finding = fault if answer.state in {"held", "stuck"} else warning
    hint = "`spoolhouse status`"
    return finding(SUBJECT, f"{instance.instance}: {answer.state}", why=answer.why or f"see {hint}", hint=hint)
