"""Redis: a connection with a time-out and a circuit breaker, and the sliding window of the rate limit.

Every Redis is optional. `RedisConnection` runs scripts within a short time-out; while a Redis is unreachable, frozen or
failing, its circuit breaker raises `RedisUnavailableError` at once and the caller goes on without.

Read in this order: `url.py` (which URLs are accepted, and what they mean), `connection.py`, `sliding_window.py` (the
requests of the last seconds, for the rate limit of requests to LangSmith).
"""
