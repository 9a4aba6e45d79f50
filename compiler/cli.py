"""The `elastiq` command: loads the one command that is asked for, and turns errors into a line."""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Any

import click

from elastiq import __version__
from elastiq.errors import ElastiqError, unknown

# What stands in `elastiq --help`, without loading the modules behind it.
COMMANDS = {
    "build": "Make a bundle from a model: all passes in one go.",
    "trace": "Trace a model at each of its points into ONNX.",
    "quantize": "Trace, and quantize to INT8.",
    "compile": "Quantize, and build engines.",
    "verify": "Compile, and hold every engine against the model.",
    "profile": "Verify, and measure every engine on this machine.",
    "bundle": "The same as build.",
    "inspect": "Show what is in a bundle.",
    "finalize": "Finish, on the device, a bundle that was built elsewhere.",
    "check": "Check every file of a bundle.",
    "report": "Write a bundle's page, with a replay's results if there are any.",
    "diff": "Say what became slower or less accurate between two bundles.",
    "run": "Answer one request with a bundle.",
    "serve": "Serve bundles by the Open Inference Protocol (KServe v2).",
    "replay": "Replay a burst of requests against a bundle.",
    "doctor": "Say what this machine can build and run, and why not.",
    "lab": "Build on many machines, and measure on the devices themselves.",
    "targets": "List the devices that can be built for.",
}
USER_MISTAKE = 2
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Commands(click.Group):
    """Finds each command in a module of its own, when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            raise click.UsageError(str(unknown("command", name, COMMANDS)))
        module = importlib.import_module(f"compiler.commands.{MODULES.get(name, name)}")
        return module.commands[name] if name in MODULES else module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


MODULES = dict.fromkeys(
    ("build", "trace", "quantize", "compile", "verify", "profile", "bundle"), "build"
)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="elastiq")
def elastiq() -> None:
    """Compile elastic vision transformers into bundles that keep their deadline.

    \b
    elastiq build zoo.perceiver:model -t cpu-x86 -o perceiver.elastiq
    elastiq replay perceiver.elastiq
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. A user's mistake is one line and exit code 2; a bug keeps its trace."""
    try:
        return elastiq(arguments, prog_name="elastiq", standalone_mode=False)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.Abort:
        _fail("stopped; run the same command to go on")
    except click.ClickException as e:
        _fail(e.format_message())
    except ElastiqError as e:
        _fail(str(e))
    except OSError as e:
        if e.errno not in DISK_FULL:
            raise
        _fail(f"the disk is full ({e.filename or 'no file named'}). Free some space and run again.")


def _fail(message: str) -> None:
    click.echo(f"elastiq: {message}", err=True)
    sys.exit(USER_MISTAKE)


if __name__ == "__main__":
    main()
