"""The blocks of app/http/clients.md run in an empty folder as they stand, with the packages of the install line."""

import asyncio
import os
import re
import shlex
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.node import FOLDER, needs_node, output_of
from tests.conftest import Gateway, create_http_client
from tests.support.markdown import GENERATED
from tests.support.paths import APP

pytestmark = pytest.mark.xdist_group("node")

PAGE = (APP / "http" / "clients.md").read_text()
DEMO = "http://127.0.0.1:8000"
_PROGRAMS = {"relay-compiler", "graphql-codegen", "tsc"}
_IMPORT = re.compile(r"""(?:from|import) ['"]((?:@[\w-]+/)?[\w-]+)""")


class Section(NamedTuple):
    title: str
    files: dict[str, str]
    """Text by path, relative to the folder of the client."""
    commands: list[list[str]]


def sections() -> dict[str, Section]:
    found = {}
    for text in PAGE.split("\n## ")[1:]:
        files = {}
        for _, name, part, _ in GENERATED.findall(text):
            path = Path(name).relative_to("tests/clients")
            in_folder = path.relative_to(path.parts[0]) if len(path.parts) > 1 else path
            _, _, code = part.partition("\n```")
            files[in_folder.as_posix()] = code.partition("\n")[2].rpartition("```")[0]
        commands = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).splitlines()
        title = text.partition("\n")[0]
        found[title] = Section(title, files, [shlex.split(each) for each in commands])
    return found


SECTIONS = sections()
NODE = {
    "Rules for all clients",
    "Apollo Client 4",
    "urql with graphcache",
    "Relay",
    "GraphQL Code Generator",
    "Clients that read JSON only",
}


def paste(section: Section, folder: Path, url: str) -> None:
    for name, text in section.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace(DEMO, url))


def install(folder: Path, *packages: str) -> None:
    """Links to the installed packages that a command names, and to no others."""
    for package in packages:
        link = folder / "node_modules" / package
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(FOLDER / "node_modules" / package)


async def run(command: list[str], folder: Path, url: str) -> str:
    """Run a command as a shell does, except that packages are not downloaded. Returns the output."""
    match [each.replace(DEMO, url) for each in command]:
        case ["npm", "install", *packages]:
            install(folder, *(each for each in packages if not each.startswith("--")))
        case ["curl", "-s", address, "-o", name]:
            async with create_http_client(url) as client:
                (folder / name).write_text((await client.get(address)).text)
        case ["npx", program, *arguments] | [program, *arguments] if program in {"node", *_PROGRAMS}:
            return await output_of(program, *arguments, cwd=folder)
        case other:
            raise AssertionError(other)
    return ""


def test_every_section_with_a_file_has_commands_that_the_tests_run() -> None:
    assert {title for title, section in SECTIONS.items() if section.files} == {*NODE, "gql for Python"}
    assert all(section.commands for section in SECTIONS.values() if section.files)


@needs_node
@pytest.mark.parametrize("title", sorted(NODE))
async def test_pasted_blocks_of_a_node_client_run_in_an_empty_folder(
    gateway: Gateway, tmp_path: Path, title: str
) -> None:
    await output_of("node", "--version", cwd=tmp_path)  # installs the packages
    url = str(gateway.client.base_url).rstrip("/")
    paste(SECTIONS[title], tmp_path, url)
    output = [await run(command, tmp_path, url) for command in SECTIONS[title].commands]
    if not any("tsc" in command for command in SECTIONS[title].commands):
        names = await gateway.data("{ sessions(first: 3) { nodes { name } } }")
        for node in names["sessions"]["nodes"]:
            assert node["name"] in output[-1]


@pytest.mark.parametrize("title", sorted(NODE))
def test_install_line_names_every_package_that_the_blocks_import(title: str) -> None:
    section = SECTIONS[title]
    imported = {name for text in section.files.values() for name in _IMPORT.findall(text)}
    installed = {each for command in section.commands if command[:2] == ["npm", "install"] for each in command[2:]}
    assert imported <= installed


async def test_pasted_blocks_of_gql_run_in_an_empty_folder(gateway: Gateway, tmp_path: Path) -> None:
    section, url = SECTIONS["gql for Python"], str(gateway.client.base_url).rstrip("/")
    paste(section, tmp_path, url)
    [[*pip, requirement], [*python, program]] = section.commands
    assert (pip, python) == (["pip", "install"], ["python"])
    name, extra = re.fullmatch(r"(\w+)\[(\w+)\]", requirement).groups()  # type: ignore[union-attr] # fails the test
    assert extra in (metadata(name).get_all("Provides-Extra") or [])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-Werror",
        program,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    names = await gateway.data("{ sessions(first: 3) { nodes { name } } }")
    for node in names["sessions"]["nodes"]:
        assert node["name"] in out.decode()
