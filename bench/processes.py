"""Worker processes (worker.py), one per library, and their commands. Only one of them works at a time."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from fastreg.benchmarks.environment import free_environment

HERE = Path(__file__).resolve().parent


class WorkerError(RuntimeError):
    """A worker could not carry out a command. The message says why."""


class Worker:
    """A process for one library, free of environment variables that would slow it down."""

    def __init__(self, name, extra_environment=None):
        self.name = name
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed together with the worker
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=free_environment() | (extra_environment or {}),
        )

    def ask(self, do, **more):
        """The answer to a command."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.log.seek(0)
            raise WorkerError(f"{self.name}: its process has ended. {self.log.read()[-500:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
