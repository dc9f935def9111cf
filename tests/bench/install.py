"""Installs the requirements of the benchmark: Debian packages, npm packages, and a newer C library for one peer."""

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
    """A requirement is missing. The message has the command that would install it."""


def debian_packages(**packages: str) -> None:
    """Install the packages whose program is missing. Keywords map each program to its package.

    Raises NotInstalledError without root.
    """
    missing = {package for program, package in packages.items() if shutil.which(program) is None}
    if not missing:
        return
    names = sorted(missing)
    command = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(names)}"
    if os.geteuid() != 0:
        raise NotInstalledError(f"needs Debian's {', '.join(names)}; as root: {command}")
    click.echo(f"Installing Debian's {', '.join(names)}.", err=True)
    _run(["apt-get", "update", "--quiet"])
    # In runlevel 1 the package does not start nginx as a service, which would take port 80.
    env = {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *names], env=env)


def npm(folder: Path) -> None:
    """Install the packages of the folder's lock file, unless this version of it is installed already."""
    lock, done = folder / "package-lock.json", folder / "node_modules" / ".bench-lock.json"
    if done.exists() and done.read_bytes() == lock.read_bytes():
        return
    if shutil.which("npm") is None:
        raise NotInstalledError("needs Node.js 20 with npm")
    click.echo(f"Installing {folder.name} from npm.", err=True)
    _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
    shutil.copyfile(lock, done)


def supergraph(folder: Path) -> None:
    """Build the supergraph that Hive Gateway serves, with Hive's own tool, if a source is newer than it."""
    built, sources = folder / ".built" / "supergraph.graphql", ("mesh.config.js", "openapi.json")
    if built.exists() and all(built.stat().st_mtime > (folder / each).stat().st_mtime for each in sources):
        return
    built.parent.mkdir(exist_ok=True)
    _run(["node_modules/.bin/mesh-compose", "--config-path", "mesh.config.js"], cwd=folder)


def c_library(folder: Path) -> None:
    """Put Debian 13's C library (2.41) into a folder, for a program that Debian 12's (2.36) is too old for."""
    if all((folder / name).exists() for name in _LIBRARIES):
        return
    debian_packages(debootstrap="debootstrap")
    if os.geteuid() != 0:
        raise NotInstalledError("needs debootstrap to be run as root, once")
    click.echo("Installing the C library of Debian 13 with debootstrap.", err=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trixie-") as root:
        # The first stage only unpacks the packages; the result is never booted or entered.
        _run(["debootstrap", "--foreign", "--variant=minbase", "--include=libgcc-s1", "trixie", root])
        for name in _LIBRARIES:
            shutil.copy(Path(root, "usr/lib/x86_64-linux-gnu", name), folder / name)


def _run(argv: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    all_env = {**os.environ, **(env or {})}
    ended = subprocess.run(argv, cwd=cwd, env=all_env, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = (ended.stdout + ended.stderr).splitlines()
        raise NotInstalledError(f"{' '.join(argv)} failed:\n" + "\n".join(lines[-10:]))
