"""The GraphQL schema of sessions: types, resolvers, and what an operation asks of the cache.

`create_schema` (in `query.py`) builds the schema. The executor passes one `OperationContext` to all resolvers of an
operation. `cost_by` (in `cost.py`) computes what an operation may ask of LangSmith at most.

Reading order:

- `query.py`: the root fields. `connection.py`: how `sessions` is read, and `row_reader.py`: from pages that belong
  together. `lookup.py`: how sessions are read by their ids. `deferred_statistics.py`: what `@defer` delivers later.
- `types.py`: the object types. The fields of a session are declared in `app/sessions/fields.py`.
- `pushdown.py`: which statistics an operation selects, and over which windows.
- `context.py`: what the resolvers of one operation share. `loader.py`: batches its lookups by id.
- `first_answer.py`: a refusal of the credential ends an operation after a few requests.
- `pagination.py`: paging arguments and cursors. `cost.py`: the cost of an operation.
"""
