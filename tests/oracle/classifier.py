"""What `pgrouter classify` says, asked as often as the catalog changes.

Each question is a new run of the command, which reads the catalog when it starts. A process that has imported the
command already and forks for every question makes that cost what reading the catalog costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oracle.servers import Pair


# The route of a statement at which the command broke down, and how many of those in a row mean that it cannot start.
CRASH = "crash"
CRASHES_AT_ONCE = 5


class ClassifierError(RuntimeError):
    """The command does not keep its contract; the text says how."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the command."""

    route: str
    reason: str


class Classifier:
    """Asks the command about statements of a database; a context manager."""

    def __init__(self, pair: Pair, **routing: object) -> None:
        self._directory = pair.cluster.workdir
        self._config = self._directory / "oracle.yml"
        self._config.write_text(yaml.safe_dump(settings(pair) | {"routing": routing}))
        (self._directory / "oracle.users").write_text('"postgres" "postgres"\n')

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes and waits: it ends with its stdin
            pass

    def ask(self, database: str, user: str, statements: Sequence[str]) -> list[Answer]:
        """Give the answers in order; a statement at which the command breaks down is answered CRASH, and it goes on."""
        answers: list[Answer] = []
        while len(answers) < len(statements):
            got, status, log = self._run(database, user, statements[len(answers) :])
            if status == 0 and len(got) + len(answers) != len(statements):
                raise ClassifierError(f"classify ended well after {len(got)} of {len(statements)} answers")
            answers += got
            if status != 0:
                if not got and len(answers) >= CRASHES_AT_ONCE and all(a.route == CRASH for a in answers):
                    raise ClassifierError(f"classify cannot start: exit {status}\n{log}")
                answers.append(Answer(CRASH, log.strip().rpartition("\n")[2]))
        return answers

    def _run(self, database: str, user: str, statements: Sequence[str]) -> tuple[list[Answer], int, str]:
        """Run the command once: its answers, its exit code, what it said on stderr."""
        asked, told, said = (self._directory / f"classify.{name}" for name in ("stdin", "stdout", "stderr"))
        asked.write_text("".join(json.dumps({"id": i, "sql": sql}) + "\n" for i, sql in enumerate(statements)))
        argv = ["classify", "--config", str(self._config), "--database", database, "--user", user]
        self._write({"argv": argv, "stdin": str(asked), "stdout": str(told), "stderr": str(said)})
        status = json.loads(self._process.stdout.readline())["status"]
        answers = [json.loads(line) for line in told.read_text().splitlines()]
        if [answer["id"] for answer in answers] != list(range(len(answers))):
            raise ClassifierError("classify answers out of order")
        return [Answer(answer["route"], answer["reason"]) for answer in answers], status, said.read_text()

    def _write(self, request: dict[str, Any]) -> None:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()


def settings(pair: Pair) -> dict[str, Any]:
    """Give the configuration that names both servers."""
    members = [{"name": server.name, "host": "127.0.0.1", "port": server.port} for server in pair.cluster.servers]
    monitor = {"user": "postgres", "password": "postgres", "database": "postgres"}
    return {
        "listen": [{"host": "127.0.0.1", "port": 0}],
        "cluster": {"source": "static", "members": members, "monitor": monitor},
        "auth": {"type": "trust", "users_file": "oracle.users"},
    }


def _serve() -> None:
    """Run the command in a fork for each line of stdin."""
    from pgrouter.cli import classify, main  # noqa: F401, PLC0415  (only the forking process pays for them)

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(_child(request, main.main))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps({"status": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


def _child(request: dict[str, Any], main: Any) -> int:
    try:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            setattr(sys, name, Path(request[name]).open(mode))  # noqa: SIM115  (open until the fork ends)
        status = int(main(request["argv"]))
    except BaseException:  # noqa: BLE001  (a fork must end here, whatever happened)
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    _serve()
