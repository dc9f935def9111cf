"""The gateway beside what people would pick instead, measured in one run.

    .venv/bin/python -m tests.bench                                # everything: about half an hour
    .venv/bin/python -m tests.bench --quick                        # a first impression
    .venv/bin/python -m tests.bench --scenarios 100x3 --peers ours,yoga --json figures.json
    .venv/bin/python -m tests.bench simulate                       # how often a fleet asks LangSmith: three minutes
    .venv/bin/python -m tests.bench redis                          # two workers, a Redis, and its death: a minute

It needs Linux with two cores or more, Node.js 20 and npm. What it installs: Debian's nginx and wrk where they are
missing (as root; else it says the command), and each peer's packages with `npm ci` into the peer's own folder,
from a lock file. Tailcall's binary wants a newer C library than Debian 12 has: debootstrap lays one in its folder.

A fixed LangSmith (nginx with bodies made by `app.emulator`) and the load (wrk) share core 1; who is measured has
core 0, one process each. All contenders of a cell are started and asked for the same data, which is compared with
ours; then they are measured in turn, A B A B. A cell is a scenario (rows by fields) of one kind:

    repeated    the very same request; every cache on
    held        ever another selection of the same fields; the page is held, no response is kept, documents are known
    miss        ever another page; nothing is held

`workload` is what is asked, `fixed` who answers it, `contenders` who is compared, `process` how they run,
`load` how they are measured, `answer` how answers are compared, `report` what is printed, `install` what it takes.

The simulation lives in the virtual time of `clock`, with the gateway's own cache and what stands in for the rest:
`workspaces` is what tenants have and the LangSmith that tells, `dashboards` who looks at what and when, `scripts` a
Redis, `gateways` what is compared, `simulation` one run, `findings` what is printed. `fleet` is the live run.
"""
