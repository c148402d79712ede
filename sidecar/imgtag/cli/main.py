"""The command `imgtag`: runs a command, and explains in plain words what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from importlib import import_module
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import click

from imgtag import __version__
from imgtag.cli.terminal import escape, escape_lines, prepare_streams, require_utf8_mode
from imgtag.errors import ConfigError, ImgtagError

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from imgtag.config.configuration import Config

DONE, FAILED, USAGE, CONFIGURATION, INTERRUPTED = 0, 1, 2, 78, 130

COMMANDS = {
    "run": "Label new images, as the source reports them, until stopped.",
    "label": "Classify images and print their labels; nothing is written.",
    "search": "Search the index.",
    "facets": "Count labels, categories and more over what a query finds.",
    "similar": "Find images that look like one.",
    "search-token": "Let somebody search some buckets in Meilisearch itself.",
    "demo": "Label sample images in a temporary folder and search them.",
    "explain": "Say why an object is labelled as it is, or is not labelled.",
    "backfill": "Label what is in the store already.",
    "plan": "Say what a backfill would do, before anything is touched.",
    "audit": "Compare objects, labels and index, and mend what differs.",
    "reindex": "Rebuild the index from what is on the objects, beside the one in use.",
    "dataset": "Copy images into folders by label, or list them in a file, for training.",
    "setup": "Create missing server resources (index, stream, notifications), or remove them.",
    "doctor": "Check everything that the sidecar depends on.",
    "policy": "Print the minimum permissions that the sidecar needs on its servers.",
    "strip": "Remove what imgtag wrote, from objects and from the index.",
    "status": "Show the live status of a running sidecar.",
    "dlq": "List, retry or drop dead letters.",
    "config": "Check or show the configuration, or print an example.",
    "models": "List, add, choose, try, calibrate and compare models.",
    "plugins": "List the available plugins.",
}
"""A command's module is imported only when the command runs, so its help line is here."""


class App:
    """The options before the command."""

    def __init__(self) -> None:
        self.config_file: Path | None = None
        self.verbose = 0

    def load(self, *, as_owner: bool = False) -> Config:
        """The configuration. Raises InvalidConfig.

        ``as_owner``: for commands that work in the state folder, of a service that runs as another user.
        """
        from imgtag.cli.warnings import show_reasons  # noqa: PLC0415
        from imgtag.config.load import load  # noqa: PLC0415  (not every command needs it)
        from imgtag.files.ownership import become_owner  # noqa: PLC0415

        show_reasons()
        config = load(self.config_file)
        if as_owner:
            become_owner(config.state_dir)
        return config


_pass_app = click.make_pass_decorator(App, ensure=True)


def pass_app(command: Callable[..., Any]) -> Callable[..., Any]:
    """Pass the options before the command to it; a coroutine function runs in an event loop of its own."""
    if not iscoroutinefunction(command):
        return _pass_app(command)

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        import anyio  # noqa: PLC0415  (not every command needs it)

        return anyio.run(partial(command, *args, **kwargs))

    return _pass_app(run)


class _Commands(click.Group):
    """A group whose commands are modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"imgtag.cli.{cmd_name.replace('-', '_')}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options; click's own would import every command, which takes a second."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415  (for completion only)

        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(),
    help="Configuration file. Default: $IMGTAG_CONFIG, else /etc/imgtag/imgtag.toml, else ./imgtag.toml.",
)
@click.option("-v", "--verbose", count=True, help="Show tracebacks of errors, and what workers print.")
@click.version_option(__version__, prog_name="imgtag")
@pass_app
def cli(app: App, config_file: str | None, verbose: int) -> None:
    """Label the images of an S3-compatible store, beside the store, and make them searchable."""
    # Imported here, as `imgtag --version` and `--help` need neither: they answer at once.
    import logging  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    app.config_file, app.verbose = Path(config_file) if config_file is not None else None, verbose
    if verbose:
        logging.getLogger("imgtag.workers").setLevel(logging.DEBUG)  # so that workers share our stderr


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, by default the one of the process; returns the exit code. A command may return one, None is 0."""
    if arguments is None:
        require_utf8_mode()
        # Whichever command creates the state folder or a file in it first: they are for their owner alone.
        os.umask(os.umask(0o077) | 0o077)
        arguments = sys.argv[1:]
    prepare_streams()
    app = App()
    try:
        code = cli.main(list(arguments), prog_name="imgtag", standalone_mode=False, obj=app)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as error:  # Ctrl-C, or a question that was answered with no
        return INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else FAILED
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (the last resort: everything is explained)
        return _report(error, verbose=app.verbose > 0)
    return code if isinstance(code, int) else DONE


def _report(error: BaseException, *, verbose: bool) -> int:
    """Explain what went wrong; errors that several tasks raised together are explained one by one."""
    causes = list(flatten(error))
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        return INTERRUPTED
    if any(isinstance(cause, BrokenPipeError) for cause in causes):
        # The reader has enough; without this the interpreter would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if verbose:
        import traceback  # noqa: PLC0415

        click.echo(escape_lines("".join(traceback.format_exception(error))), err=True, nl=False)
    for line in dict.fromkeys(line for cause in causes for line in _explain(cause)):
        click.echo(line, err=True)
    return CONFIGURATION if any(isinstance(cause, ConfigError) for cause in causes) else FAILED


def flatten(error: BaseException) -> Iterator[BaseException]:
    """The errors of a group, and of the groups within it; of a single error, itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from flatten(part)
    else:
        yield error


def _explain(error: BaseException) -> Iterator[str]:
    """The error, its causes, and what to do about it; messages may quote strangers."""
    if isinstance(error, ConfigError):  # one line for each finding
        yield from (f"imgtag: {escape(line)}" for line in error.message.splitlines())
    elif isinstance(error, ImgtagError):
        yield f"imgtag: {escape(error.message)}"
    else:
        yield f"imgtag: internal error: {_describe(error)}"
    seen = {id(error)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and id(cause) not in seen:  # a chain may be a circle
        seen.add(id(cause))
        yield f"caused by: {_describe(cause)}"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    if not isinstance(error, ImgtagError):
        yield "hint: Run it again as `imgtag -v ...` for the traceback, and report that."
    elif error.hint:
        yield f"hint: {escape_lines(error.hint)}"


def _describe(error: BaseException) -> str:
    text = escape(" ".join(str(error).split()))
    if isinstance(error, ImgtagError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
