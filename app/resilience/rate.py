"""Rate: a number of requests per time, as the settings write it."""

import re
from dataclasses import dataclass
from typing import Final, Self

_RATE: Final = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,5})?(s|m|h)", re.ASCII)
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Rate:
    """At most `count` requests in `seconds` seconds."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `900/10s`, `100/m` or `5/2h`. Raises ValueError, with a message that goes after the setting's name."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError("must be a number of requests and a time, such as 100/10s, 600/m or 10000/h")
        return cls(int(match[1]), int(match[2] or 1) * _UNIT_SECONDS[match[3]])

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"
