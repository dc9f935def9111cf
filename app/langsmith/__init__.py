"""The upstream: pages of sessions, fetched from LangSmith's API.

`create_upstream` (in `stack.py`) builds the client; the cache calls `Upstream.fetch(query, credential, calls)` and gets
a `Page`. A query is in the gateway's own terms. Only `api_version.py`, `v1.py` and `v2.py` know how the API
spells them.

A request goes through a stack of transports, which share the signature of `UpstreamTransport.send`:
retry → circuit breaker (fail fast) → rate limit → concurrency limit → circuit breaker (permit) → HTTP.

Read in this order: `upstream.py` (what the cache needs), `client.py` (query → requests → page), `api_version.py` with
`v1.py`, `v2.py` and `api_selection.py` (which of them is asked), `walk.py`, `walker.py` and `known_positions.py` (pages
without offsets), `transport.py`, `stack.py`, and the layers: `retry.py`, `circuit_breaker.py`, `rate_limit.py`,
`concurrency_limit.py`, `http_transport.py` with `http_message.py`, `connection_pool.py`, `http11_connection.py`,
`http_exchange.py` and `bounded_body.py`. Beside them: `request_line.py`, `stats_select.py`, `error_mapping.py` with
`retry_after.py` and `failed_attempt.py`, `call.py` (for Explain), `api_changes.py`, and `plain_client.py` (for
`app/doctor`).
"""
