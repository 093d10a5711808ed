"""The one error type a user meets: a single line that says what is wrong and what to do."""


class AigqError(Exception):
    """Something the user can mend. The CLI prints it as one line and exits with code 1."""


class ServiceAbsent(AigqError):  # noqa: N818 - it says nothing about what was asked for
    """A service does not answer: the same call may succeed later."""


class NothingToDo(AigqError):  # noqa: N818 - a fact about the day, not a fault
    """The stage has nothing to do for the day. Exit code 99: the scheduler skips it."""


class OutsideTheLog(NothingToDo):
    """The log source does not cover the day."""
