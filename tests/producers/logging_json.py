"""The formatter that people write themselves, as the cookbook of Python's logging shows it, and its usual variants."""

# mypy: disable-error-code="import-not-found"
# Scripts are run from their own folder, where lib/ is a package.

import json
import logging
from datetime import UTC, datetime

from lib.fixed import log_some, logger


class Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "name": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Iso(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, tz=UTC).isoformat()
        return json.dumps(
            {"timestamp": time, "level": record.levelno, "logger": record.name, "msg": record.getMessage()}
        )


log_some(logger(Plain()))
log_some(logger(Iso()))
