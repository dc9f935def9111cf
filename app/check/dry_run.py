"""The dry run of one operation: the real executor and an empty cache, in front of an upstream that records requests."""

import asyncio
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

import strawberry

from app.cache.fetcher import Fetcher
from app.cache.freshness import FreshnessPolicy
from app.cache.page_cache import PageCache
from app.cache.store import MemoryStore
from app.check.example_variables import ExampleVariables
from app.check.operations import FrontendOperation, location_of
from app.check.recording_upstream import NOW, RecordingUpstream
from app.check.report import CheckedOperation, Finding, OperationVariables, PlannedRequest
from app.credentials import API_KEY, Credential
from app.errors import BadUserInputError, OperationTooExpensiveError
from app.execution import Encoding, Executor, Request, Response, graphql_core_schema
from app.execution.limits import OperationLimits
from app.langsmith.api_version import ApiVersion
from app.langsmith.v1 import V1
from app.langsmith.v2 import V2
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.schema.context import OperationContext
from app.schema.cost import cost_by
from app.sessions.fields import AS_ATTRIBUTE
from app.sessions.scalars import PLAIN
from app.settings import Settings

_SECONDS: Final = 60.0
"""Time to live of pages and deadline of operations, in seconds. A dry run takes milliseconds, and reaches neither."""
_UNLIMITED: Final = 10**9


class DryRun:
    """Runs operations under the limits of the settings, and says what they cost and request."""

    def __init__(self, settings: Settings, schema: strawberry.Schema) -> None:
        self._settings = settings
        self._api: ApiVersion = V2(settings.upstream_project_types) if settings.upstream_api == "v2" else V1()
        self._schema = schema
        self._core_schema = graphql_core_schema(schema)
        self._log = create_log(settings.log_format, settings.log_level)

    async def run(
        self, operation: FrontendOperation, given: Mapping[str, Any]
    ) -> tuple[CheckedOperation, list[Finding]]:
        """What the operation costs and requests, and what is wrong with it.

        An exceeded limit is a finding. The operation is then run again without that limit, so that one check finds
        every exceeded limit and the requests are known all the same.
        """
        variables = ExampleVariables(self._core_schema, operation, given).build()
        limits = self._limits()
        findings: list[Finding] = []
        requests, response = await self._execute(operation, variables, limits)
        while (error := _limit_error(response)) and (
            name := await self._exceeded_limit(error, operation, variables, limits)
        ):
            setting = f"{self._settings.model_config['env_prefix']}MAX_{name.upper()}={getattr(limits, name)}"
            findings.append(_finding(error, operation, setting=setting))
            limits = replace(limits, **{name: _UNLIMITED})
            requests, response = await self._execute(operation, variables, limits)
        may_be_assumption = bool(variables.assumed or variables.left_out)
        findings += [_finding(each, operation, may_be_assumption=may_be_assumption) for each in response.errors]
        checked = CheckedOperation(
            kind=operation.operation.operation.value,
            name=operation.name,
            location=location_of(operation.operation),
            variables=variables,
            cost=response.cost if response.ran else None,
            requests=requests,
        )
        return checked, findings

    async def _execute(
        self, operation: FrontendOperation, variables: OperationVariables, limits: OperationLimits
    ) -> tuple[tuple[PlannedRequest, ...], Response]:
        base_url = self._settings.langsmith_endpoint
        clock = asyncio.get_running_loop().time
        upstream = RecordingUpstream(self._api, base_url, variables.placeholders, clock)
        store = MemoryStore(self._settings.cache_max_bytes, lifetime_seconds=_SECONDS, clock=clock)
        cache = PageCache(Fetcher(upstream, store, FreshnessPolicy(_SECONDS, 0), Metrics(), clock))
        executor = Executor(
            self._schema,
            limits,
            cost_by(self._core_schema),
            Encoding(PLAIN, AS_ATTRIBUTE),
            introspection=self._settings.introspection,
            log=self._log,
        )
        credential = Credential.of(base_url, {API_KEY: "none"}, hash_key=b"none")
        context = OperationContext(cache, credential, NOW, clock() + _SECONDS)
        response = await executor.run(Request(operation.text, variables.values), context)
        await cache.aclose()
        return tuple(upstream.requests), response

    async def _exceeded_limit(
        self,
        error: dict[str, Any],
        operation: FrontendOperation,
        variables: OperationVariables,
        limits: OperationLimits,
    ) -> str | None:
        """Name of the configurable limit that causes the error; None if it is one of the fixed limits.

        The error does not name its limit, so each one is lifted in turn: the cause is the one that changes the error.
        """
        for limit in fields(OperationLimits):
            _, response = await self._execute(operation, variables, replace(limits, **{limit.name: _UNLIMITED}))
            if _limit_error(response) != error:
                return limit.name
        return None

    def _limits(self) -> OperationLimits:
        settings = self._settings
        return OperationLimits(settings.max_tokens, settings.max_depth, settings.max_aliases, settings.max_cost)


def _limit_error(response: Response) -> dict[str, Any] | None:
    return response.errors[0] if response.outcome == OperationTooExpensiveError.code else None


def _finding(
    error: dict[str, Any], operation: FrontendOperation, *, setting: str | None = None, may_be_assumption: bool = False
) -> Finding:
    """An error of the response as a finding, with its locations in the operation's files instead of in the request."""
    code, message = error["extensions"]["code"], error["message"]
    *related, location = [operation.locate(each["line"], each["column"]) for each in error.get("locations", ())] or [
        location_of(operation.operation)
    ]
    if may_be_assumption and code == BadUserInputError.code:
        message += " This may be caused by variables without a given value."
        return Finding("warning", code, message, location, tuple(related))
    return Finding("error", code, message, location, tuple(related), setting)
