"""Cache of LangSmith's pages of sessions: each is kept for a short while, and shared by all who need it.

`schema` reads through `PageCache`: `get_page` for a page, `lookup` for sessions by id. Pages are kept per credential
scope, so that no client sees what another one may. Nothing but LangSmith's successful answers is kept.

Reading order:

- `page_cache.py`, `session_cache.py`: the two entry points; each acts on a decision. `session_lookup.py`: one lookup
  of sessions, as a value.
- `decision.py`: the rules as a pure function: hit, serve stale, refill, or miss. `freshness.py`: its durations.
- `in_flight.py`: requests to LangSmith that several callers wait for (singleflight), and batches of lookups;
  `session_batches.py` sends those.
- `fetcher.py`: what both caches use to ask LangSmith, to store its answer, and to report the outcome.
- `merging.py`: how two answers about the same rows become one page.
- `store.py`: bounded memory (LRU). `row_index.py`: which cached pages show a session.
- `prefetch.py`: statistics selected lately. `explain.py`: what a root field did.
- `shared/`: a second tier in Redis. Skip it on a first reading.
"""
