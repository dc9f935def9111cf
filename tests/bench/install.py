"""What the benchmark takes: Debian's packages, npm's packages in a peer's folder, a newer C library in another."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

_LIBRARIES: Final = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libgcc_s.so.1")


class NotInstalledError(Exception):
    """What is missing, and the command that would install it."""


def debian(**packages: str) -> None:
    """Programs by name, each with the package that has it; installed if missing, which takes root."""
    missing = {package for program, package in packages.items() if shutil.which(program) is None}
    if not missing:
        return
    names = sorted(missing)
    command = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(names)}"
    if os.geteuid() != 0:
        raise NotInstalledError(f"needs Debian's {', '.join(names)}; as root: {command}")
    click.echo(f"Installing Debian's {', '.join(names)}.", err=True)
    _run(["apt-get", "update", "--quiet"])
    # Its service would take port 80, and nobody asked for it.
    no_service = {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *names], env=no_service)


def npm(folder: Path) -> None:
    """What the folder's lock file says, once."""
    lock, done = folder / "package-lock.json", folder / "node_modules" / ".bench-lock.json"
    if done.exists() and done.read_bytes() == lock.read_bytes():
        return
    if shutil.which("npm") is None:
        raise NotInstalledError("needs Node.js 20 with npm")
    click.echo(f"Installing {folder.name} from npm.", err=True)
    _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
    shutil.copyfile(lock, done)


def supergraph(folder: Path) -> None:
    """The supergraph that Hive Gateway serves, made by the peer's own tool."""
    made, sources = folder / ".built" / "supergraph.graphql", ("mesh.config.js", "openapi.json")
    if made.exists() and all(made.stat().st_mtime > (folder / each).stat().st_mtime for each in sources):
        return
    made.parent.mkdir(exist_ok=True)
    _run(["node_modules/.bin/mesh-compose", "--config-path", "mesh.config.js"], cwd=folder)


def c_library(folder: Path) -> None:
    """The C library of Debian 13 (2.41), for a program that wants a newer one than Debian 12 has (2.36)."""
    if all((folder / name).exists() for name in _LIBRARIES):
        return
    debian(debootstrap="debootstrap")
    if os.geteuid() != 0:
        raise NotInstalledError("needs debootstrap to be run as root, once")
    click.echo("Installing the C library of Debian 13 with debootstrap.", err=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trixie-") as root:
        # The first stage unpacks it; nothing in there is ever run as a system.
        _run(["debootstrap", "--foreign", "--variant=minbase", "--include=libgcc-s1", "trixie", root])
        for name in _LIBRARIES:
            shutil.copy(Path(root, "usr/lib/x86_64-linux-gnu", name), folder / name)


def _run(argv: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()
        raise NotInstalledError(f"{' '.join(argv)} failed:\n" + "\n".join(lines[-10:]))
