"""All routes of the API: the server's router and the OpenAPI document are made of this table."""

from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

from spoolhouse.api import jaeger
from spoolhouse.api.answers import QUESTIONS
from spoolhouse.api.intake import KINDS
from spoolhouse.query import wire
from spoolhouse.query.requests import LISTS


class RouteKind(Enum):
    """The kinds of routes; each has one handler."""

    QUESTION = auto()
    LIVE = auto()
    WRITTEN = auto()
    JAEGER = auto()
    DOCUMENT = auto()


class Route(Struct, frozen=True, kw_only=True):
    """One route, as the router and the document need it."""

    kind: RouteKind
    method: str
    path: str
    name: str
    """The question, list or path that its handler gets."""
    summary: str
    asked: type[Struct] | None = None
    """The JSON of its body; that of an event comes from the event's declaration."""
    gives: type[Struct] | None = None
    """The JSON of its answer, or of the messages of its stream; None: the document itself."""
    may_miss: bool = False


def _routes() -> Iterator[Route]:
    for name, question in QUESTIONS.items():
        yield Route(
            kind=RouteKind.QUESTION,
            method="POST",
            path=wire.PREFIX + name,
            name=name,
            summary=question.summary,
            asked=question.asked,
            gives=question.gives,
            may_miss=question.may_miss,
        )
    for name, list_of in LISTS.items():
        yield Route(
            kind=RouteKind.LIVE,
            method="POST",
            path=f"{wire.PREFIX}{name}/live",
            name=name,
            summary=f"What lands of {name} from now on, or since a cursor",
            asked=wire.described(list_of, wire.Paging),
            gives=wire.PAGES[name],
        )
    for name, event in KINDS.items():
        yield Route(
            kind=RouteKind.WRITTEN,
            method="POST",
            path=wire.PREFIX + name,
            name=name,
            summary=f"Write a {event} into the spool" if name != event else f"Write {event} into the spool",
            gives=wire.Written,
        )
    for path in jaeger.ROUTES:
        yield Route(
            kind=RouteKind.JAEGER,
            method="GET",
            path=path,
            name=path,
            summary="As Jaeger answers it",
            gives=jaeger.JaegerAnswer,
            may_miss=path.endswith("{id}"),
        )
    yield Route(
        kind=RouteKind.DOCUMENT,
        method="GET",
        path=f"{wire.PREFIX}openapi.json",
        name="openapi.json",
        summary="This document",
    )


TABLE: tuple[Route, ...] = tuple(_routes())
