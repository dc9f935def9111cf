"""The GraphQL engine: parses, validates, limits and runs operations. It knows GraphQL and nothing of sessions.

`Executor.run` takes a `Request` and the context of its resolvers, and returns a `Response`. It caches parsed documents
and compiled plans. A plan answers exactly as graphql-core would; graphql-core runs what cannot be compiled.
`run_incrementally` returns an `IncrementalResponse` for an operation with `@defer`.

Reading order:

- `executor.py`: from a request to a response, both of `request.py`.
- `preparation.py`: what is known of an operation before it runs. `documents.py`: documents are parsed and validated
  once. `limits.py`: how large an operation may be.
- `plan.py`: an operation, compiled. `resolver.py` calls a field's resolver, `resolve_info.py` is what it receives,
  `projection.py` generates the functions that turn resolved values into the response.
- `deferral.py`: an operation with `@defer`, split into parts; `fragment_reader.py` reads its fragments. `delivery.py`:
  runs the parts, and delivers them.
- `answer_size.py`: how large an answer may be, in `core_executor.py` as in a plan.
- `selection.py`: the selected fields, for resolvers that look ahead. `arguments.py`, `variables.py`: coerced values.
- `error_formatting.py`: errors as clients read them. `error_bound.py`: how many of them.
"""

from app.execution.delivery import Delivery, IncrementalResponse
from app.execution.documents import Document
from app.execution.executor import Executor
from app.execution.preparation import CostOf
from app.execution.projection import Encoding
from app.execution.request import Request, Response
from app.execution.resolver import graphql_core_schema

__all__ = [
    "CostOf",
    "Delivery",
    "Document",
    "Encoding",
    "Executor",
    "IncrementalResponse",
    "Request",
    "Response",
    "graphql_core_schema",
]
