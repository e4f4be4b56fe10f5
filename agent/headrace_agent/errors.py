"""What a handler may raise to say how its attempt ends, and what this library raises itself."""


class AgentError(Exception):
    """The agent is set up wrongly; the text says what to change."""


class Retry(Exception):  # handlers raise it as a word
    """The attempt failed; try again after `after_s` seconds, or as the type's rule says when it is None."""

    def __init__(self, message: str = "", *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Fail(Exception):
    """The attempt failed; with `permanent` (the default) the job is not tried again. `code` groups failures of a kind."""

    def __init__(self, message: str = "", *, permanent: bool = True, code: str = "") -> None:
        super().__init__(message)
        self.permanent = permanent
        self.code = code


class Snooze(Exception):
    """Not now: the job is offered again after `after_s` seconds, and no attempt is charged."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"put off for {after_s:g} s")
        self.after_s = after_s


class Aborted(Exception):
    """Raised inside a thread or process handler, by calls of its context, once somebody asked for the job's end or its lease is over."""


class LeaseLost(Exception):
    """Raised when a handler's transaction cannot complete the job any more: it was rolled back, and the attempt ends without an outcome. Let it pass. Also the end of an
    attempt whose process has ended since its lease was over."""


class InvalidPayload(Exception):
    """The payload does not fit the handler's annotation."""


class UndecodablePayload(Exception):
    """The payload or the checkpoint went through codecs that cannot be undone here. `after_s`: the job is offered again then, uncharged; None: it fails for good."""

    def __init__(self, message: str, *, after_s: float | None) -> None:
        super().__init__(message)
        self.after_s = after_s


class PayloadUnavailable(Exception):
    """The payload is kept outside the broker, and cannot be had now. The attempt fails, and the next one may have more luck."""


class ResultNotKept(Exception):
    """The result was to be kept outside the broker, and is not. `permanent`: it is larger than is kept at all."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


class ProcessDied(Exception):
    """The process that ran the handler ended before the handler did."""
