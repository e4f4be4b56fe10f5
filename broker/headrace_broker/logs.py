"""Structured logs on stderr: events with key-value fields, one line per change of state at most.

Names, reasons and errors are what agents and submitters wrote. JSON escapes what would steer a terminal by itself; for people it is done here, for all lines alike.
"""

import io
import logging
import sys
from typing import TextIO

import structlog
from headrace_proto.terminal import harmless, one_line
from structlog.typing import EventDict, ExcInfo, Processor


def set_up(level: str, form: str) -> None:
    """Configures structlog, and the standard library's logging for what libraries say. `form`: console, or json."""
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_programs() if form == "json" else _for_people()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Harmless("%(asctime)s [%(levelname)s] %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING))


def _for_programs() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _for_people() -> list[Processor]:
    return [_harmless_values, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_harmless_traceback)]


def _harmless_values(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Texts on one line, without what would steer a terminal. Of other values the renderer shows the `repr`, which has escapes for that too."""
    return {key: one_line(value) if isinstance(value, str) else value for key, value in event.items()}


def _harmless_traceback(sio: TextIO, exc_info: ExcInfo) -> None:
    """Plain: with locals it takes seconds of the event loop."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    sio.write(harmless(text.getvalue()))


class _Harmless(logging.Formatter):
    """Of what libraries say, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of a record."""
        return harmless(super().format(record))
