"""The one error type a user meets: a single line that says what is wrong and what to do."""


class AigqError(Exception):
    """Something the user can mend. The CLI prints it as one line and exits with code 1."""


class OutsideTheLog(AigqError):  # noqa: N818 - a fact about the day, not a fault
    """The log source does not cover the day. Exit code 99: the scheduler skips such a day."""
