"""What can go wrong between a message and its receiver."""


class Undelivered(Exception):
    """The message was not delivered, as far as we know; the text says why and holds no secret."""
