"""The one error type a user meets: a single line that says what is wrong and what to do."""


class AigqError(Exception):
    """Something the user can mend. The CLI prints it as one line and exits with code 1."""
