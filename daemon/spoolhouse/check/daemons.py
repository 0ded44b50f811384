"""The daemons that work on the spool: is any of them held up, and why."""

import time

from spoolhouse.asking import fetch, judge
from spoolhouse.check.finding import Finding, fault, good, warning
from spoolhouse.core.status import Status
from spoolhouse.errors import BadSettingError
from spoolhouse.settings import Settings
from spoolhouse.spool import sight

SUBJECT = "daemon"


def examine(settings: Settings) -> list[Finding]:
    """Return what those that are alive say of themselves; nothing where there are none. Blocks on the disk."""
    try:
        instances = sight.look(settings.spool.root, time.time())
    except (BadSettingError, OSError):
        return []  # the spool's own findings say so
    return [_of(instance) for instance in instances if instance.alive]


def _of(instance: sight.Instance) -> Finding:
    answer = "it serves no HTTP" if instance.url is None else fetch(instance.url)
    if not isinstance(answer, Status) or answer.instance != instance.name:
        return good(SUBJECT, f"{instance.name} runs")
    state, why = judge(answer)
    if state in {"running", "stopping", "starting"}:
        return good(SUBJECT, f"{instance.name}: {state}")
    finding = fault if state in {"held", "stuck"} else warning
    return finding(
        SUBJECT, f"{instance.name}: {state}", why=why or "see `spoolhouse status`", mend="`spoolhouse status`"
    )
