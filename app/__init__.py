"""A GraphQL gateway in front of LangSmith's `GET /api/v1/sessions`: the map of the package.

The rooms, in reading order. Each `__init__.py` says what its room is for and in which order to read its files.
Imports go down the floors only, and `tests/test_architecture.py` checks that.

    main.py         create_app: builds everything from the settings (settings.py)
    http/           GraphQL over HTTP: authentication, request limits, response cache, pages for browsers
    schema/         the GraphQL schema of sessions: types, root fields, paging, cost
    sessions/       the domain, values only: one line per field (fields.py) and per argument (arguments.py)
    cache/          pages of sessions, cached for a short while; cache/shared/ is the second tier, in Redis
    langsmith/      the client of LangSmith: retries, circuit breaker, rate limit, and the spelling of its API (v1.py)
    execution/      parses, limits, compiles and runs GraphQL operations; knows nothing of sessions
    redis/          the connection to Redis, and life without it
    resilience/     singleflight, LRU caches, circuit breaker, clocks
    observability/  logs, metrics, traces
    check/          `sessions-gateway check`: the upstream requests of operations, told before they run
    emulator/       the embedded LangSmith of the demo and the tests; imports nothing else of the package
    web/            the built files of GraphiQL and the dashboard

    __main__.py is the command line, errors.py has every error that clients can meet, credentials.py identifies tenants.

One request, in the order of the files that it passes:

 1. http/uvicorn_protocol.py receives the bytes. http/replay_cache.py answers a request that came before, byte for byte.
 2. http/server.py and http/middleware.py give the request an id, and send `/graphql` past FastAPI to the endpoint.
 3. http/endpoint.py reads the payload (http/params.py), finds the credential (http/auth.py), and looks for the
    response in http/response_cache.py. If there is none, it finds the document (http/persisted_queries.py) and runs it.
 4. execution/executor.py takes the parsed and validated document from execution/documents.py, and the compiled
    operation from execution/plan.py. Both are made the first time only. An operation that costs too much stops here.
 5. schema/query.py resolves the root field: sessions/arguments.py turns its arguments into canonical text, and
    schema/connection.py adds what the selection needs. The result is one sessions/query.py PageQuery per 100 rows.
 6. cache/page_cache.py looks up the page, and decision.py beside it decides: hit, serve stale, refill, or miss.
 7. On a miss, cache/fetcher.py fetches the page once for all who wait (cache/in_flight.py) and stores it.
 8. langsmith/client.py sends the HTTP request, within a deadline and limits; langsmith/v1.py spells its parameters.
 9. sessions/row.py decodes the rows, once, when they arrive.
10. execution/projection.py turns the rows into JSON. http/endpoint.py sends it, and stores it in the response cache.
"""

__version__ = "0.1.0"
