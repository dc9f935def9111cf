"""The container image, tested without a container engine: the steps of the Dockerfile run in directories instead."""

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

from app import __main__ as command_line
from app.command_line.serve import SHUTDOWN_SECONDS
from app.settings import Settings
from tests.support.paths import ROOT
from tests.support.real_redis import SERVER_PATH, free_port
from tests.test_command_line import STOPPED, Server, announced, environment

DOCKERFILE = ROOT / "Dockerfile"
COMPOSE: Any = yaml.safe_load((ROOT / "compose.yaml").read_text())
PASSWORD = "0123456789abcdef"
PORT = "8000"

# The tests of one group run in one process, so that they share the built image.
pytestmark = [pytest.mark.xdist_group("deploy"), pytest.mark.timeout(180)]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: name and arguments."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [
        (name, arguments.strip()) for name, _, arguments in (line.partition(" ") for line in text.splitlines() if line)
    ]


def last_instruction(name: str) -> str:
    return [arguments for instruction, arguments in instructions() if instruction == name][-1]


def health_check() -> list[str]:
    command: list[str] = json.loads(last_instruction("HEALTHCHECK").partition("CMD ")[2])
    return command


def is_sent(path: str) -> bool:
    """Whether the file is part of the build context: the last matching line of `.dockerignore` decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if re.fullmatch(f"{pattern}(/.*)?", path):
                sent = line.startswith("!")
    return sent


def project_files() -> list[str]:
    """Files of the working tree, committed or not, except those that git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in printed.splitlines() if (ROOT / path).is_file()]


@dataclass
class Image:
    """The built image: `root` stands for the file systems of both stages, `context` is the build context."""

    root: Path
    context: Path
    cwd: Path = field(init=False)
    variables: dict[str, str] = field(default_factory=environment)

    def __post_init__(self) -> None:
        self.cwd = self.root

    def relocate(self, text: str) -> str:
        """Replace absolute paths of the image by paths below `root`."""
        return re.sub(r"(?<![\w./:])/(build|wheels|opt|srv)(?=[/\s:]|$)", rf"{self.root}/\1", text)

    def run(self, instruction: str, arguments: str) -> None:
        match instruction:
            case "WORKDIR":
                self.cwd = Path(self.relocate(arguments))
                self.cwd.mkdir(parents=True, exist_ok=True)
            case "COPY" if not arguments.startswith("--from"):
                *sources, target = arguments.split()
                for source in sources:
                    to = self.cwd / (Path(source).name if target == "./" else target)
                    (shutil.copytree if (self.context / source).is_dir() else shutil.copy)(self.context / source, to)
            case "RUN":
                # pip uses the package index that this machine is configured for.
                subprocess.run(["sh", "-euc", self.relocate(arguments)], cwd=self.cwd, env=self.variables, check=True)
            case "ENV":
                for assignment in arguments.split():
                    key, _, value = assignment.partition("=")
                    self.variables[key] = self.relocate(value).replace(f"${key}", self.variables.get(key, ""))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("deploy")
    context = folder / "context"
    for path in filter(is_sent, project_files()):
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, context / path)
    create_environment(folder / "base")
    image = Image(folder / "image", context)
    image.variables["PATH"] = f"{folder}/base/bin:{image.variables['PATH']}"
    for name, arguments in instructions():
        image.run(name, arguments)
    return image


def python() -> str:
    """The Python version of the image if this machine has it, or else the one that runs the tests."""
    preferred = shutil.which(f"python{build_argument('PYTHON')}") or sys.executable
    command = [preferred, "-c", "import venv"]
    works = subprocess.run(command, check=False, capture_output=True).returncode == 0
    return preferred if works else sys.executable


def create_environment(folder: Path) -> None:
    """A virtual environment with pip, also where Debian has left out ensurepip."""
    if subprocess.run([python(), "-m", "venv", folder], check=False, capture_output=True).returncode == 0:
        return
    subprocess.run([python(), "-m", "venv", "--clear", "--without-pip", folder], check=True)
    target = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "pip", "--python", target, "install", "pip"], check=True, capture_output=True)


def test_image_has_a_python_that_ci_looks_for() -> None:
    """CI tests the newest version from 3.12 on, besides 3.11."""
    assert re.fullmatch(r"3\.1[2-9]", build_argument("PYTHON"))
    assert r"python3\.(1[2-9]|[2-9][0-9])" in (ROOT / ".ci" / "run").read_text()


def build_argument(name: str) -> str:
    """Default of an `ARG` of the Dockerfile."""
    arguments = (text for instruction, text in instructions() if instruction == "ARG")
    return next(text.partition("=")[2] for text in arguments if text.startswith(name))


@contextlib.contextmanager
def running(image: Image, **variables: str) -> Iterator[Server]:
    """Start the image's command on a free port, in a directory that cannot be written."""
    command = [*json.loads(last_instruction("ENTRYPOINT")), *json.loads(last_instruction("CMD")), "--port", "0"]
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
            yield Server(process, *announced(process.stderr))
        finally:
            process.kill()


