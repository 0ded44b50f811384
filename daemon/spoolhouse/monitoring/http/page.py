"""The status page: one file, its script and style in it, and a policy that lets nothing else run or load."""

import base64
import hashlib
import re
from importlib.resources import files
from typing import Self

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """The page as it is served."""

    body: bytes
    policy: str
    """The Content-Security-Policy: producers choose names, and a script in a name must not run."""

    @classmethod
    def load(cls) -> Self:
        """Read the page that lies beside this module."""
        text = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
        script, style = (_hash(_content(text, tag)) for tag in ("script", "style"))
        rules = [
            "default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
            "connect-src 'self'", "img-src data:", f"script-src '{script}'", f"style-src '{style}'",
        ]  # fmt: skip
        return cls(body=text.encode(), policy="; ".join(rules))


def _content(text: str, tag: str) -> str:
    [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return str(content)


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
