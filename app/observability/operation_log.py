"""What is counted and logged of each operation: one line, whichever way it was answered."""

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.observability.metrics import Metrics
from app.observability.tracing import NO_TRACING, Tracing


class OperationRecorder:
    def __init__(self, metrics: Metrics, log: FilteringBoundLogger, spans: Tracing = NO_TRACING) -> None:
        self._metrics = metrics
        self._log = log
        self._spans = spans

    def wrap(self, endpoint: ASGIApp) -> ASGIApp:
        """The endpoint, with its operations counted, and traced, while they are under way."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            self._metrics.operations_in_flight += 1
            try:
                await endpoint(scope, receive, send)
            finally:
                self._metrics.operations_in_flight -= 1

        return self._spans.wrap(counted)

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
        """`document`: a short digest of it. `outcome`: `ok`, or the code of the first error."""
        self._metrics.operations_by(outcome).inc()
        self._metrics.operation_seconds.observe(seconds)
        trace_id = self._spans.record_operation(name=name, document=document, outcome=outcome, cost=cost)
        self._log.info(
            "operation",
            name=name,
            document=document,
            outcome=outcome,
            cost=cost,
            ms=round(seconds * 1000, 1),
            request_id=request_id,
            **({"trace_id": trace_id} if trace_id else {}),
        )

    def record_execution(self, by: str) -> None:
        """`by`: how it ran, `plan`, `kept`, or why graphql-core ran it."""
        self._metrics.executions_by(by).inc()
