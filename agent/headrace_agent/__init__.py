"""Agents of headrace: programs that run jobs. They hold no database credentials, and keep running work over restarts of the broker."""

from headrace_client import RateLimit

from headrace_agent import _fork  # noqa: F401  # the first import; see there
from headrace_agent.agent import Agent
from headrace_agent.context import JobContext
from headrace_agent.errors import Aborted, AgentError, Fail, InvalidPayload, LeaseLost, ProcessDied, Retry, Snooze
from headrace_agent.registry import Backoff

__version__ = "0.1.0"
__all__ = ["Aborted", "Agent", "AgentError", "Backoff", "Fail", "InvalidPayload", "JobContext", "LeaseLost", "ProcessDied", "RateLimit", "Retry", "Snooze"]
