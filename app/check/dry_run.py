"""The dry run of one operation: the real executor and an empty cache, in front of an upstream that records requests.

An operation with `@defer` runs twice: in parts, and as a whole.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

import strawberry

from app.cache.explain import FieldTrace
from app.cache.fetcher import Fetcher
from app.cache.freshness import FreshnessPolicy
from app.cache.page_cache import PageCache
from app.cache.store import MemoryStore
from app.check.example_variables import ExampleVariables
from app.check.operations import FrontendOperation, location_of
from app.check.recording_upstream import NOW, RecordingUpstream
from app.check.report import (
    CheckedOperation,
    Finding,
    OperationVariables,
    PlannedFragment,
    PlannedParts,
    PlannedRequest,
)
from app.credentials import API_KEY, Credential
from app.errors import BadUserInputError, OperationTooExpensiveError
from app.execution import Encoding, Executor, IncrementalResponse, Request, Response, graphql_core_schema
from app.execution.deferral import DeferredFragment
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


@dataclass(frozen=True)
class _Outcome:
    """The answer to an operation as a whole, with its requests; and its parts, if it defers fragments."""

    response: Response
    requests: tuple[PlannedRequest, ...]
    parts: PlannedParts | None = None


@dataclass
class _TracedContext(OperationContext):
    """The context of a dry run. Each deferred fragment has traces of its own, so that they tell what it waits for."""

    traces_by_fragment: dict[DeferredFragment, dict[str, FieldTrace]] = field(default_factory=dict)

    def for_fragment(self, fragment: DeferredFragment, /) -> Self:
        context = super().for_fragment(fragment)
        context.traces = self.traces_by_fragment[fragment] = {}
        return context


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
        outcome = await self._execute(operation, variables, limits)
        while (error := _limit_error(outcome.response)) and (
            name := await self._exceeded_limit(error, operation, variables, limits)
        ):
            setting = f"{self._settings.model_config['env_prefix']}MAX_{name.upper()}={getattr(limits, name)}"
            findings.append(_finding(error, operation, setting=setting))
            limits = replace(limits, **{name: _UNLIMITED})
            outcome = await self._execute(operation, variables, limits)
        response = outcome.response
        may_be_assumption = bool(variables.assumed or variables.left_out)
        findings += [_finding(each, operation, may_be_assumption=may_be_assumption) for each in response.errors]
        checked = CheckedOperation(
            kind=operation.operation.operation.value,
            name=operation.name,
            location=location_of(operation.operation),
            variables=variables,
            cost=response.cost if response.ran else None,
            requests=outcome.requests,
            parts=outcome.parts,
        )
        return checked, findings

    async def _execute(
        self, operation: FrontendOperation, variables: OperationVariables, limits: OperationLimits
    ) -> _Outcome:
        """Run the operation. If it exceeds a limit in parts, it is not run as a whole, which never costs more."""
        executor = Executor(
            self._schema,
            limits,
            cost_by(),
            Encoding(PLAIN, AS_ATTRIBUTE),
            introspection=self._settings.introspection,
            log=self._log,
        )
        request = Request(operation.text, variables.values)
        async with self._context(variables) as (context, upstream):
            answer = await executor.run_incrementally(request, context)
            if isinstance(answer, IncrementalResponse):
                parts = await _plan_parts(answer, context, upstream)
            elif context.deferred_fields:  # no fragment has a place, for example in a list without items
                parts = PlannedParts(answer.cost, upstream.requests, ())
            else:
                return _Outcome(answer, upstream.requests)
        async with self._context(variables) as (context, upstream):
            response = await executor.run(request, context)
            return _Outcome(response, upstream.requests, parts)

    @contextlib.asynccontextmanager
    async def _context(self, variables: OperationVariables) -> AsyncIterator[tuple[_TracedContext, RecordingUpstream]]:
        """A context for one operation, with an empty cache; and the upstream behind the cache."""
        base_url = self._settings.langsmith_endpoint
        clock = asyncio.get_running_loop().time
        upstream = RecordingUpstream(self._api, base_url, variables.placeholders, clock)
        store = MemoryStore(self._settings.cache_max_bytes, lifetime_seconds=_SECONDS, clock=clock)
        cache = PageCache(Fetcher(upstream, store, FreshnessPolicy(_SECONDS, 0), Metrics(), clock))
        credential = Credential.of(base_url, {API_KEY: "none"}, hash_key=b"none")
        yield _TracedContext(cache, credential, NOW, clock() + _SECONDS), upstream
        await cache.aclose()

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
            outcome = await self._execute(operation, variables, replace(limits, **{limit.name: _UNLIMITED}))
            if _limit_error(outcome.response) != error:
                return limit.name
        return None

    def _limits(self) -> OperationLimits:
        settings = self._settings
        return OperationLimits(settings.max_tokens, settings.max_depth, settings.max_aliases, settings.max_cost)


async def _plan_parts(
    answer: IncrementalResponse, context: _TracedContext, upstream: RecordingUpstream
) -> PlannedParts:
    async with contextlib.aclosing(answer.deliveries) as deliveries:
        async for _ in deliveries:
            pass
    deferred = (
        PlannedFragment(fragment.label, fragment.path, upstream.requests_of(traces.values()))
        for fragment, traces in context.traces_by_fragment.items()
    )
    return PlannedParts(answer.initial.cost, upstream.requests_of(context.traces.values()), tuple(deferred))


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
