"""The concurrency limit: a bounded number of requests in flight, which tenants share fairly, and a bounded queue.

A request that would have to wait behind too many others fails at once instead of waiting for its deadline.
"""

from typing import Final

from app.errors import RateLimitedError
from app.langsmith.transport import UpstreamRequest, UpstreamResponse, UpstreamTransport
from app.resilience.fair_semaphore import FairSemaphore, QueueFullError

_QUEUE_PER_PLACE: Final = 4
"""Requests of one tenant that may wait for each place, if an operation cannot ask for more."""
_FULL_QUEUES: Final = 4
"""Tenants that may fill their queue at the same time. When more do, the longest queues become shorter."""
_RETRY_AFTER_SECONDS: Final = 1.0


class ConcurrencyLimitTransport:
    """The layer that waits for a place.

    limit: maximum number of requests in flight.
    max_requests_per_operation: number of requests that one operation may make. The queue has room for all of them, so
        that an operation can finish whatever the limit is.
    has_one_tenant: whether all requests are of the same tenant, so that no place is reserved for others.
    """

    def __init__(
        self,
        next_transport: UpstreamTransport,
        limit: int,
        *,
        max_requests_per_operation: int = 0,
        has_one_tenant: bool = False,
    ) -> None:
        self._next = next_transport
        per_tenant = max(limit * _QUEUE_PER_PLACE, max_requests_per_operation)
        self._places = FairSemaphore(
            limit,
            reserved=0 if has_one_tenant else None,
            max_waiting=per_tenant * _FULL_QUEUES,
            max_waiting_per_tenant=per_tenant,
        )

    @property
    def in_flight(self) -> int:
        """Number of requests that hold a place."""
        return self._places.held

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return self._places.waiting

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request as soon as it has a place. Raises RateLimitedError if it cannot wait for one."""
        try:
            async with self._places.place(request.tenant):
                return await self._next.send(request)
        except QueueFullError:
            request.call.reason = "queue"
            raise RateLimitedError(
                "Too many requests to LangSmith are waiting already. Try again shortly.",
                retry_after=_RETRY_AFTER_SECONDS,
            ) from None
