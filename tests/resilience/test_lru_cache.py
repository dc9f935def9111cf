"""LRU caches evict the least recently used entries, and never exceed their bound."""

from app.resilience.lru_cache import BoundedDict, LruCache


def test_an_lru_cache_evicts_the_least_recently_used_entries() -> None:
    cache: LruCache[str, int] = LruCache(max_bytes=10)
    for number, key in enumerate("abc"):
        cache.set(key, number, 3)
    assert cache.get("a") == 0
    cache.set("d", 3, 4)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]
    assert cache.held_bytes == 10


def test_an_lru_cache_counts_a_replaced_entry_once() -> None:
    cache: LruCache[str, int] = LruCache(max_bytes=10)
    cache.set("a", 1, 4)
    cache.set("a", 2, 6)
    assert (cache.get("a"), cache.held_bytes) == (2, 6)
    cache.remove("a")
    assert (cache.get("a"), cache.held_bytes) == (None, 0)


def test_an_lru_cache_does_not_store_a_value_larger_than_its_bound() -> None:
    cache: LruCache[str, str] = LruCache(max_bytes=10)
    cache.set("small", "value", 5)
    assert cache.set("large", "value", 11) == "value"
    assert (cache.get("large"), cache.get("small")) == (None, "value")


def test_an_lru_cache_removes_a_value_that_a_larger_one_replaces() -> None:
    cache: LruCache[str, str] = LruCache(max_bytes=10)
    cache.set("a", "old", 5)
    cache.set("a", "new", 11)
    assert (cache.get("a"), cache.held_bytes) == (None, 0)


def test_an_lru_dict_keeps_the_ten_thousand_entries_that_were_set_last() -> None:
    entries: BoundedDict[int, int] = BoundedDict()
    for number in range(10_000):
        entries[number] = number
    entries[0] = 0
    entries[10_000] = 10_000
    assert len(entries) == 10_000
    assert (0 in entries, 1 in entries) == (True, False)
