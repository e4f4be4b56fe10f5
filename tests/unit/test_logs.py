"""The broker's log: what agents and submitters wrote does not steer the terminal of who reads it, and programs get it as it was."""

import json
import subprocess
import sys

from headrace_proto.terminal import harmless

WROTE = "a\x1b[2J\r\n\u202eb\tc"
SHOWN = "a\\x1b[2J\\r\\n\\u202eb\\tc"
IN_AN_ERROR = "a\\x1b[2J\\r\n\\u202eb\tc"
"""Tracebacks keep their lines."""
LOGS = """
import logging, sys
import structlog
from headrace_broker.logs import set_up

form, wrote = sys.argv[1:]
set_up("info", form)
log = structlog.get_logger("headrace.test")
log.info("agent connected", agent=wrote, leases=3, resumed=False, types=[wrote], why=None)
log.debug("not this one")
try:
    raise ValueError(wrote)
except ValueError as error:
    log.error("a job failed", exc_info=error)
    logging.getLogger("library").warning("it says %s", wrote, exc_info=error)
"""


def logged(form: str) -> str:
    """What the process says on stderr."""
    done = subprocess.run([sys.executable, "-c", LOGS, form, WROTE], capture_output=True, check=True)
    return done.stderr.decode()  # with the line ends that came


def test_nothing_that_others_wrote_steers_who_reads_the_log() -> None:
    text = logged("console")
    assert harmless(text) == text
    first = next(line for line in text.splitlines() if "agent connected" in line)
    assert f"agent={SHOWN} leases=3 resumed=False types=['{SHOWN}'] why=None" in first
    assert f"ValueError: {IN_AN_ERROR}" in text and f"library it says {IN_AN_ERROR}" in text
    assert "Traceback" in text and "not this one" not in text


def test_programs_get_it_as_it_was() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["agent connected", "a job failed"]
    assert (lines[0]["agent"], lines[0]["types"], lines[0]["leases"], lines[0]["level"]) == (WROTE, [WROTE], 3, "info")
    assert lines[1]["exception"].endswith(f"ValueError: {WROTE}")
