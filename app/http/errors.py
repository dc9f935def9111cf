"""TODO."""


class Refused(Exception):
    """A request whose form is at fault, in whatever media type."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status = status
        self.message = message
        self.headers = headers


class Gone(Exception):
    """The client hung up."""
