"""The upstream: pages of sessions, fetched from LangSmith's API.

`create_upstream` (in `stack.py`) builds the client; the cache calls `Upstream.fetch(query, credential, calls)` and gets
a `Page`. A query is in the gateway's own terms, and only `v1.py` knows how version 1 of the API spells them.

A request goes through a stack of transports, which share the signature of `UpstreamTransport.send`:
retry → circuit breaker (fail fast) → rate limit → concurrency limit → circuit breaker (permit) → HTTP.

Read in this order: `upstream.py` (what the cache needs), `client.py` (query → request → page), `transport.py` and
`stack.py` (the signature, and the layers in their order), then the layers: `retry.py`, `circuit_breaker.py`,
`rate_limit.py`, `concurrency_limit.py`, `http_transport.py` with `connection_pool.py`, `http11_connection.py`,
`http_exchange.py` and `bounded_body.py`. `v1.py` translates parameters and rows, `request_line.py` bounds the URL, and
`error_mapping.py` and `retry_after.py` translate failures into a `failed_attempt.py`; `call.py` is the record that
Explain shows, `stats_select.py` remembers whether LangSmith selects statistics, and `api_changes.py` reports what it
announces.
"""
