"""GraphQL over HTTP: everything between the socket and the executor.

`server.create_http_app` assembles this room; `app.main` calls it. A request passes, in this order:

    uvicorn_protocol    recognises heads that known_heads has seen before, without parsing them (raw_request)
    framed_protocol, bounded_protocol   the layers below it: requests framed, and bounded by connection_limits
    request_head        the limits of a request's head; response_cycle: writes the response
    server, middleware  FastAPI, and the middleware around it as one list; cors; routes and web_pages for other paths
    endpoint            GraphQLEndpoint, which calls the files below: read it first
    negotiation         Accept and Cache-Control; graphql_head: all that the endpoint reads from a request's head
    params              body or query string, read, and parsed into GraphQLParams if no response is cached; json_members
    auth                the client's credential, and client_rate_limit: its rate (client_buckets, client_address)
    cached_answers      answers from response_cache, if the response is cached and fresh; otherwise the operation runs
    persisted_queries   the document behind a hash; trusted_documents: only documents of a manifest
    disconnects         cancels an operation whose client has disconnected
    response            the HTTP response for a result or error; compression; in parts: incremental, streamed_response

Beside the request: protocol_selection, graceful_shutdown, errors, and encoded_responses, which is for other paths.
"""
