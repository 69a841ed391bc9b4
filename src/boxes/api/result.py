"""How a program ended, and what it wrote and used."""

from __future__ import annotations

from dataclasses import dataclass

from boxes.errors import ProgramError


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a program in a container.

    `exit_code` is the program's own, or None if a signal ended it; then `signal` is its number. `stdout` and `stderr`
    are what was captured, at most `max_output` bytes each; `stdout_dropped` and `stderr_dropped` say how many more
    there were. `cpu_time` is in seconds, `memory_peak` in bytes: those of the whole container, or, without cgroups and
    for an `exec`, those of the process and its children that it has waited for. `oom_killed` is None if nobody counts.
    `limits` is what holds the limits: "cgroups", "rlimits" where no cgroup may be made, or "none".
    """

    args: tuple[str, ...]
    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    stdout_dropped: int
    stderr_dropped: int
    timed_out: bool
    oom_killed: bool | None
    cpu_time: float
    memory_peak: int
    limits: str

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.exit_code == 0 and not self.timed_out

    def check(self) -> Result:
        """This result, if it is good. Raises ProgramError."""
        if self.ok:
            return self
        name = self.args[0] if self.args else "the program"
        if self.timed_out:
            raise ProgramError(f"'{name}' did not end in time", result=self)
        how = f"signal {self.signal}" if self.exit_code is None else f"exit status {self.exit_code}"
        hint = "it had no memory left" if self.oom_killed else None
        raise ProgramError(f"'{name}' ended with {how}", result=self, hint=hint)
