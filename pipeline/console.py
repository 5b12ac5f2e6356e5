"""What the command line prints: names, messages and errors, each in one line."""

import logging
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from gan.errors import Interrupted, UserError, one_line


class _OneLine(logging.Formatter):
    """Writes a message in one line that prints, whatever names it quotes; a traceback stays as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- overrides
        return one_line(super().formatMessage(record))


def log_in_lines() -> None:
    """Write what is logged to the error stream."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)  # whatever a library set up


def short_path(path: Path) -> str:
    """Return a path as seen from the working directory."""
    return one_line(str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path))


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Handle a signal as Python handles Ctrl-C."""
    raise KeyboardInterrupt


def run_command_line(command: click.Command) -> None:
    """Run a command: what a user can cause ends with one line and a non-zero exit status."""
    signal.signal(signal.SIGTERM, interrupt)
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" See {context.command_path} --help." if context else ""
        _fail(f"{error.format_message()}{hint}", error.exit_code)
    except UserError as error:
        _fail(str(error), 1)
    except Interrupted as stop:
        _fail(str(stop), 130)
    except (KeyboardInterrupt, click.Abort):
        _fail("Stopped. What was finished is kept; the same command does the rest.", 130)
    except OSError as error:
        _fail(f"{error.filename or 'The system'}: {error.strerror or error}. Free space or choose another folder.", 1)
    except Exception as error:
        from pipeline.tracking import StoreError
        from pipeline.tracking.failures import reason, remedy

        if not isinstance(error, StoreError):
            raise  # a bug of ours: with its traceback
        _fail(f"The tracking store failed: {reason(error).rstrip('.')}; {remedy(error)}.", 1)


def _fail(message: str, status: int) -> None:
    line = one_line(message)
    click.echo(f"Error: {line}" if status != 130 else line, err=True)
    sys.exit(status)
