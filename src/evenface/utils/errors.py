"""Errors: of what a user gave, and of one sample that cannot be used."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, a setting.

    The command line prints the message after ``evenface:`` and ends with exit code 2, without a
    traceback. The first line states the problem and its location; ``hint`` states what to do.

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


class SampleError(Exception):
    """A sample cannot be used; the text is the reason, its kind before the first colon."""


class NoFaceError(SampleError):
    """An image is readable, but no face was found in it."""
