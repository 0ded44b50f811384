"""Judges the running daemons of the spool by their own status."""

import time

from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.errors import BadSettingError
from spoolhouse.monitoring.client import fetch, judge
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
    return [_of(instance) for instance in instances if instance.alive]


def _of(instance: inspect.InstanceView) -> Finding:
    answer = "it serves no HTTP" if instance.url is None else fetch(instance.url)
    if not isinstance(answer, Status) or answer.instance != instance.name:
        return good(SUBJECT, f"{instance.name} runs")
    state, why = judge(answer)
    if state in {"running", "stopping", "starting"}:
        return good(SUBJECT, f"{instance.name}: {state}")
    finding = fault if state in {"held", "stuck"} else warning
    return finding(
        SUBJECT, f"{instance.name}: {state}", why=why or "see `spoolhouse status`", hint="`spoolhouse status`"
    )
