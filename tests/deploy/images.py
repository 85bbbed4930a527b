"""Container images without a container engine: buildah builds them, namespaces of the kernel run them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.service import Service

PACKAGES = {
    "apt-get": "apt",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""Debian's package of each program that is needed."""

OWN_MOUNTS = ["unshare", "--mount"]
"""The command's mounts are gone when it ends."""

KEEP_OUT = """
set -eu
mount --bind /var/lib /var/lib
mount -o remount,bind,ro /var/lib
exec "$@"
"""
"""buildah writes a cache there, whatever its options; it works without one."""

STAND_IN = """
set -eu
container=$(buildah from scratch)
root=$(buildah mount "$container")
mmdebstrap --quiet --variant=apt --include=ca-certificates,python3,python3-pip \\
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \\
    --dpkgopt=force-unsafe-io \\
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \\
    "$2" "$root" "$3"
ln -s /usr/bin/python3 /usr/bin/pip3 "$root/usr/local/bin"
ln -s python3 "$root/usr/local/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python3 "$container"
buildah commit --quiet --format docker "$container" "$1"
"""
"""A Debian with Python, from this machine's mirror, laid out like Docker's `python` images."""

RELEASES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid"}
"""Debian's release with this version as its `python3`."""

RUN = """
set -eu
root=$(buildah mount "$1")
shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
"""
"""The first process of a container, before it turns into the container's own."""


class Missing(Exception):  # noqa: N818 - not an error where no image is needed
    """No image can be built here; the message says why."""


class Builder:
    """Builds images; everything that buildah writes is in `folder`."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            raise Missing("Images are built and run by root here.")
        if absent := sorted({package for program, package in PACKAGES.items() if not shutil.which(program)}):
            raise Missing(f"To build an image, this machine lacks Debian's package {', '.join(absent)}.")
        self.folder = folder
        self.is_another_python = False
        """Whether the base has another Python than its name says."""
        storage = folder / "storage"
        # A script finds the storage as buildah itself does: by environment variables.
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}"\nrunroot = "{folder / "run"}"\n', encoding="utf-8"
        )
        (folder / "tmp").mkdir()
        self.environ = {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "TMPDIR": str(folder / "tmp"),  # build caches are there too
        }

    def run(self, *command: str) -> str:
        """Return what the command prints; raise RuntimeError with all of it if it fails."""
        done = subprocess.run(
            [*OWN_MOUNTS, "sh", "-c", KEEP_OUT, "keep-out", *command],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def fetch(self, base: str) -> str:
        """Fetch `base` from its registry, or build a stand-in if that cannot be reached; return which."""
        try:
            self.run("timeout", "300", "buildah", "pull", "--quiet", base)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1]
        else:
            return f"{base} is from its registry"
        own, uri = apt_source()
        version = re.search(r"python:(\d+\.\d+)", base)
        suite = RELEASES.get(version[1], own) if version else own
        try:
            self.stand_in(base, suite, uri)
        except RuntimeError as error:
            if suite == own:
                raise
            self.stand_in(base, own, uri)
            self.is_another_python = True
            return f"{base} is a stand-in of {own}, with another Python: {reason}; {error}"
        return f"{base} is a stand-in of {suite}: {reason}"

    def stand_in(self, base: str, suite: str, uri: str) -> None:
        self.run("sh", "-c", STAND_IN, "stand-in", base, suite, f"deb {uri} {suite} main")

    def build(self, project: Path, tag: str, *options: str) -> str:
        """Build the project's Dockerfile and return what buildah prints."""
        variables, mounts = machine_settings()
        return self.run(
            *("buildah", "bud", "--format", "docker", "--pull-never", "--layers", "--tag", tag),
            *(f"--env={name}" for name in variables),
            *(f"--volume={mount}" for mount in mounts),
            *options,
            str(project),
        )

    def image(self, tag: str) -> Image:
        return Image(self, tag)


