import asyncio
from datetime import timedelta
from urllib.request import urlopen

from with_gql import create_client, poll

QUERY = "query ($last: Duration!) { sessions(first: 3) { nodes { name totalCost stats(last: $last) { runCount } } } }"


async def main() -> None:
    sdl = urlopen("http://127.0.0.1:8000/schema.graphql").read().decode()
    client = create_client("http://127.0.0.1:8000/graphql", {"X-API-Key": "demo"}, sdl)
    async for answer in poll(client, QUERY, {"last": timedelta(days=1)}):
        print(answer)
        break


asyncio.run(main())
