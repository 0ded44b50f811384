"""JSON-log-formatter in its three forms."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

import json_log_formatter as formatters
from lib.fixed import log_some, logger

log_some(logger(formatters.JSONFormatter()))
log_some(logger(formatters.VerboseJSONFormatter()))
log_some(logger(formatters.FlatJSONFormatter()))
