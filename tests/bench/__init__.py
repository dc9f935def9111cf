"""Benchmarks: the gateway next to the servers that people would use instead, measured in one run.

    .venv/bin/python -m tests.bench                                # everything: about an hour
    .venv/bin/python -m tests.bench --quick                        # a first impression
    .venv/bin/python -m tests.bench --scenarios 100x3 --peers ours,yoga --json figures.json
    .venv/bin/python -m tests.bench simulate                       # requests of a fleet to LangSmith: three minutes
    .venv/bin/python -m tests.bench redis                          # two workers and a Redis that is killed: a minute

Requirements: Linux with two cores or more, Node.js 20 and npm. The benchmark installs Debian's nginx and wrk if they
are missing (as root; without root it prints the command), and the packages of each peer with `npm ci` in the folder of
that peer, from a lock file. Tailcall's binary needs a newer C library than Debian 12 has: debootstrap puts one into
Tailcall's folder.

A fixed LangSmith (nginx with response bodies that `app.emulator` generated) and the load generator (wrk) share core 1.
The server that is measured has core 0 to itself, in one process. All contenders of a cell are started and receive the
same requests, and their data is compared with ours. Then they are measured in turn: A B A B. A cell is a scenario
(rows by fields) of one kind:

    repeated    the same request again and again, with all caches on
    cached      different selections of the same fields; the page is cached, responses are not, documents are known
    variables   the same document for different pages, which are cached; responses are not
    miss        a different page each time; nothing is cached
    kept-miss   a different page each time, which is cached
    mixed       sixteen selections of a cached page in turn, and a different page in every fifth request; all caches on

Modules of the benchmark: `workload` (the requests), `nginx` (the fixed LangSmith, and the limit), `contenders` (the
servers that are compared), `bare` (the gateway without logging and limits), `process` (how they run), `load` (how they
are measured), `answer` (how their answers are compared), `report` (the output) and `install` (the requirements).

The simulation runs the gateway's own cache in the virtual time of `virtual_time`, with doubles for everything else:
`workspaces` (the data of the tenants, and LangSmith), `dashboards` (the requests of the viewers), `fake_redis` (Redis),
`gateways` (the caches that are compared), `simulation` (one run) and `simulation_report` (the output). `fleet` measures
two real workers and a real Redis.
"""