@dataclass(frozen=True)
class Image:
    builder: Builder
    tag: str

    @cached_property
    def _found(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.builder.run("buildah", "inspect", "--type", "image", self.tag))
        return found["Docker"]  # type: ignore[no-any-return]

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration as `docker inspect` shows it."""
        config: dict[str, Any] = self._found["config"]
        return config

    @property
    def environ(self) -> dict[str, str]:
        """Return the image's variables, without those that this machine needs to build one."""
        pairs = (pair.partition("=")[::2] for pair in self.config["Env"])
        return {name: value for name, value in pairs if name not in machine_settings()[0]}

    @property
    def command(self) -> list[str]:
        return [*(self.config["Entrypoint"] or []), *(self.config["Cmd"] or [])]

    @property
    def health_check(self) -> list[str]:
        kind, *command = self.config["Healthcheck"]["Test"]
        return command if kind == "CMD" else ["/bin/sh", "-c", *command]

    def layers_above(self, base: Image) -> list[tuple[str, int]]:
        """Return each layer's digest, and its unpacked size in bytes."""
        (index,) = self.builder.folder.glob("storage/*-layers/layers.json")
        layers = json.loads(index.read_text())
        sizes = {layer["diff-digest"]: layer["diff-size"] for layer in layers if "diff-digest" in layer}
        below, all_layers = (image._found["rootfs"]["diff_ids"] for image in (base, self))
        assert all_layers[: len(below)] == below
        return [(layer, sizes[layer]) for layer in all_layers[len(below) :]]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in its own container, and wait for it."""
        return subprocess.run(
            Container(self, variables).around(command),
            env=self.builder.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


class Container(Service):
    """Runs the image's own command as the image's user, in its folder and with its variables.

    It has its own namespaces for processes and mounts, a read-only root, a tmpfs on /tmp, and no way to gain
    privileges. It shares the machine's network, so it is configured to stay on loopback.
    """

    def __init__(self, image: Image, variables: Mapping[str, str]) -> None:
        super().__init__(image.builder.folder, Path(sys.executable), image.builder.folder)
        self.image = image
        self.variables = {**image.environ, "HOST": "127.0.0.1", "PORT": str(self.port), **variables}
        self.environ = image.builder.environ
        self._root = image.builder.run("buildah", "from", "--pull-never", image.tag).strip()

    @property
    def command(self) -> list[str]:
        return self.image.command

    def prepare(self) -> None:
        """Do nothing: a separate container prepares the database."""

    def around(self, command: Sequence[str]) -> list[str]:
        """Return the command that starts `command` as the first process of a new container."""
        namespaces = [*OWN_MOUNTS, "--pid", "--fork", "--kill-child"]
        return [*namespaces, "sh", "-c", RUN, "run", self._root, *self._as_configured(command)]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command next to the service, as `docker exec` does."""
        inside = ["nsenter", f"--target={self.first_process}", "--mount", "--pid", "--root"]
        return subprocess.run(
            [*inside, *self._as_configured(command)],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def terminate(self) -> None:
        os.kill(self.first_process, signal.SIGTERM)

    @property
    def first_process(self) -> int:
        """Return the container's process 1 as seen from outside."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)

    def _as_configured(self, command: Sequence[str]) -> list[str]:
        config = self.image.config
        user, _, group = config["User"].partition(":")
        return [
            *("setpriv", f"--reuid={user or 0}", f"--regid={group or user or 0}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
            *("env", "-i", f"--chdir={config['WorkingDir'] or '/'}"),
            *(f"{name}={value}" for name, value in self.variables.items()),
            *command,
        ]


def base_of(project: Path) -> str:
    """Return the image that the Dockerfile starts from."""
    for line in (project / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("FROM "):
            return line.split()[1]
    raise ValueError(f"{project} has a Dockerfile without FROM.")


def machine_settings() -> tuple[dict[str, str], list[str]]:
    """Return the variables and the files with which this machine reaches a package index."""
    names = re.compile(r"(PIP|UV)_\w+|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE")
    variables = {name: value for name, value in os.environ.items() if names.fullmatch(name)}
    files = ["/etc/pip.conf", "/etc/uv/uv.toml", "/etc/ssl/certs", *variables.values()]
    mounts = [file for file in dict.fromkeys(files) if file.startswith("/") and Path(file).exists()]
    return variables, [f"{file}:{file}:ro" for file in mounts]


def apt_source() -> tuple[str, str]:
    """Return this machine's release and its mirror, from apt's configuration."""
    release = dict(
        line.split("=", 1) for line in shlex.split(Path("/etc/os-release").read_text(encoding="utf-8")) if "=" in line
    )
    codename = release["VERSION_CODENAME"]
    targets = ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(targets, capture_output=True, text=True, check=True).stdout.splitlines():
        suite, component, uri = line.split()
        if (suite, component) == (codename, "main"):
            return codename, uri
    raise Missing(f"apt has no mirror of {codename}.")
