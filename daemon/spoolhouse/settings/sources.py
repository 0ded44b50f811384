"""The sources of settings: flags, the environment, a TOML file, defaults; the first one with a value wins.

In the environment `clickhouse.url` is `SPOOLHOUSE_CLICKHOUSE__URL`. The file is that of `--config`, else that of
`SPOOLHOUSE_CONFIG` (empty: no file), else `/etc/spoolhouse/spoolhouse.toml` if it exists. Unknown names are refused in
every source, so that a typing error never becomes a silent default.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from annotated_types import Gt, Le
from pydantic import ByteSize, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from spoolhouse.errors import BadSettingError
from spoolhouse.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from spoolhouse.settings.clickhouse import URL_SCHEMES
from spoolhouse.store.duckdb.url import SCHEME as DUCKDB

CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
SYSTEM_FILE = Path("/etc/spoolhouse/spoolhouse.toml")
CREDENTIAL = "clickhouse_password"
"""The systemd credential (LoadCredential=) that may hold the password."""

_FOREIGN = re.compile(
    # The test suite's own variables, and those that Kubernetes puts into every pod beside a Service `spoolhouse(-x)`.
    r"SPOOLHOUSE_(TEST_\w+"
    r"|(?!\w*__)(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?))"
)
_USERINFO = re.compile(r"//[^/@]*@")
_RIVALS = {
    "store.url": "clickhouse.url",
    "clickhouse.url": "store.url",
    "clickhouse.password": "clickhouse.password_file",
    "clickhouse.password_file": "clickhouse.password",
}
"""A source that gives one of them overrides both of a source below it."""
_LONGEST_SHOWN = 100

Groups = Mapping[str, Mapping[str, object]]


def load(flags: Mapping[str, object] | None = None, *, config: Path | None = None) -> Settings:
    """Read all sources and return the settings.

    `flags` maps dotted names (`spool.max_line`) to values of the command line, None for an absent flag. `config` is the
    file of `--config`. Raises BadSettingError: it names each wrong field, the source of its value and the accepted
    values, and never shows a secret.
    """
    sources: dict[str, Groups] = {
        "the command line": _by_group({name: value for name, value in (flags or {}).items() if value is not None}),
        "the environment": _environment(),
    }
    if (path := _file_to_read(config)) is not None:
        sources[str(path)] = _read_toml(path)
    merged, origin = _merge(sources)
    _place_url(merged, origin)
    if (password := _password(merged.get("clickhouse", {}))) is not None:
        merged.setdefault("clickhouse", {})["password"] = password
    try:
        # An empty group, not a missing one: its default would build a validator for this group alone.
        return Settings.model_validate({group: {} for group in Settings.model_fields} | merged)
    except ValidationError as error:
        # Not chained: pydantic keeps the input, secrets included.
        raise BadSettingError("; ".join(_complaint(detail, origin) for detail in error.errors())) from None


def _by_group(flags: Mapping[str, object]) -> Groups:
    groups: dict[str, dict[str, object]] = {}
    for dotted, value in flags.items():
        group, _, name = dotted.partition(".")
        groups.setdefault(group, {})[name] = value
    return groups


def _merge(sources: Mapping[str, Groups]) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """Return the values by group, and the source of each value by dotted name."""
    merged: dict[str, dict[str, object]] = {}
    origin: dict[str, str] = {}
    for source, groups in sources.items():
        for group, values in groups.items():
            kept = merged.setdefault(group, {})
            origin.setdefault(group, source)
            for name, value in values.items():
                dotted = f"{group}.{name}"
                rival = _RIVALS.get(dotted, "")
                if origin.get(rival) == source:
                    raise BadSettingError(
                        f"{dotted}: given together with {rival} (from {source}); accepted: one of them"
                    )
                if dotted not in origin and rival not in origin:
                    origin[dotted] = source
                    kept[name] = value
    return merged, origin


def _place_url(merged: dict[str, dict[str, object]], origin: dict[str, str]) -> None:
    """Move the URL of a DuckDB file to `store.url`, and one of a ClickHouse to `clickhouse.url`: either may hold it."""
    for group, other in (("store", "clickhouse"), ("clickhouse", "store")):
        url = str(merged.get(group, {}).get("url", ""))
        scheme = url.partition(":")[0]
        if (scheme in URL_SCHEMES and group == "store") or (scheme == DUCKDB and group == "clickhouse"):
            merged.setdefault(other, {})["url"] = merged[group].pop("url")
            origin[f"{other}.url"] = origin.pop(f"{group}.url")


def _environment() -> Groups:
    known = {_variable(name): name for name in Settings.names()}
    for variable in os.environ:
        name = variable.upper()
        if not name.startswith(ENV_PREFIX) or name in known or name == CONFIG_VARIABLE or _FOREIGN.fullmatch(name):
            continue
        raise BadSettingError(
            f"{variable}: no such setting (from the environment){_nearest(name, [*known, CONFIG_VARIABLE])}"
        )
    return EnvSettingsSource(Settings)()


def _variable(dotted: str) -> str:
    return ENV_PREFIX + dotted.replace(".", ENV_DELIMITER).upper()


def _file_to_read(config: Path | None) -> Path | None:
    if config is not None:
        return config
    if (named := os.environ.get(CONFIG_VARIABLE)) is not None:
        return Path(named) if named else None
    return SYSTEM_FILE if SYSTEM_FILE.exists() else None


def _read_toml(path: Path) -> Groups:
    try:
        with path.open("rb") as file:
            groups = tomllib.load(file)
    except OSError as error:
        raise BadSettingError(f"{path}: the configuration file cannot be read ({error.strerror})") from error
    except ValueError as error:  # a TOMLDecodeError, or bytes that are no UTF-8
        raise BadSettingError(f"{path}: not TOML: {error}") from error
    for name, values in groups.items():
        if not isinstance(values, dict):
            meant = next((f"; did you mean {known}?" for known in Settings.names() if known.endswith(f".{name}")), "")
            tables = ", ".join(f"[{group}]" for group in Settings.model_fields)
            raise BadSettingError(
                f"{name}: outside of any table (from {path}); accepted: settings under {tables}{meant}"
            )
    return groups


def _password(clickhouse: Mapping[str, object]) -> str | None:
    """Return the password from a file, or None if no file is named or the settings hold the password."""
    path = clickhouse.get("password_file")
    if isinstance(path, str | Path) and path != "":
        return _read_secret(Path(path))
    if path is not None or "password" in clickhouse or _USERINFO.search(str(clickhouse.get("url", ""))):
        return None
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder, CREDENTIAL) if folder else None
    return _read_secret(credential) if credential is not None and credential.exists() else None


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise BadSettingError(f"clickhouse.password_file: {path} cannot be read ({error.strerror})") from error
    except ValueError:
        secret = ""  # bytes that are no UTF-8, or a NUL in the path
    if not secret:
        raise BadSettingError(
            f"clickhouse.password_file: {path} is not accepted; accepted: a file of UTF-8 text, the password"
        )
    return secret


def _complaint(detail: ErrorDetails, origin: Mapping[str, str]) -> str:
    """Return one line with the wrong setting, its value (never a secret) and the accepted values."""
    dotted = ".".join(str(part) for part in detail["loc"])
    names = Settings.names()
    source = origin.get(dotted, origin.get("clickhouse.url", "the defaults"))  # the URL may hold user and database
    if dotted not in names:
        # The value under a misspelt name may be a secret: it is not repeated.
        nearest = _nearest(dotted, names if "." in dotted else Settings.model_fields)
        return f"{dotted}: no such setting (from {source}){nearest}"
    accepted = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else _accepted(names[dotted])
    return f"{dotted}: {_shown(detail['input'], names[dotted])} (from {source}) is not accepted; accepted: {accepted}"


def _shown(value: object, field: FieldInfo) -> str:
    if SecretStr in get_args(field.annotation):
        return "the value"
    text = _USERINFO.sub("//…@", repr(str(value) if isinstance(value, Path) else value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _accepted(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    if get_origin(field.annotation) is Literal:
        return ", ".join(str(kind) for kind in kinds)
    kind = kinds[0] if kinds else field.annotation
    names = {
        bool: "true or false",
        ByteSize: "a size in bytes, or such as 16MiB",
        int: "a whole number",
        float: "a number of seconds",
        Path: "a path",
    }
    above = [f"above {bound.gt}" for bound in field.metadata if isinstance(bound, Gt)]
    most = [f"at most {bound.le:.0f}" for bound in field.metadata if isinstance(bound, Le)]
    return ", ".join([names.get(kind, "text, not empty") if isinstance(kind, type) else "text", *above, *most])


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion as the end of a sentence, empty where nothing is near."""
    import difflib  # noqa: PLC0415  # for errors alone

    found = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {found[0]}?" if found else ""
