"""Structured logs on stderr: events with key-value fields, one line per change of state at most."""

import logging
import sys

import structlog


def set_up(level: str, form: str) -> None:
    """Configures structlog, and the standard library's logging for what libraries say."""
    number = getattr(logging, level.upper())
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )  # with locals it takes seconds of the event loop
    renderer = structlog.processors.JSONRenderer() if form == "json" else console
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=max(number, logging.WARNING), format="%(asctime)s [%(levelname)s] %(name)s %(message)s")
