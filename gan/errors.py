"""The one error class for what a user can cause."""

LONGEST = 2000  # characters of a message


class UserError(Exception):
    """A mistake that a user can correct.

    The message is one line that names the file or option, the rule, the value and the remedy.
    The command line prints it without a traceback and exits with 1. Names and values in it can come from anywhere:
    what does not print (line breaks, escape sequences of terminals) is shown as Python writes it, and what is too long
    is left out of the middle, since the remedy is at the end.
    """

    def __init__(self, message: str) -> None:
        line = one_line(message)
        if len(line) > LONGEST:
            line = f"{line[: LONGEST - 600]} [...] {line[-500:]}"
        super().__init__(line)


def one_line(text: str) -> str:
    r"""Return a text in which all that does not print is written out: a line break is \n, half a character \udc80."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class NotFiniteError(UserError):
    """A generator whose images hold NaN or infinity: its training diverged."""


class DeviceError(UserError):
    """A GPU that failed or disappeared: nothing else can be computed on it in this process."""


class Interrupted(Exception):  # noqa: N818 -- not an error: the user asked for it
    """Work stopped by Ctrl-C or SIGTERM, with everything stored. The message says how to go on."""
