"""The check of a set of GraphQL documents: parse, validate, dry-run each operation, report."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import strawberry
from graphql import OperationDefinitionNode, Source

from app.check.dry_run import DryRun
from app.check.operations import FrontendOperation
from app.check.report import CheckedOperation, Finding, Report
from app.check.sources import CheckInputError
from app.check.validation import find_unused_fragments, fragments_by_name, join, parse_sources, validate_documents
from app.execution import graphql_core_schema
from app.schema.query import create_schema
from app.settings import Settings


def check(
    sources: Sequence[Source],
    settings: Settings,
    variables: Mapping[str, Mapping[str, Any]] | None = None,
    schema: strawberry.Schema | None = None,
) -> Report:
    """Check every operation of the sources, and report its cost, its requests to LangSmith and what is wrong with it.

    An operation may use the fragments of every source, because frontends share fragments between files.
    It must not be called while an event loop is running, because it starts one.

    Args:
        sources: The documents, each named by the file that it was read from.
        settings: The limits, and the base URL of LangSmith.
        variables: By operation name, the variables to run the operation with. Required variables that are missing
            get example values.
        schema: The schema to check against; the gateway's own by default.

    Raises CheckInputError for variables of an operation that the sources do not contain.
    """
    schema = schema or create_schema()
    variables = variables or {}
    documents, findings = parse_sources(sources)
    # Fragments may be in the document that failed to parse, so findings about the other documents would be guesses.
    if any(finding.severity == "error" for finding in findings):
        return _report([], findings, settings)

    core_schema = graphql_core_schema(schema)
    joined = join(documents)
    fragments = fragments_by_name(joined)
    operations = [
        FrontendOperation.of(definition, fragments)
        for definition in joined.definitions
        if isinstance(definition, OperationDefinitionNode)
    ]
    if unknown := set(variables).difference(operation.name for operation in operations if operation.name):
        raise CheckInputError(f"There is no operation {min(unknown)!r} to give variables to.")
    findings += validate_documents(core_schema, documents)
    findings += find_unused_fragments(core_schema, fragments, operations)

    dry_run = DryRun(settings, schema)

    async def run_all() -> list[tuple[CheckedOperation, list[Finding]]]:
        return [await dry_run.run(each, variables.get(each.name or "", {})) for each in operations]

    results = asyncio.run(run_all())
    for _, found in results:
        findings += found
    return _report([operation for operation, _ in results], findings, settings)


def _report(operations: Sequence[CheckedOperation], findings: Sequence[Finding], settings: Settings) -> Report:
    """The report, with each finding once (operations that share a fragment repeat its errors), sorted by location."""
    unique = sorted(dict.fromkeys(findings), key=lambda each: (each.location, each.severity))
    return Report(tuple(operations), tuple(unique), settings.max_cost)
