"""A real PostgreSQL server from this machine's binaries, for as long as a test needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.service import free_port

USER = "shopkeeper"
PASSWORD = "hunter2-of-the-database"


class Missing(Exception):  # noqa: N818 - not an error where no server is needed
    """No server can run here; the message says why."""


class Postgres:
    """Runs between `__enter__` and `__exit__`, on loopback only, with its data in a temporary folder."""

    def __init__(self) -> None:
        self._binaries = find_binaries()
        self._run_as: list[str] = []
        self.port = free_port()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        try:
            if os.geteuid() == 0:
                # PostgreSQL refuses to run as root.
                user = find_user()
                # Not Popen's `user`: it would fork, which may crash while gRPC runs in this process.
                self._run_as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
                os.chown(self._folder, user.pw_uid, user.pw_gid)
            password = self._folder / "password"
            password.write_text(PASSWORD)
            password.chmod(0o644)  # other users cannot enter the folder
            options = ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C", "--no-sync"]
            self._run("initdb", "--pgdata=data", f"--username={USER}", *options)
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    def start(self) -> None:
        """Return when the server accepts connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log", f"--options={options}")

    def stop(self) -> None:
        """End the server and its connections at once, if it is running."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "--wait", "--pgdata=data", "--mode=fast")

    def create(self, database: str) -> str:
        """Return the URL of a new database."""
        self.query("postgres", f'CREATE DATABASE "{database}"')
        return self.url(database)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def query(self, database: str, statement: str) -> list[list[str]]:
        """Return the rows, as text."""
        output = self._run("psql", *self._client(database), "-c", statement)
        return [line.split("|") for line in output.splitlines()]

    @contextmanager
    def holding(self, database: str, statement: str) -> Iterator[None]:
        """Execute `statement` without committing it, so that others who need the lock wait until the block ends."""
        with subprocess.Popen(
            [*self._run_as, self._binaries / "psql", *self._client(database)],
            cwd=self._folder,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        ) as psql:
            assert psql.stdin
            assert psql.stdout
            psql.stdin.write(f"BEGIN; {statement};\n\\echo held\n")
            psql.stdin.flush()
            assert psql.stdout.readline() == "held\n"
            yield
            psql.communicate("ROLLBACK;\n")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server's processes: the kernel still accepts connections and data, but nothing is answered."""
        first = int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(first, signal.SIGSTOP)  # first, so that it starts no others
        processes = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def _client(self, database: str) -> list[str]:
        where = ["--host=127.0.0.1", f"--port={self.port}", f"--username={USER}", f"--dbname={database}"]
        return [*where, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only"]

    @property
    def _environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LC_ALL": "C", "PGPASSWORD": PASSWORD}

    def _run(self, program: str, *arguments: str) -> str:
        # Into a file: the server inherits the output of pg_ctl, and would keep a pipe open.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            done = subprocess.run(
                [*self._run_as, self._binaries / program, *arguments],
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            output.seek(0)
            printed = output.read()
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}:\n{printed}")
        return printed

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def find_binaries() -> Path:
    """Return the folder of the newest server. Debian has them outside of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    folders = [*versions[::-1], *([Path(on_path).resolve().parent] if on_path else [])]
    for folder in folders:
        if all((folder / program).exists() for program in ("initdb", "pg_ctl", "postgres", "psql")):
            return folder
    raise Missing("PostgreSQL is not installed on this machine (Debian's package `postgresql`).")


def find_user(names: Sequence[str] = ("postgres", "nobody")) -> pwd.struct_passwd:
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing(f"PostgreSQL does not run as root, and this machine has none of the users {', '.join(names)}.")
