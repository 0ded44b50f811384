"""Who may ask what: everybody all, or the holders of tokens, each for all projects or for some."""

import hmac
from pathlib import Path

from msgspec import Struct

from spoolhouse.errors import BadSettingError, SpoolhouseError

_SHORTEST = 16
_ALL = "*"

Projects = frozenset[str] | None
"""Those that somebody may ask about; None: all."""


class DeniedError(SpoolhouseError):
    """Whoever asks has no token that is known."""


class ForbiddenError(SpoolhouseError):
    """The token is for other projects."""


class Token(Struct, frozen=True, kw_only=True):
    """A token, and what its holder may ask about."""

    text: str
    projects: Projects = None


class Access(Struct, frozen=True, kw_only=True):
    """Who may ask."""

    tokens: tuple[Token, ...] | None = None
    """None: everybody may ask about all."""
    hint: str = ""
    """Where a token is to be had."""

    def projects(self, authorization: str) -> Projects:
        """Return the projects of the token in an Authorization header. Raises `DeniedError`."""
        if self.tokens is None:
            return None
        scheme, _, rest = authorization.partition(" ")
        given = rest.strip().encode(errors="surrogateescape")
        # All are compared: the time says nothing of which.
        found = [token for token in self.tokens if hmac.compare_digest(given, token.text.encode())]
        if scheme.lower() != "bearer" or not found:
            raise DeniedError(f"the token is missing or wrong; {self.hint}")
        return found[0].projects


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens of a file: one a line, with its projects behind it, or `*`. Raises `BadSettingError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettingError(f"{path}: the tokens cannot be read: {error}") from None
    found: dict[str, Token] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        text, projects = words[0], words[1:]
        if not projects or len(text) < _SHORTEST or not text.isascii() or text in found:
            raise BadSettingError(
                f"{path}, line {number}: a line is a token that no other line has, of {_SHORTEST} characters or more, "
                f"and behind it the projects that its holder may ask about, or {_ALL} for all"
            )
        found[text] = Token(text=text, projects=None if projects == [_ALL] else frozenset(projects))
    if not found:
        raise BadSettingError(f"{path}: there is no token in it")
    return tuple(found.values())
