"""The fields of a session, one line each.

LangSmith returns a *column* with every row. It computes a *statistic* over the session's runs if the request names it,
and a *facet* if the request asks for facets. From a line follow the GraphQL field with its description, the pushdown
(`FIELDS`), and how an answer is decoded (`app/sessions/row.py`).

Units and meanings are Documented in LangSmith's specification, unless a line says otherwise.
"""

import enum
import typing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import strawberry
from strawberry.types.base import get_object_definition

from app.sessions.decoding import array_resolver
from app.sessions.experiment_progress import ExperimentProgress, progress_resolver
from app.sessions.feedback import FeedbackStat, feedback_resolver
from app.sessions.scalars import JSON, BigInt

AS_ATTRIBUTE: Final = "as_attribute"
"""A key in a field's metadata. It names the row's attribute that equals the resolver's result without arguments."""
LISTED_SUFFIX: Final = "_listed"
"""Ends the name of the attribute that holds a feedback map as a list."""


class Kind(enum.Enum):
    """What has to be requested for LangSmith to return a field: nothing, its name, or facets."""

    COLUMN = "column"
    STAT = "stat"
    FACET = "facet"


class SpelledEnum(enum.Enum):
    """An enumeration of LangSmith, whose versions spell a value in different ways, such as `longlived`, `LONG_LIVED`.

    A value is in lower case and without underscores.
    """

    @classmethod
    def _missing_(cls, value: object) -> Any:
        spelled = value.lower().replace("_", "") if isinstance(value, str) else value
        return None if spelled == value else cls._value2member_map_.get(spelled)


@strawberry.enum(description="How long LangSmith retains the traces of a session.")
class TraceTier(SpelledEnum):
    LONGLIVED = strawberry.enum_value("longlived", description="Extended retention, the longer of the two.")
    SHORTLIVED = strawberry.enum_value("shortlived", description="Base retention, the shorter of the two.")


@strawberry.enum(description="What a session is.")
class SessionType(SpelledEnum):
    PROJECT = strawberry.enum_value("project", description="A tracing project, which collects the runs of a program.")
    AGENT = strawberry.enum_value(
        "agent", description="A tracing project of an agent. Only newer versions of LangSmith tell it from a project."
    )
    EXPERIMENT = strawberry.enum_value("experiment", description="A run of a program over the examples of a dataset.")


_ON_SELECTION: Final = "Computed on selection."


def column(description: str) -> Any:
    """Declare a field that comes with every row."""
    return _line(Kind.COLUMN, description)


def stat(description: str, *, feedback_of: str | None = None) -> Any:
    """Declare a statistic. `feedback_of` names a map by feedback key, which the schema shows as a list."""
    text = f"{description} {_ON_SELECTION}"
    if feedback_of is None:
        return _line(Kind.STAT, text)
    return _line(
        Kind.STAT,
        text,
        resolver=feedback_resolver(feedback_of),
        **{AS_ATTRIBUTE: f"{feedback_of}{LISTED_SUFFIX}"},
    )


def facet(description: str, *, list_of: str) -> Any:
    """Declare a facet. `list_of` names an array of opaque JSON, which is passed through without decoding its items."""
    return _line(
        Kind.FACET,
        f"{description} {_ON_SELECTION}",
        resolver=array_resolver(list_of),
        **{AS_ATTRIBUTE: list_of},
    )


def progress(name: str) -> Any:
    """Declare the column that holds the progress of an experiment."""
    description = "How far an experiment has come. Null for a tracing project, and if LangSmith does not say."
    return _line(Kind.COLUMN, description, resolver=progress_resolver(name))


def _line(kind: Kind, description: str, *, resolver: Any = None, **metadata: object) -> Any:
    return strawberry.field(resolver=resolver, description=description, metadata={"kind": kind, **metadata})


@strawberry.interface(description="An object that can be fetched again by its id, through `node` and `nodes`.")
class Node:
    id: strawberry.ID = column("LangSmith's UUID of the session. It is globally unique without any encoding.")


