"""What is counted and logged of each operation: one line, whichever way it was answered."""

from structlog.typing import FilteringBoundLogger

from app.metrics import Metrics


class Account:
    def __init__(self, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._metrics = metrics
        self._log = log

    def operation(
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
        self._log.info(
            "operation",
            name=name,
            document=document,
            outcome=outcome,
            cost=cost,
            ms=round(seconds * 1000, 1),
            request_id=request_id,
        )

    def ran(self, by: str) -> None:
        """`by`: how it ran, `plan`, `kept`, or why graphql-core ran it."""
        self._metrics.executions_by(by).inc()
