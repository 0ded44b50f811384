"""Somebody at the page: clicks that are counted, keys, and what is to be seen."""

import json
from itertools import pairwise
from urllib.parse import urlsplit

from tests.browser.chromium import Tab

PATIENCE = 90
"""Seconds that a busy machine may take."""


_SHIFT = 8
"""As the browser numbers it."""


class Person:
    """Uses a tab with a mouse and a keyboard, as people do: through the browser's input, not through scripts."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.clicks = 0

    async def open(self, url: str) -> None:
        """Open an address as somebody does who was never here, and begin to count."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        await self.tab.call("Storage.clearDataForOrigin", origin=origin, storageTypes="local_storage")
        await self.tab.call("Page.navigate", url="about:blank")
        await self.tab.until("location.href === 'about:blank'")
        await self.tab.call("Page.navigate", url=url)
        await self.tab.until("location.href !== 'about:blank' && document.readyState === 'complete'")
        self.clicks = 0

    async def see(self, selector: str, text: str = "") -> None:
        """Wait until an element with that text in it is to be seen."""
        await self.tab.until(f"Boolean({_found(selector, text)})", PATIENCE)

    async def click(self, selector: str, text: str = "") -> None:
        """Click on the middle of the first such element, once nothing else covers it."""
        element = _found(selector, text)
        place = f"""(() => {{ const one = {element}; if (!one) return null;
            one.scrollIntoView({{ block: "nearest" }}); const box = one.getBoundingClientRect();
            const at = [box.left + box.width / 2, box.top + box.height / 2];
            const top = document.elementFromPoint(...at);
            return top && (one.contains(top) || top.contains(one)) ? at : null }})()"""
        await self.tab.until(f"Boolean({place})", PATIENCE)
        at = await self.tab.value(place)
        assert isinstance(at, list)
        for kind in ("mousePressed", "mouseReleased"):
            await self.tab.call(
                "Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", buttons=1, clickCount=1
            )
        self.clicks += 1

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.tab.call("Input.insertText", text=text)

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""
        named: dict[str, object] = {"key": key, "modifiers": _SHIFT if shift else 0}
        typed = (
            {"text": key} if len(key) == 1 else {"text": "\r", "windowsVirtualKeyCode": 13} if key == "Enter" else {}
        )
        await self.tab.call("Input.dispatchKeyEvent", type="keyDown", **named, **typed)
        await self.tab.call("Input.dispatchKeyEvent", type="keyUp", **named)

    async def drag(self, start: str, end: str) -> None:
        """Press the mouse on one element, and release it on another."""
        await self.see(start)
        places = []
        for selector in (start, end):
            middle = "[box.left + box.width / 2, box.top + box.height / 2]"
            box = f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            found = await self.tab.value(f"{box} return {middle} }})()")
            assert isinstance(found, list)
            places.append({"x": found[0], "y": found[1], "button": "left", "clickCount": 1})
        await self.tab.call("Input.dispatchMouseEvent", type="mousePressed", buttons=1, **places[0])
        await self.tab.call("Input.dispatchMouseEvent", type="mouseMoved", buttons=1, **places[1])
        await self.tab.call("Input.dispatchMouseEvent", type="mouseReleased", **places[1])

    async def fill(self, values: dict[str, str]) -> None:
        """Type into the fields of a form, by their names, and send it."""
        for name, value in values.items():
            field = f".judge [name={name}]"
            await self.see(field)
            await self.tab.value(f"document.querySelector({json.dumps(field)}).focus()")
            await self.type(value)
        await self.tab.value("document.querySelector('.judge input').focus()")
        await self.press("Enter")

    async def choose(self, selector: str, value: str) -> None:
        """Choose from a list, once it has that."""
        option = f"document.querySelector({json.dumps(selector)})?.querySelector('option[value={json.dumps(value)}]')"
        await self.tab.until(f"Boolean({option})")
        await self.tab.value(f"""(() => {{ const list = document.querySelector({json.dumps(selector)});
            list.value = {json.dumps(value)}; list.dispatchEvent(new Event("change", {{ bubbles: true }})) }})()""")
        self.clicks += 2

    async def text(self, selector: str) -> str:
        """Return the text of the first such element."""
        return str(await self.tab.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def texts(self, selector: str) -> list[str]:
        """Return the texts of all such elements."""
        found = await self.tab.value(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText)"
        )
        assert isinstance(found, list)
        return [str(one) for one in found]

    async def see_whole(self, selector: str, inside: str) -> None:
        """Check that such elements lie one below the other, and none sticks out of what holds them."""
        boxes = await self.tab.value(f"""[...document.querySelectorAll({json.dumps(selector)})].map((one) => {{
            const box = one.getBoundingClientRect(), all = one.closest({json.dumps(inside)}).getBoundingClientRect();
            return [box.top, box.bottom, box.left >= all.left && box.right <= all.right] }})""")
        assert isinstance(boxes, list)
        assert all(is_inside for _, _, is_inside in boxes)
        assert all(one[1] <= other[0] + 1 for one, other in pairwise(boxes)), boxes

    async def rows(self, table: str) -> list[dict[str, str]]:
        """Return the rows of a table, each by the heads of its columns."""
        cells = f"{json.dumps(table)} + ' ' + part"
        read = f"""(part) => [...document.querySelectorAll({cells})]
            .map((row) => [...row.children].map((cell) => cell.innerText))"""
        heads, rows = await self.tab.value(f"(({read})('thead tr'))[0]"), await self.tab.value(f"({read})('tbody tr')")
        assert isinstance(heads, list)
        assert isinstance(rows, list)
        return [dict(zip(heads, row, strict=True)) for row in rows]


def _found(selector: str, text: str) -> str:
    return (
        f"[...document.querySelectorAll({json.dumps(selector)})].find((one) => one.getClientRects().length"
        f" && (one.innerText ?? one.textContent).includes({json.dumps(text)}))"
    )
