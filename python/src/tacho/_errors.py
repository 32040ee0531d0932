"""What can go wrong, for a person."""


class TachoError(Exception):
    """Says what was expected, what was found and what to do."""


class RunFailed(TachoError):
    """The `tacho` program ended without results. `code` is its exit status, `stderr` what it wrote."""

    def __init__(self, message: str, code: int, stderr: str) -> None:
        """With the program's exit status and what it wrote."""
        super().__init__(message)
        self.code = code
        self.stderr = stderr


class PointsFailedWarning(UserWarning):
    """Some point of a run could not be measured; the others are in the results."""
