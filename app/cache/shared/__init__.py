"""Second tier of the cache: pages and sessions in a Redis that several processes share. Skip it on a first reading.

The gateway runs without it (`GATEWAY_CACHE_URL=memory://`), and goes on without it while Redis is unavailable. With it,
a process looks in Redis before it asks LangSmith, and of several processes that miss at the same time one asks for all.

Reading order:

- `shared_cache.py`: the entry point: read, or fetch at most once for all processes.
- `cross_process_fetch.py`: how such a fetch goes. `leases.py`: explains leases and fencing tokens. `lease_values.py`:
  what is claimed, and who holds a lease.
- `redis_keys.py`: every kind of key in Redis. `redis_records.py`: the records of pages and sessions.
  `record_values.py`: their values, as they are read.
- `scripts.py`: the Lua scripts, and what each guarantees.
- `background_writes.py`: writes that no request waits for.
- `page_bodies.py`, `codec.py`, `error_codec.py`: pages, single sessions, and errors as bytes.
"""
