"""A Python client of the gateway, with gql."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.utilities import update_schema_scalars
from graphql import GraphQLScalarType, build_schema


def create_client(url: str, headers: Mapping[str, str], sdl: str) -> Client:
    """`sdl`: the text of the gateway's `/schema.graphql`, which validates operations before they are sent."""
    schema = build_schema(sdl)
    date_times = GraphQLScalarType("DateTime", serialize=datetime.isoformat, parse_value=datetime.fromisoformat)
    decimals = GraphQLScalarType("Decimal", serialize=str, parse_value=Decimal)
    durations = GraphQLScalarType("Duration", serialize=as_duration)
    update_schema_scalars(schema, [date_times, decimals, durations])
    transport = AIOHTTPTransport(url, headers={"accept": "application/graphql-response+json", **headers})
    return Client(transport=transport, schema=schema, serialize_variables=True, parse_results=True)


def as_duration(value: timedelta | str) -> str:
    return value if isinstance(value, str) else f"PT{int(value.total_seconds())}S"


async def poll(
    client: Client, query: str, variables: Mapping[str, Any] | None = None, seconds: float = 15
) -> AsyncGenerator[dict[str, Any], None]:
    request = gql(query)
    # gql refuses an empty dict of variables for an operation that has none.
    request.variable_values = dict(variables or {}) or None
    async with client as session:
        while True:
            yield await session.execute(request)
            await asyncio.sleep(seconds)
