"""Each operation is validated and run by the real executor and cache, which holds nothing."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, Literal

import strawberry
from graphql import (
    DocumentNode,
    ExecutableDefinitionsRule,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSyntaxError,
    Lexer,
    LoneAnonymousOperationRule,
    NoDeprecatedCustomRule,
    NoUnusedFragmentsRule,
    OperationDefinitionNode,
    Source,
    TokenKind,
    UniqueFragmentNamesRule,
    UniqueOperationNamesRule,
    parse,
    specified_rules,
    validate,
)

from app import errors
from app.cache.fetcher import Fetcher
from app.cache.freshness import Freshness
from app.cache.page_cache import PageCache
from app.cache.store import MemoryStore
from app.check.example_variables import ExampleVariables
from app.check.operations import FrontendOperation, needed_by, place_of
from app.check.recording_upstream import NOW, RecordingUpstream
from app.check.report import CheckedOperation, Finding, Place, Report, Variables
from app.check.sources import CheckInputError
from app.credentials import API_KEY, Credential
from app.errors import BadUserInputError, OperationTooExpensiveError
from app.execution import Encoding, Executor, Request, Response, graphql_core_schema
from app.execution.limits import OperationLimits
from app.langsmith import v1
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.schema.context import OperationContext
from app.schema.cost import cost_by
from app.schema.query import create_schema
from app.sessions.fields import AS_ATTRIBUTE
from app.sessions.scalars import PLAIN
from app.settings import Settings

UNUSED: Final = "UNUSED_FRAGMENT"
DEPRECATED: Final = "DEPRECATED"
EMPTY: Final = "EMPTY_DOCUMENT"
_SECONDS: Final = 60.0
_ENDLESS: Final = 10**9


def check(
    sources: Sequence[Source],
    settings: Settings,
    variables: Mapping[str, Mapping[str, Any]] | None = None,
    schema: strawberry.Schema | None = None,
) -> Report:
    """`variables`: those of operations by name. Raises Unusable for names of none."""
    checking = _Checker(settings, schema or create_schema())
    documents = [document for source in sources if (document := checking.parsed(source))]
    # A fragment may be in what cannot be read, so that all else would be guesses.
    operations = () if checking.found else checking.checked(documents, variables or {})
    distinct = dict.fromkeys([*checking.found, *checking.noted])
    return Report(operations, tuple(sorted(distinct, key=lambda each: each.place)), settings.max_cost)


class _Checker:
    """`found` are errors, and `noted` warnings."""

    def __init__(self, settings: Settings, schema: strawberry.Schema) -> None:
        self.found: list[Finding] = []
        self.noted: list[Finding] = []
        self._settings = settings
        self._schema = schema
        self._core = graphql_core_schema(schema)
        self._log = create_log(settings.log_format, settings.log_level)

    def parsed(self, source: Source) -> DocumentNode | None:
        try:
            if Lexer(source).advance().kind is TokenKind.EOF:
                self.noted.append(Finding("warning", EMPTY, "There is nothing in it.", Place(source.name)))
                return None
            return parse(source)
        except GraphQLSyntaxError as exc:
            at = exc.locations[0] if exc.locations else None
            place = Place(source.name, at.line, at.column) if at else Place(source.name)
            self.found.append(Finding("error", errors.PARSE_FAILED, exc.message, place))
        except RecursionError:
            self.found.append(Finding("error", errors.PARSE_FAILED, "It is nested too deeply.", Place(source.name)))
        return None

    def checked(
        self, documents: Sequence[DocumentNode], variables: Mapping[str, Mapping[str, Any]]
    ) -> tuple[CheckedOperation, ...]:
        joined = DocumentNode(definitions=tuple(each for document in documents for each in document.definitions))
        for document in documents:
            self._validate(document, LoneAnonymousOperationRule)
        self._validate(joined, ExecutableDefinitionsRule, UniqueOperationNamesRule, UniqueFragmentNamesRule)
        for error in validate(self._core, joined, [NoDeprecatedCustomRule], max_errors=None):
            self._note("warning", DEPRECATED, error)
        fragments: dict[str, FragmentDefinitionNode] = {}
        for each in joined.definitions:
            if isinstance(each, FragmentDefinitionNode):
                fragments.setdefault(each.name.value, each)
        sent = [
            FrontendOperation.of(each, fragments)
            for each in joined.definitions
            if isinstance(each, OperationDefinitionNode)
        ]
        if unknown := set(variables).difference(each.name for each in sent if each.name):
            raise CheckInputError(f"There is no operation {min(unknown)!r} to give variables to.")
        self._check_unused(fragments, {id(each) for one in sent for each in one.definitions})
        return asyncio.run(self._all_run(sent, variables))

    async def _all_run(
        self, operations: Iterable[FrontendOperation], variables: Mapping[str, Mapping[str, Any]]
    ) -> tuple[CheckedOperation, ...]:
        return tuple([await self._run(each, variables.get(each.name or "", {})) for each in operations])

    def _check_unused(self, fragments: Mapping[str, FragmentDefinitionNode], used: set[int]) -> None:
        unused = {name: each for name, each in fragments.items() if id(each) not in used}
        for name, each in unused.items():
            message = f"Fragment {name!r} is used by no operation."
            self.noted.append(Finding("warning", UNUSED, message, place_of(each.name)))
        needed = {id(one): one for each in unused.values() for one in (each, *needed_by(each, fragments))}
        rules = [rule for rule in specified_rules if rule is not NoUnusedFragmentsRule]
        self._validate(DocumentNode(definitions=tuple(needed.values())), *rules)

    def _validate(self, document: DocumentNode, *rules: Any) -> None:
        for error in validate(self._core, document, rules, max_errors=None):
            self._note("error", errors.VALIDATION_FAILED, error)

    def _note(self, severity: Literal["error", "warning"], code: str, error: GraphQLError) -> None:
        """At the last of its places, which is the one that is too many."""
        *also, place = [place_of(node) for node in error.nodes or ()]
        finding = Finding(severity, code, error.message, place, tuple(also))
        (self.found if severity == "error" else self.noted).append(finding)

    async def _run(self, sent: FrontendOperation, given: Mapping[str, Any]) -> CheckedOperation:
        """What it asks, whatever limits it passes; each of those is found."""
        variables = ExampleVariables(self._core, sent, given).variables()
        limits = _limits(self._settings)
        langsmith, response = await self._asked(sent, variables, limits)
        while (error := _too_expensive(response)) and (name := await self._passed(error, sent, variables, limits)):
            setting = f"{self._settings.model_config['env_prefix']}MAX_{name.upper()}={getattr(limits, name)}"
            self._tell(error, sent, setting=setting)
            limits = replace(limits, **{name: _ENDLESS})
            langsmith, response = await self._asked(sent, variables, limits)
        for error in response.errors:
            self._tell(error, sent, is_assumed=bool(variables.assumed or variables.left_out))
        return CheckedOperation(
            kind=sent.operation.operation.value,
            name=sent.name,
            place=place_of(sent.operation),
            variables=variables,
            cost=response.cost if response.ran else None,
            requests=tuple(langsmith.asked),
        )

    async def _asked(
        self, sent: FrontendOperation, variables: Variables, limits: OperationLimits
    ) -> tuple[RecordingUpstream, Response]:
        base_url = self._settings.langsmith_endpoint
        clock = asyncio.get_running_loop().time
        langsmith = RecordingUpstream(v1.sessions_url(base_url), variables.stands, clock)
        store = MemoryStore(self._settings.cache_max_bytes)
        freshness = Freshness(_SECONDS, 0, clock)
        # All that is asked of it is what this answers too.
        cache = PageCache(Fetcher(langsmith, store, freshness, Metrics(), clock))
        executor = Executor(
            self._schema,
            limits,
            cost_by(self._core),
            Encoding(PLAIN, AS_ATTRIBUTE),
            introspection=self._settings.introspection,
            log=self._log,
        )
        credential = Credential.of(base_url, {API_KEY: "none"}, hash_key=b"none")
        response = await executor.run(
            Request(sent.text, variables.values), OperationContext(cache, credential, NOW, clock() + _SECONDS)
        )
        await cache.aclose()
        return langsmith, response

    async def _passed(
        self, error: dict[str, Any], sent: FrontendOperation, variables: Variables, limits: OperationLimits
    ) -> str | None:
        """Which of the limits that are settings it passes: the one without which it is not told so."""
        for each in fields(OperationLimits):
            _, response = await self._asked(sent, variables, replace(limits, **{each.name: _ENDLESS}))
            if _too_expensive(response) != error:
                return each.name
        return None

    def _tell(
        self, error: dict[str, Any], sent: FrontendOperation, *, setting: str | None = None, is_assumed: bool = False
    ) -> None:
        code, message = error["extensions"]["code"], error["message"]
        *also, place = [sent.place(each["line"], each["column"]) for each in error.get("locations", ())] or [
            place_of(sent.operation)
        ]
        if is_assumed and code == BadUserInputError.code:
            message += " That may be for variables that were not given."
            self.noted.append(Finding("warning", code, message, place, tuple(also)))
        else:
            self.found.append(Finding("error", code, message, place, tuple(also), setting))


def _limits(settings: Settings) -> OperationLimits:
    return OperationLimits(settings.max_tokens, settings.max_depth, settings.max_aliases, settings.max_cost)


def _too_expensive(response: Response) -> dict[str, Any] | None:
    return response.errors[0] if response.outcome == OperationTooExpensiveError.code else None
