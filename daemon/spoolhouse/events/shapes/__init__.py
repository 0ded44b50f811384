"""Foreign shapes: how other programs write events, one module each.

A shape is recognized by the keys of a line, and turns the line's object into events of our own types. `shape` explains
how, and what a new shape needs.
"""

from spoolhouse.events.shapes.json_log import JSON_LOG
from spoolhouse.events.shapes.mastra import MASTRA
from spoolhouse.events.shapes.otlp import OTLP
from spoolhouse.events.shapes.shape import Shape

SHAPES: tuple[Shape, ...] = (MASTRA, OTLP, JSON_LOG)
"""In order of precedence: the first one that matches a line reads it."""
