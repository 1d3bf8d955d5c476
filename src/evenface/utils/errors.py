"""The one error that a user is meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, a setting.

    The command line prints the message after ``evenface:`` and ends with exit code 2, without a
    traceback. The first line says what was wrong and where; ``hint`` says what to do.

    Parameters
    ----------
    message : str
        What was wrong and where, in one sentence.
    hint : str, optional
        What to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n  {hint}" if hint else message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str], dict[str, object]]:
        """Pickle message and hint, so that an error in a worker process arrives as it was."""
        return type(self), (self.message, self.hint), self.__dict__
