"""Signs that LangSmith's API changes: unknown fields and enum values in rows, and headers that announce its end."""

from collections.abc import Mapping
from typing import Final

from structlog.typing import FilteringBoundLogger

from app.observability.metrics import Metrics
from app.sessions import decoding
from app.sessions.fields import FIELDS

_MAX_LOGGED: Final = 100
"""Distinct signs that are logged in the life of the process, so that hostile rows cannot flood the log."""
_MAX_NAME_LENGTH: Final = 100
_END_OF_LIFE_HEADERS: Final = ("deprecation", "sunset")
"""Documented: deprecated endpoints answer with these headers."""


class ApiChangeReporter:
    """Counts every sign in the metrics, and logs each distinct one once."""

    def __init__(self, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._metrics = metrics
        self._log = log
        self._logged: set[str] = set()

    def record_unknown_fields(self, body: bytes) -> None:
        """Record the names in the first row that the gateway does not know."""
        for name in decoding.unknown_fields(body, FIELDS):
            self._metrics.unknown_fields.inc()
            shown = name[:_MAX_NAME_LENGTH]
            self._log_once(f"unknown field {shown}", "upstream_unknown_field", field=shown)

    def record_unknown_value(self, field: str, value: str) -> None:
        """Record a value, as JSON, that is none of the enumeration of its field. Clients receive null for it."""
        self._metrics.unknown_values.labels(field).inc()
        shown = value[:_MAX_NAME_LENGTH]
        self._log_once(f"unknown value {field} {shown}", "upstream_unknown_value", field=field, value=shown)

    def record_deprecation(self, headers: Mapping[str, str]) -> None:
        """Record that LangSmith announces the end of the endpoint. Failed responses carry the headers too."""
        if found := {name: headers[name] for name in _END_OF_LIFE_HEADERS if name in headers}:
            self._metrics.deprecations.inc()
            self._log_once("deprecation", "upstream_deprecated", **found)

    def _log_once(self, sign: str, event: str, **values: str) -> None:
        if sign not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(sign)
            self._log.info(event, **values)
