"""What operators see."""

from typing import Literal

from spoolhouse.settings.group import Group


class LogSettings(Group):
    """What is said on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
