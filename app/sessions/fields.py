"""The fields of a session, a line each. Everything else that knows of fields reads these lines.

A *column* comes with every row. A *stat* is computed by LangSmith over the session's runs when it is asked for by
name, a *facet* when facets are asked for. From a line follow the GraphQL field with its description, what is asked
of LangSmith (`FIELDS`), and how an answer is decoded (`Row`).
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

from app.sessions.decoding import array
from app.sessions.feedback import FeedbackStat, feedback
from app.sessions.scalars import JSON, BigInt

AS_ATTRIBUTE: Final = "as_attribute"
"""In a field's metadata: the row's attribute that has the value which the resolver gives without arguments."""
LISTED_SUFFIX: Final = "_listed"


class Kind(enum.Enum):
    COLUMN = "column"
    STAT = "stat"
    FACET = "facet"


@strawberry.enum(description="How long the traces of a session are kept.")
class TraceTier(enum.Enum):
    LONGLIVED = strawberry.enum_value("longlived", description="Extended retention.")
    SHORTLIVED = strawberry.enum_value("shortlived", description="Base retention.")


def column(description: str) -> Any:
    return _line(Kind.COLUMN, description)


def stat(description: str, *, feedback_of: str | None = None) -> Any:
    """`feedback_of`: the statistic is a map from feedback keys, of this name, and shown as a list."""
    text = f"{description} A statistic: computed over the runs when selected."
    if feedback_of is None:
        return _line(Kind.STAT, text)
    return _line(
        Kind.STAT,
        text,
        resolver=feedback(feedback_of),
        **{AS_ATTRIBUTE: f"{feedback_of}{LISTED_SUFFIX}"},
    )


def facet(description: str, *, list_of: str) -> Any:
    """`list_of`: the facet's name; it stays one opaque text, which is a list that nobody has to take apart."""
    return _line(
        Kind.FACET,
        f"{description} Computed over the runs when selected.",
        resolver=array(list_of),
        **{AS_ATTRIBUTE: list_of},
    )


def _line(kind: Kind, description: str, *, resolver: Any = None, **metadata: object) -> Any:
    return strawberry.field(resolver=resolver, description=description, metadata={"kind": kind, **metadata})


@strawberry.interface(description="Anything that can be fetched again by its id.")
class Node:
    id: strawberry.ID = column("LangSmith's own UUID of the session, globally unique as it is.")


@strawberry.type
class Columns(Node):
    tenant_id: UUID = column("The workspace that the session belongs to.")
    start_time: datetime | None = column("When the session was created.")
    end_time: datetime | None = column("When the session ended; null while it goes on, as tracing projects do.")
    extra: JSON | None = column("Whatever was attached to the session: metadata under `metadata`, tags under `tags`.")
    name: str | None = column("The session's name, unique in its workspace.")
    description: str | None = column("What somebody wrote about the session.")
    default_dataset_id: UUID | None = column("The dataset that runs are added to unless another is chosen.")
    reference_dataset_id: UUID | None = column("The dataset an experiment was run on; null for a tracing project.")
    trace_tier: TraceTier | None = column("How long the traces are kept.")
    last_run_start_time_live: datetime | None = column(
        "When the latest run started, as it is maintained with the session; comes without statistics."
    )
    test_run_number: BigInt | None = column("The experiment's number among those on its dataset, counted from 1.")


@strawberry.type
class Statistics:
    run_count: BigInt | None = stat("Number of runs.")
    latency_p50: float | None = stat("Median latency of the runs, in seconds.")
    latency_p99: float | None = stat("99th percentile of the runs' latency, in seconds.")
    first_token_p50: float | None = stat("Median time to the first token, in seconds; null where nothing was streamed.")
    first_token_p99: float | None = stat("99th percentile of the time to the first token, in seconds.")
    total_tokens: BigInt | None = stat("Tokens read and written. Passes 32 bits in busy projects.")
    prompt_tokens: BigInt | None = stat("Tokens read by models.")
    completion_tokens: BigInt | None = stat("Tokens written by models.")
    total_cost: Decimal | None = stat("Cost of all tokens, in USD.")
    prompt_cost: Decimal | None = stat("Cost of the tokens read, in USD.")
    completion_cost: Decimal | None = stat("Cost of the tokens written, in USD.")
    last_run_start_time: datetime | None = stat("When the latest run in the window started.")
    feedback_stats: list[FeedbackStat] | None = stat(
        "Feedback on the runs, an entry per key.", feedback_of="feedback_stats"
    )
    session_feedback_stats: list[FeedbackStat] | None = stat(
        "Feedback on the session as a whole, an entry per key.", feedback_of="session_feedback_stats"
    )
    run_facets: list[JSON] | None = facet(
        "What the runs can be narrowed down by, as LangSmith has it.", list_of="run_facets"
    )
    error_rate: float | None = stat("Share of the runs that ended in an error, 0 to 1.")
    streaming_rate: float | None = stat("Share of the runs that were streamed, 0 to 1.")


@dataclass(frozen=True)
class Field:
    """One field of a session: `name` as LangSmith and Python spell it."""

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
STATS: Final = frozenset(name for name, field in FIELDS.items() if field.kind is Kind.STAT)
FACETS: Final = frozenset(name for name, field in FIELDS.items() if field.kind is Kind.FACET)
