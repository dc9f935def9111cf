"""Second tier of the cache: pages and sessions in a Redis that several processes share. Skip it on a first reading.

The gateway runs without it (`GATEWAY_CACHE_URL=memory://`), and goes on without it while Redis is unavailable. With it,
a process looks in Redis before it asks LangSmith, and of several processes that miss at the same time one asks for all.

Reading order:

- `shared_cache.py`: the entry point: read, or fetch at most once for all processes.
- `cross_process_fetch.py`: how such a fetch goes. `leases.py`: explains leases and fencing tokens.
- `redis_keys.py`: every kind of key in Redis. `redis_records.py`: the values of pages and sessions.
- `scripts.py`: the Lua scripts, and what each guarantees.
- `background_writes.py`: writes that no request waits for.
- `codec.py`, `error_codec.py`: sessions and errors as bytes.
"""
