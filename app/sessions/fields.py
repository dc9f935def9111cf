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

import msgspec
import strawberry
from strawberry.types.base import get_object_definition

from app.sessions.decoding import MALFORMED, NULL, array, rows_of
from app.sessions.feedback import FeedbackStat, feedback, listed
from app.sessions.scalars import JSON, BigInt

AS_ATTRIBUTE: Final = "as_attribute"
"""In a field's metadata: the row's attribute that has the value which the resolver gives without arguments."""
_LISTED: Final = "_listed"


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


def stat(description: str, *, select: str | None = None, feedback_of: str | None = None) -> Any:
    """`select`: what `stats_select` calls the statistic, where that is not its field's name.

    `feedback_of`: the statistic is a map from feedback keys, of this name, and shown as a list.
    """
    text = f"{description} A statistic: computed over the runs when selected."
    if feedback_of is None:
        return _line(Kind.STAT, text, select=select)
    return _line(
        Kind.STAT, text, select=select, resolver=feedback(feedback_of), **{AS_ATTRIBUTE: f"{feedback_of}{_LISTED}"}
    )


def facet(description: str, *, list_of: str) -> Any:
    """`list_of`: the facet's name; it stays one opaque text, which is a list that nobody has to take apart."""
    return _line(
        Kind.FACET,
        f"{description} Computed over the runs when selected.",
        resolver=array(list_of),
        **{AS_ATTRIBUTE: list_of},
    )


def _line(kind: Kind, description: str, *, select: str | None = None, resolver: Any = None, **metadata: object) -> Any:
    return strawberry.field(
        resolver=resolver, description=description, metadata={"kind": kind, "select": select, **metadata}
    )


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
    """One field of LangSmith's session: `name` as LangSmith and Python spell it, `select` as `stats_select` does."""

    name: str
    kind: Kind
    select: str
    annotation: Any


class Row(msgspec.Struct, gc=False):
    """A session as LangSmith sent it, decoded; an attribute for each line above. Shared, so never changed."""

    id: str
    tenant_id: UUID


def rows(body: bytes) -> list[Row | None]:
    """Raises UpstreamMalformed; see `decoding.rows_of`."""
    decoded = rows_of(body, _Row, required=("id", "tenant_id"), arrays=_ARRAYS)
    for row in decoded:
        if row is not None:
            row.id = str(row.id)
    return decoded


def detached(row: Row) -> Row:
    """The same row, without a hold on the body that its opaque values are parts of."""
    return msgspec.structs.replace(row, **{name: _copied(getattr(row, name)) for name in _OPAQUE})


def new_row(**values: Any) -> Row:
    """One of values that were decoded before, each field's."""
    row: Row = _Row(**values)
    return row


def _copied(value: Any) -> Any:
    match value:
        case msgspec.Raw():
            return value.copy()
        case dict():
            return {key: _copied(each) for key, each in value.items()}
        case list():
            return [_copied(each) for each in value]
        case msgspec.Struct():
            return msgspec.structs.replace(
                value, **{name: _copied(getattr(value, name)) for name in value.__struct_fields__}
            )
        case _:
            return value


def _declared(*types: type) -> dict[str, Field]:
    return {
        line.python_name: Field(
            line.python_name,
            line.metadata["kind"],
            line.metadata["select"] or line.python_name,
            typing.get_type_hints(kind)[line.python_name],
        )
        for kind in types
        for line in get_object_definition(kind, strict=True).fields
    }


_DECODED_AS: Final[dict[Any, Any]] = {
    strawberry.ID: UUID,
    JSON | None: msgspec.Raw,
    list[JSON] | None: msgspec.Raw,
    list[FeedbackStat] | None: dict[str, msgspec.Raw] | None,
}


def _struct_field(field: Field) -> Any:
    kind = DECODED[field.name]
    if field.name in Row.__struct_fields__:
        return (field.name, kind)
    return (field.name, kind, NULL if kind is msgspec.Raw else None)


FIELDS: Final = _declared(Columns, Statistics)
STATS: Final = frozenset(name for name, field in FIELDS.items() if field.kind is Kind.STAT)
DECODED: Final = {name: _DECODED_AS.get(field.annotation, field.annotation) for name, field in FIELDS.items()}
"""The type that each field of an answer is decoded as."""
FACETS: Final = frozenset(name for name, field in FIELDS.items() if field.kind is Kind.FACET)

_ARRAYS: Final = tuple(name for name, field in FIELDS.items() if field.annotation == (list[JSON] | None))
_OPAQUE: Final = [name for name, field in FIELDS.items() if field.annotation in _DECODED_AS and name != "id"]


def _as_listed(name: str) -> property:
    """A feedback map as the list that GraphQL shows of it."""

    def value(row: Row) -> Any:
        by_key = getattr(row, name)
        return by_key if by_key is MALFORMED else listed(by_key)

    return property(value)


LISTED: Final = {
    f"{name}{_LISTED}": _as_listed(name)
    for name, field in FIELDS.items()
    if field.annotation == (list[FeedbackStat] | None)
}
"""What turns feedback maps into lists, for structs that hold statistics."""

_Row: Final[Any] = msgspec.defstruct(
    "Row",
    [_struct_field(field) for field in FIELDS.values()],
    bases=(Row,),
    gc=False,
    namespace={"__doc__": Row.__doc__, **LISTED},
)
