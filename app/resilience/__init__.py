"""Building blocks that keep the gateway fast and bounded. None of them knows GraphQL or HTTP.

`singleflight`: several callers wait for one task. `lru_cache`: caches with a bound in bytes, and a dictionary with a
bound in entries. `circuit_breaker`: stops requests to a service that keeps failing. `tenant_circuit_breaker`: does so
for each tenant, and for all if several fail. `fair_semaphore`: a bounded number of places, which tenants share.
`round_robin`: the order in which tenants take turns. `cooperative_scheduler`: long pieces of work, one per iteration of
the event loop. `eager_task`: a coroutine that becomes a task only where it has to wait. `garbage_collection`: when
Python looks for garbage. `rate`: a rate limit such as `900/10s`, as a value. `clock`: the monotonic clock of this
process, and the wall clock that processes have in common.

The files can be read in any order.
"""
