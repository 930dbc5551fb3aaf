"""Messages for usage errors. User input is quoted only if it cannot be a secret.

The values of options that may hold one (`types.Pair`) and the user and password of a URL are never
shown, nor is text like `NAME: VALUE` if something else was expected. An unknown word is shown if it
looks like the name of an option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import click
from click.core import ParameterSource

from healthchecker._values.options import OPTIONS
from healthchecker._values.result import BadArgumentError
from healthchecker._values.target import HIDDEN

_MAX_SHOWN = 300  # characters of a value
_NAMED_BY_NAME = ("header", "headers", "expect_header")  # errors name the field, if it is one
_PAIR = re.compile(r"[A-Za-z][\w.-]*\s*[:=](?!//)")
_PARAMETER = re.compile(r"\b([a-z][a-z0-9_]*)=(?=[\s:;,.)]|$)")
"""How messages of the library name another parameter."""
_OPTION_NAME = re.compile(r"(--?[A-Za-z][A-Za-z-]*)(.?)", re.DOTALL)


class ExtraArgumentError(click.UsageError):
    """The command takes fewer arguments."""


def shown(value: object) -> str:
    """Return a value as messages quote it: without parts that may be secrets."""
    if not isinstance(value, str):
        return repr(value)
    text = value.rpartition("@")[2]
    pair = _PAIR.search(text)
    return _quoted(text if pair is None else text[: pair.start()] + HIDDEN)


def _quoted(text: str) -> str:
    """Return a text in quotes, in ASCII, and only its start if it would bury the message."""
    return ascii(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + HIDDEN)


def _shown(error: BadArgumentError) -> str:
    """Return the value of an error like `shown`; the parser has already sanitized targets."""
    value = error.value
    if error.argument == "target":
        return _quoted(str(value))
    if error.argument in _NAMED_BY_NAME and isinstance(value, str):
        word, *more = value.split(maxsplit=1) or [""]
        value = word + HIDDEN if more else word
    return shown(value)


def cannot_run(command: str, error: OSError) -> str:
    """Return why a command cannot be run, with its name but not its arguments."""
    word, *more = command.split(maxsplit=1) or [""]
    name = shown(word + HIDDEN if more else word)
    return f"cannot run {name}: {os.strerror(error.errno or 0)}"


def usage_problem(
    error: click.UsageError | BadArgumentError, context: click.Context | None = None
) -> str:
    """Return the one line that names the option, the value and the fault."""
    if isinstance(error, BadArgumentError):
        problem = _PARAMETER.sub(_renamed, error.problem)
        return f"{_spelled(error.argument, context)}: {_shown(error)}: {problem}"
    if isinstance(error, click.NoSuchOption):
        return _no_such_option(error)
    if isinstance(error, click.BadOptionUsage):
        return _misused_option(error)
    message = " ".join(error.format_message().split())
    if isinstance(error, (click.MissingParameter, ExtraArgumentError)) and error.ctx:
        usage = " ".join(error.ctx.get_usage().split()[1:])
        text = message if isinstance(error, ExtraArgumentError) else message.removesuffix(".")
        return f"{text}; write {usage}"
    if isinstance(error, click.BadParameter) and error.ctx and error.param:
        problem = " ".join(error.message.split())
        return f"{_name_of(error.param, error.ctx)}: {problem}"
    return message


def _name_of(parameter: click.Parameter, context: click.Context) -> str:
    """Return the name by which the user set a parameter."""
    if context.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT:
        return str(parameter.envvar)
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name


def _spelled(argument: str, context: click.Context | None) -> str:
    """Return the user's name of a parameter: an option, a variable or TARGET."""
    for parameter in context.command.params if context else ():
        if parameter.name in (argument, argument + "s", argument.lower() + "s") and context:
            if context.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT:
                return str(parameter.envvar)
            break
    return _on_command_line(argument)


def _renamed(match: re.Match[str]) -> str:
    return _on_command_line(match[1]) if match[1] in OPTIONS else match[0]


def _on_command_line(argument: str) -> str:
    """Return how the command line calls a parameter of the library."""
    if argument == "target" or argument.isupper():  # not an option
        return argument.upper()
    return "--" + argument.replace("headers", "header").replace("_", "-")


def _no_such_option(error: click.NoSuchOption) -> str:
    match = _OPTION_NAME.match(error.option_name)
    if match is None or (match[2] and not match[2].isspace() and match[2] not in ":="):
        return "unknown option (not shown, because it may contain a secret); see --help"
    if match[2].isspace():
        return f"pass {match[1]!r} and its value as two arguments, or join them with '='"
    close = error.possibilities or ()  # the closest first; "-port" is another name of "--port"
    meant = "" if match[2] else did_you_mean([one for one in close if f"-{one}" not in close])
    lacks_dashes = getattr(error.ctx, "may_lack_dashes", False)
    hint = " (write -- before a COMMAND and its options)" if lacks_dashes else ""
    return f"unknown option {match[1]!r}; {meant or 'see --help'}{hint}"


def did_you_mean(possibilities: Sequence[str]) -> str:
    """Return a question with the names that may have been meant, in this order; empty without."""
    *most, last = possibilities or [""]
    return f"did you mean {', '.join(most)}{' or ' * bool(most)}{last}?" if last else ""


def _misused_option(error: click.BadOptionUsage) -> str:
    """Return how to write an option that has a value too many, or none."""
    name = error.option_name
    message = error.format_message().removesuffix(".")
    for option in error.ctx.command.get_params(error.ctx) if error.ctx else ():
        if name in option.opts and error.ctx and isinstance(option, click.Option):
            value = "" if option.is_flag else f" {option.make_metavar(error.ctx)}"
            return f"{message}; write {name}{value}"
    return message
