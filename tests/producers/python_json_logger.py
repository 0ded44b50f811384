"""python-json-logger: its default, which has no time, and with the fields that its quick start adds."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

from lib.fixed import log_some, logger
from pythonjsonlogger.json import JsonFormatter

log_some(logger(JsonFormatter("{asctime}{levelname}{name}{message}", style="{")))
log_some(
    logger(
        JsonFormatter(
            "%(levelname)s %(message)s",
            timestamp=True,
            rename_fields={"levelname": "severity"},
            static_fields={"service": "shop"},
        )
    )
)
logger(JsonFormatter()).info("by default there is no time")
logger(JsonFormatter("%(created)f %(levelno)s %(message)s %(process)d")).info("numbers")
logger(JsonFormatter("%(asctime)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")).info({"a": "dictionary", "n": 1})