def files(folder: Path) -> dict[Path, int]:
    """Times of the last changes of all files below a folder."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_wheel_contains_the_gateway_and_nothing_else(image: Image) -> None:
    (wheel,) = (image.root / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"app", "sessions_gateway"}
    sent = [path for path in project_files() if path.startswith("app/") and is_sent(path)]
    needed = {path for path in sent if not Path(path).name.startswith(".") and Path(path).suffix != ".md"}
    web = {path for path in needed if path.startswith("app/web/") and Path(path).suffix not in {".html", ".js", ".css"}}
    assert needed - web <= names
    pages = {name for name in names if name.startswith("app/web/") and name.endswith("/index.html")}
    assert pages == {"app/web/dashboard/index.html", "app/web/graphiql/index.html"}
    assert not [name for name in names if "test" in name.lower() or "bench" in name or "/source/" in name]


def test_the_image_has_a_working_gateway_and_no_development_packages(image: Image) -> None:
    with (ROOT / "schema.graphql").open() as schema:
        printed = run_in(image, "sessions-gateway", "schema")
        assert printed == schema.read()
    installed = run_in(
        image, "python", "-c", "import importlib.metadata as m; print([d.name for d in m.distributions()])"
    )
    names = {name.lower() for name in ast.literal_eval(installed)}
    assert "sessions-gateway" in {name.replace("_", "-") for name in names}
    assert names.isdisjoint({"pytest", "ruff", "mypy", "hypothesis", "schemathesis", "pip", "setuptools", "wheel"})


def run_in(image: Image, *command: str) -> str:
    """Run a program of the image, and return its output."""
    program = shutil.which(command[0], path=image.variables["PATH"])
    assert program
    assert Path(program).is_relative_to(image.root)
    printed = subprocess.run(
        [program, *command[1:]], cwd=image.cwd, env=image.variables, check=True, capture_output=True
    )
    return printed.stdout.decode()


def test_the_images_command_serves_all_pages_and_writes_no_files(image: Image) -> None:
    before = files(image.root)
    with running(image) as server:
        port = server.url.split(":")[2].split("/")[0]
        check = [argument.replace(f":{PORT}/", f":{port}/") for argument in health_check()]
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


def test_dockerfile_compose_and_command_line_use_the_same_port() -> None:
    printed = CliRunner().invoke(command_line.main, ["serve", "--help"]).output
    assert f"[default: {PORT}" in printed
    assert last_instruction("EXPOSE") == PORT
    assert f":{PORT}/readyz" in health_check()[-1]
    assert COMPOSE["services"]["gateway"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]


def test_the_last_stage_runs_no_build_step_and_has_an_unprivileged_user() -> None:
    names = [name for name, _ in instructions()]
    last_stage = instructions()[len(names) - names[::-1].index("FROM") :]
    assert "RUN" not in [name for name, _ in last_stage]
    assert [arguments for name, arguments in last_stage if name == "COPY"] == ["--from=build /opt/gateway /opt/gateway"]
    assert int(last_instruction("USER").partition(":")[0]) >= 1000
    assert "://" not in "".join(arguments for name, arguments in instructions() if name == "RUN")


def test_the_build_context_contains_exactly_the_copied_files() -> None:
    sent = [*filter(is_sent, project_files())]
    copies = [text.split()[:-1] for name, text in instructions() if name == "COPY" and "--from" not in text]
    assert {path.split("/")[0] for path in sent} == {source for sources in copies for source in sources}
    assert not [path for path in sent if "__pycache__" in path or "/source/" in path]


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    printed = subprocess.run([hadolint, DOCKERFILE], check=False, capture_output=True, text=True)
    assert (printed.returncode, printed.stdout) == (0, "")


def interpolated(text: str) -> str:
    """Replace variables as compose does if only REDIS_PASSWORD is set."""
    text = re.sub(r"\$\{REDIS_PASSWORD:\?[^}]*\}", PASSWORD, text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_compose_gives_the_gateway_only_known_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = COMPOSE["services"]["gateway"]
    for name, value in gateway["environment"].items():
        monkeypatch.setenv(name, interpolated(value))
    settings = Settings.load()
    assert settings.cache_url.get_secret_value() == f"redis://:{PASSWORD}@redis:6379/0"
    assert (settings.upstream_rate, settings.client_rate, settings.cors_origins) == (None, None, ())
    known = {
        str(setting.validation_alias or f"GATEWAY_{name.upper()}") for name, setting in Settings.model_fields.items()
    }
    assert known.issuperset(gateway["environment"])
    assert gateway["command"][:3] == json.loads(last_instruction("CMD"))
    assert int(gateway["stop_grace_period"].removesuffix("s")) > SHUTDOWN_SECONDS


def test_every_service_of_compose_has_a_health_check_and_publishes_to_localhost_only() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"gateway", "redis", "prometheus"}
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"gateway"}
    assert last_instruction("HEALTHCHECK")
    assert services["gateway"]["read_only"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_prometheus_of_compose_scrapes_the_gateway() -> None:
    services = COMPOSE["services"]
    (config,) = services["prometheus"]["configs"]
    scraped = yaml.safe_load(COMPOSE["configs"][config["source"]]["content"])["scrape_configs"][0]
    assert scraped["dns_sd_configs"] == [{"names": ["gateway"], "type": "A", "port": int(PORT)}]
    assert f"--config.file={config['target']}" in services["prometheus"]["command"]


def test_the_redis_of_compose_has_a_memory_limit_no_persistence_and_a_password(tmp_path: Path) -> None:
    program, *options = map(interpolated, COMPOSE["services"]["redis"]["command"])
    assert program == "redis-server"
    port = free_port()
    command = [SERVER_PATH, *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port, password=PASSWORD) as client:
                deadline = time.monotonic() + STOPPED
                while True:
                    try:
                        assert client.ping()
                        break
                    except redis.ConnectionError:
                        assert time.monotonic() < deadline
                settings: Any = client.config_get("*")
            assert (settings["maxmemory"], settings["maxmemory-policy"]) == (str(256 << 20), "allkeys-lru")
            assert (settings["save"], settings["appendonly"]) == ("", "no")
            with redis.Redis(port=port) as without_password, pytest.raises(redis.AuthenticationError):
                without_password.ping()
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []
