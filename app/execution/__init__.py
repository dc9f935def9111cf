"""Running operations; knows GraphQL and nothing of sessions.

In reading order: `executor` runs them, `documents` are parsed and validated once, a `plan` is an operation compiled,
`resolver` how it calls what Strawberry defines, `projection` the functions that it completes values with, `failures`
what a client reads of errors.
"""

from app.execution.documents import Document
from app.execution.executor import CostOf, Executor, Request, Response
from app.execution.projection import Encoding
from app.execution.resolver import graphql_core_schema

__all__ = ["CostOf", "Document", "Encoding", "Executor", "Request", "Response", "graphql_core_schema"]
