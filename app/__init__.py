"""A GraphQL gateway in front of LangSmith's `GET /api/v1/sessions`.

In reading order, each module using only those below it:

    __main__     the command line                       main         create_app: the only assembler
    http         GraphQL over HTTP                      cost         what an operation will ask of LangSmith
    execution    an operation: parsed, validated, run   schema       Query and its resolvers
    guards       what one operation may be              graph        the object types
    operation    one operation: who asks, when, what it looks up
    selection    which fields it selected               paging       which rows a connection's arguments mean
    cache        PageCache: pages kept for a short while
    store        where pages are held                   flights      work that several wait for
    upstream     one GET of LangSmith                   page         PageQuery and Page: values
    inputs       ONE PLACE for arguments                session      ONE PLACE for fields
    feedback     feedback statistics                    decoding     bytes into structs
    scalars      how values are read and printed        credentials  who asks
    trace        what a root field cost upstream        settings · metrics · log · errors

    emulator/    an embedded LangSmith for `--demo` and the tests; imports nothing of the rest
"""

__version__ = "0.1.0"
