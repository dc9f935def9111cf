"""How often a client may ask: a token bucket of its own for each, by the `throttled` library.

The bucket is reckoned as GCRA, which is exact at any rate; the library's plain one loses parts of a token.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from throttled import RateLimiterType
from throttled.asyncio import MemoryStore, Throttled
from throttled.rate_limiter import per_duration

from app.errors import RateLimited

_RATE: Final = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,5})?(s|m|h)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_CLIENTS: Final = 50_000
"""As many are remembered; of more, those that asked longest ago begin anew."""


@dataclass(frozen=True)
class Rate:
    """So many in so many seconds."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`900/10s`, `100/m`. Raises ValueError."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError("must be a number of requests and a time, such as 100/10s, 600/m or 10000/h")
        return cls(int(match[1]), int(match[2] or 1) * _SECONDS[match[3]])

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"


class ClientRate:
    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._throttled = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=per_duration(timedelta(seconds=rate.seconds), limit=rate.count),
            store=MemoryStore(options={"MAX_SIZE": _CLIENTS}),
        )

    async def admit(self, client: str) -> None:
        """`client`: who asks, no secret. Raises RateLimited."""
        result = await self._throttled.limit(client)
        if result.limited:
            raise RateLimited(
                f"You may send {self._rate.count} requests in {self._rate.seconds} seconds. Try again later.",
                retry_after=round(result.state.retry_after, 3),
            )
