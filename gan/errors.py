"""The one error class for what a user can cause."""


class UserError(Exception):
    """A mistake that a user can correct.

    The message is one line that names the file or option, the rule, the value and the remedy.
    The command line prints it without a traceback and exits with 1.
    """


class NotFiniteError(UserError):
    """A generator whose images hold NaN or infinity: its training diverged."""


class Interrupted(Exception):  # noqa: N818 -- not an error: the user asked for it
    """Work stopped by Ctrl-C or SIGTERM, with everything stored. The message says how to go on."""
