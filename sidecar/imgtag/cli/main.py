"""The command `imgtag`: finds the command that is wanted, and says in plain words what went wrong."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgtag import __version__
from imgtag.errors import ConfigError, ImgtagError

if TYPE_CHECKING:
    from imgtag.config.configuration import Config

DONE, FAILED, USAGE, CONFIGURATION, INTERRUPTED = 0, 1, 2, 78, 130

COMMANDS = {
    "run": "Label what the source reports, until stopped.",
    "label": "Classify pictures and print their labels; nothing is written.",
    "search": "Search the index.",
    "similar": "Find pictures that look like one.",
    "demo": "Label sample pictures in a temporary folder and search them.",
    "setup": "Make what is missing on the servers (index, stream, notifications), or take it back.",
    "doctor": "Check everything that the sidecar depends on.",
    "policy": "Print the least permissions that the sidecar needs on its servers.",
    "status": "Show how a running sidecar is, again and again.",
    "dlq": "List, retry or drop the work that was given up.",
    "config": "Check or show the configuration, or print an example.",
    "models": "List, add, choose, try, calibrate and compare models.",
    "plugins": "List the plugins that were found.",
}
"""A command's module is imported only when it is run, so its line of help stands here."""


@dataclass
class App:
    """What the options before the command say; filled in when they are read."""

    config_file: Path | None = None
    verbose: int = 0

    def load(self) -> Config:
        """The configuration. Raises InvalidConfig."""
        from imgtag.config.load import load  # noqa: PLC0415  (not every command needs it)

        return load(self.config_file)


pass_app = click.make_pass_decorator(App, ensure=True)


class _Commands(click.Group):
    """A group whose commands are modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"imgtag.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file. Default: $IMGTAG_CONFIG, else /etc/imgtag/imgtag.toml, else ./imgtag.toml.",
)
@click.option("-v", "--verbose", count=True, help="Show tracebacks of errors.")
@click.version_option(__version__, prog_name="imgtag")
@pass_app
def cli(app: App, config_file: Path | None, verbose: int) -> None:
    """Label the images of an S3-compatible store beside the store, and make them searchable."""
    app.config_file, app.verbose = config_file, verbose


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. A command may return one itself, None is 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    app = App()
    try:
        code = cli.main(list(arguments), prog_name="imgtag", standalone_mode=False, obj=app)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as error:  # Ctrl-C, or a question that was answered with no
        return INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else FAILED
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (the last one to catch: all becomes words)
        return _failed(error, verbose=app.verbose > 0)
    return code if isinstance(code, int) else DONE


def _failed(error: BaseException, *, verbose: bool) -> int:
    """Say what went wrong; errors that several tasks raised together are said one by one."""
    causes = list(_single(error))
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        return INTERRUPTED
    if any(isinstance(cause, BrokenPipeError) for cause in causes):
        return _broken_pipe()
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    for line in dict.fromkeys(line for cause in causes for line in _lines(cause)):
        click.echo(line, err=True)
    return CONFIGURATION if any(isinstance(cause, ConfigError) for cause in causes) else FAILED


def _single(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _single(part)
    else:
        yield error


def _lines(error: BaseException) -> Iterator[str]:
    """The error, what it came from, and what can be done."""
    if isinstance(error, ImgtagError):
        yield from (f"imgtag: {line}" for line in error.message.splitlines())
        yield from (f"caused by: {_words(cause)}" for cause in _chain(error))
        if error.hint:
            yield f"hint: {error.hint}"
    else:
        yield f"imgtag: internal error: {_words(error)}"
        yield from (f"caused by: {_words(cause)}" for cause in _chain(error))
        yield "hint: Run it again as `imgtag -v ...` for the traceback, and report that."


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    following = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ImgtagError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _broken_pipe() -> int:
    """Whoever read our results has enough; the interpreter must not complain when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
