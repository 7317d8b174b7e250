"""Words for messages."""


def one_line(error: object) -> str:
    """The words of an error, without line breaks and at most 200 characters, never empty."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return " ".join(str(error).split())[:200] or type(error).__name__
