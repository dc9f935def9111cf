"""A GraphQL gateway in front of LangSmith's `GET /api/v1/sessions`.

In reading order, each module using only those below it:

    __main__     the command line                       main         create_app: the only assembler
    check        what operations will ask of LangSmith, told before they run
    protocol     requests that repeat, before all else  http         GraphQL over HTTP: the endpoint
    repeats      which requests repeat, byte by byte    front        what each request meets first
    persisted    documents that clients name
    request      what a client sent, read               responses    answers kept as bytes
    account      what is logged and counted of it       cost         what an operation will ask of LangSmith
    gates        the gate that the settings ask for     pages        GraphiQL and the dashboard: files under web/
    execution/   documents, plans and how they run
    guards       what one operation may be              schema       Query and its resolvers
    graph        the object types
    operation    one operation: who asks, when, what it looks up
    selection    which fields it selected               paging       which rows a connection's arguments mean
    cache        PageCache: pages kept for a short while
    activity     which sessions have moved since        demand       what was wanted lately
    sessions     those looked up by id, kept one by one asking       who waits, and what becomes of it
    freshness    how old what is held may be            underway     requests under way, which others join
    store        where pages are held                   bound        a bound in bytes
    shared       what processes have in common          records      pages and sessions as a Redis holds them
    turns        whose turn it is to ask                cells        sessions as the text that Redis holds
    link         a Redis, and life without it           address      where it is: a URL
    flights      work that several wait for             slots        how many requests may be under way, and wait
    breaker      who keeps failing is left alone        rates        how often a client may ask
    budget       how often LangSmith may be asked       window       requests counted, in the last seconds
    upstream     one GET of LangSmith                   refusal      what it means when it does not answer
    transport    the HTTP transport it is asked over    body         what it answers, in bounds
    page         PageQuery and Page: values             clocks       what the time is
    inputs       ONE PLACE for arguments                session      ONE PLACE for fields
    feedback     feedback statistics                    decoding     bytes into structs
    scalars      how values are read and printed        credentials  who asks
    trace        what a root field cost upstream        drain        SIGTERM, in two steps
    tracing      spans, for who traces
    settings · metrics · log · errors

    emulator/    an embedded LangSmith for `--demo` and the tests; imports nothing of the rest
"""

__version__ = "0.1.0"
