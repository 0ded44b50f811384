"""The daemons that work on the spool: is any of them held up, and why."""

import time

from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.errors import BadSettingError
from spoolhouse.monitoring.client import fetch, judge
from spoolhouse.monitoring.status_model import Status
from spoolhouse.settings import Settings
from spoolhouse.spool import inspect

SUBJECT = "daemon"


def examine(settings: Settings) -> list[Finding]:
    """Return what those that are alive say of themselves; nothing where there are none. Blocks on the disk."""
    try:
        instances = inspect.instances(settings.spool.root, time.time())
    except (BadSettingError, OSError):
        return []  # the spool's own findings say so
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
