"""A GraphQL gateway in front of LangSmith's list of sessions: the map of the package.

The rooms, in reading order. Each `__init__.py` says what its room is for and in which order to read its files. A room
imports only from those below it: the `layers` in pyproject.toml, which tests/test_architecture.py checks.

    main.py         create_app: builds everything from the settings (settings.py)
    command_line/   `sessions-gateway serve` and `settings`: processes, signals, and what the start says
    http/           GraphQL over HTTP: authentication, request limits, response cache, pages for browsers
    schema/         the GraphQL schema of sessions: types, root fields, paging, cost
    sessions/       the domain, values only: one line per field (fields.py) and per argument (arguments.py)
    cache/          pages of sessions, cached for a short while; cache/shared/ is the second tier, in Redis
    langsmith/      the client of LangSmith: retries, circuit breaker, rate limit, and the versions of its API
    execution/      parses, limits, compiles and runs GraphQL operations; knows nothing of sessions
    redis/          the connection to Redis, which is optional: a circuit breaker lets callers continue without it
    resilience/     singleflight, LRU caches, circuit breaker, fair places, eager tasks, garbage collection, clocks
    observability/  logs, metrics, traces
    check/          `sessions-gateway check`: which requests a frontend's operations would send to LangSmith
    doctor/         `sessions-gateway doctor`: which of our assumptions hold for the configured LangSmith
    emulator/       the embedded LangSmith of the demo and the tests; imports nothing else of the package
    web/            the built files of GraphiQL and the dashboard

    __main__.py has the commands and their options, errors.py every error that clients can meet, credentials.py the
    credentials of clients and the tenants that they belong to, origins.py the spelling of web pages' origins,
    settings_errors.py what is said about a wrong setting, and text_files.py the encodings of files.

One request, in the order of the files that it passes:

 1. http/uvicorn_protocol.py receives the bytes, with the layers below it (framed_protocol.py, bounded_protocol.py). If
    the same head was answered before, http/known_heads.py knows what was made of it, and takes the place of uvicorn's
    parser, of step 2 and of the first half of step 3. If the response is cached too, it is sent at once.
 2. http/server.py and http/middleware.py give the request an id, and send `/graphql` past FastAPI to the endpoint.
 3. http/endpoint.py reads the payload, finds the credential (http/auth.py), counts the client
    (http/client_rate_limit.py), and looks for the response (http/cached_answers.py, http/response_cache.py). If it is
    not cached, the payload is parsed (http/params.py), and the document found (http/persisted_queries.py, or
    http/trusted_documents.py if only a list may run) and run.
 4. execution/executor.py takes the parsed and validated document from execution/documents.py, and the compiled
    operation from execution/plan.py. Both are made once per document, and kept. An operation that exceeds a limit
    (execution/limits.py), or costs too much (schema/cost.py), stops here.
 5. schema/query.py resolves the root field: sessions/arguments.py turns its arguments into canonical text, and
    schema/connection.py adds what the selection needs. The result is one sessions/query.py PageQuery per 100 rows.
 6. cache/page_cache.py looks up the page, and cache/decision.py decides: hit, serve stale, refill, or miss. How long a
    page is fresh or may be served stale is in cache/freshness.py.
 7. On a miss, cache/fetcher.py fetches the page once for all callers (singleflight, cache/in_flight.py) and stores it.
    With a Redis, cache/shared/shared_cache.py looks there first, so that one process fetches for all. If statistics are
    missing in the page that came, cache/page_cache.py fetches them by the ids of its rows.
 8. langsmith/client.py sends the request through the layers of langsmith/stack.py: retries, circuit breaker, rate limit
    and concurrency limit. langsmith/http_transport.py is the last, and does the HTTP. langsmith/api_selection.py says
    which version of the API is asked, and langsmith/v1.py or langsmith/v2.py spells the parameters. Pages of version 2
    have cursors: langsmith/walker.py follows them. langsmith/error_mapping.py says which statuses are retried, and
    which error a client gets.
 9. sessions/row.py decodes the rows, once, when they arrive.
10. execution/projection.py turns the rows into JSON. http/endpoint.py stores the response, compresses it and sends it.
    observability/operation_log.py records the outcome.
"""

__version__ = "0.1.0"