@strawberry.type
class Columns(Node):
    tenant_id: UUID = column("UUID of the LangSmith workspace (tenant) that owns the session.")
    start_time: datetime | None = column("Time at which the session was created.")
    end_time: datetime | None = column(
        "Time at which the session ended. Null while it is open; a tracing project usually stays open."
    )
    extra: JSON | None = column(
        'Free-form data that was attached to the session, such as `{"metadata": {"env": "prod"}, "tags": ["nightly"]}`.'
    )
    name: str | None = column("Name of the session, unique in its workspace.")
    description: str | None = column("Description of the session, free text. Null if there is none.")
    default_dataset_id: UUID | None = column("UUID of the dataset to which runs are added by default.")
    reference_dataset_id: UUID | None = column(
        "UUID of the dataset that an experiment was run on. Null for a tracing project."
    )
    trace_tier: TraceTier | None = column("How long LangSmith retains the traces.")
    last_run_start_time_live: datetime | None = column(
        "Time at which the latest run started, as LangSmith keeps it with the session. Unlike `lastRunStartTime`, it "
        "is not computed and does not depend on a window."
    )
    type: SessionType | None = column("What the session is.")
    experiment_progress: ExperimentProgress | None = progress("experiment_progress")
    longlived_ttl_days: BigInt | None = column(
        "Days for which LangSmith keeps traces that have extended retention. Null if it does not say."
    )
    test_run_number: BigInt | None = column(
        "Sequence number of the experiment on its reference dataset, starting at 1. Null for a tracing project."
    )


@strawberry.type
class Statistics:
    run_count: BigInt | None = stat("Number of root runs (traces).")
    latency_p50: float | None = stat("Median latency of the runs, in seconds, such as 1.25.")
    latency_p99: float | None = stat("99th percentile of the latency of the runs, in seconds.")
    first_token_p50: float | None = stat("Median time to the first token, in seconds. Null if no run was streamed.")
    first_token_p99: float | None = stat(
        "99th percentile of the time to the first token, in seconds. Null if no run was streamed."
    )
    total_tokens: BigInt | None = stat("Number of tokens in prompts and completions. Exceeds 32 bits in busy projects.")
    prompt_tokens: BigInt | None = stat("Number of tokens in prompts, that is, read by models.")
    completion_tokens: BigInt | None = stat("Number of tokens in completions, that is, written by models.")
    total_cost: Decimal | None = stat('Cost of all tokens in US dollars, such as "0.206485".')
    prompt_cost: Decimal | None = stat("Cost of the prompt tokens in US dollars.")
    completion_cost: Decimal | None = stat("Cost of the completion tokens in US dollars.")
    last_run_start_time: datetime | None = stat("Time at which the latest run in the window started.")
    feedback_stats: list[FeedbackStat] | None = stat(
        "Feedback that was given on the runs, one entry per feedback key.", feedback_of="feedback_stats"
    )
    session_feedback_stats: list[FeedbackStat] | None = stat(
        "Feedback that was given on the session as a whole, one entry per feedback key.",
        feedback_of="session_feedback_stats",
    )
    run_facets: list[JSON] | None = facet(
        "Values by which the runs can be filtered, in LangSmith's own form.", list_of="run_facets"
    )
    error_rate: float | None = stat("Share of the runs that ended in an error, from 0 to 1.")
    streaming_rate: float | None = stat("Share of the runs that were streamed, from 0 to 1.")


@dataclass(frozen=True)
class Field:
    """One field of a session. LangSmith, Python and our own values call it `name`; GraphQL has it in camel case."""

    name: str
    kind: Kind
    annotation: Any


def _declared(*types: type) -> dict[str, Field]:
    return {
        line.python_name: Field(
            line.python_name,
            line.metadata["kind"],
            typing.get_type_hints(kind)[line.python_name],
        )
        for kind in types
        for line in get_object_definition(kind, strict=True).fields
    }


FIELDS: Final = _declared(Columns, Statistics)
"""All fields by name, in the order of the declarations."""
STATS: Final = frozenset(name for name, field in FIELDS.items() if field.kind is Kind.STAT)
FACETS: Final = frozenset(name for name, field in FIELDS.items() if field.kind is Kind.FACET)
