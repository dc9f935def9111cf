"""Operation log: one log line, and the metrics and span attributes, for each GraphQL operation."""

import itertools
import secrets
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.observability.log import operation_log
from app.observability.metrics import Metrics
from app.observability.tracing import NO_TRACING, Tracing

_request_numbers: Final = itertools.count(secrets.randbits(62))


def new_request_id() -> str:
    """A unique request id of 16 hexadecimal digits. It is predictable, so never use it as a secret."""
    return f"{next(_request_numbers):016x}"


class OperationRecorder:
    """Records each operation in the log, in the metrics and, if tracing is on, in the operation's span."""

    def __init__(self, metrics: Metrics, log: FilteringBoundLogger, tracing: Tracing = NO_TRACING) -> None:
        self._metrics = metrics
        self._write_line = operation_log(log)
        self._tracing = tracing

    def wrap(self, endpoint: ASGIApp) -> ASGIApp:
        """The endpoint with a gauge of the operations in flight and, if tracing is on, a span for each operation."""

        async def count_in_flight(scope: Scope, receive: Receive, send: Send) -> None:
            self._metrics.operations_in_flight += 1
            try:
                await endpoint(scope, receive, send)
            finally:
                self._metrics.operations_in_flight -= 1

        return self._tracing.wrap(count_in_flight)

    def record_operation(
        self,
        *,
        name: str | None,
        document: str | None,
        outcome: str,
        cost: int,
        seconds: float,
        request_id: str | None,
    ) -> None:
        """Record one finished operation.

        Args:
            name: the operation's name; None if it is anonymous or its document is not valid.
            document: short digest of the document; None if the request had no document.
            outcome: `ok`, `disconnected` (the client left first), or the code of the first error.
            cost: estimated cost, in the unit of `GATEWAY_MAX_COST`.
            seconds: time from the request's arrival until its response was ready.
            request_id: the id that the response carries in `X-Request-Id`.
        """
        self._metrics.operations_by(outcome).inc()
        self._metrics.operation_seconds.observe(seconds)
        trace_id = self._tracing.record_operation(name=name, document=document, outcome=outcome, cost=cost)
        record = {
            "name": name,
            "document": document,
            "outcome": outcome,
            "cost": cost,
            "ms": round(seconds * 1000, 1),
            "request_id": request_id,
        }
        if trace_id:
            record["trace_id"] = trace_id
        self._write_line(record)

    def record_first_part(self, seconds: float) -> None:
        """Record the time until the first part of an answer in parts was sent."""
        self._metrics.first_part_seconds.observe(seconds)

    def record_execution(self, by: str) -> None:
        """Count one execution. `by`: `plan`, `kept` (a cached response), or why graphql-core executed it."""
        self._metrics.executions_by(by).inc()
