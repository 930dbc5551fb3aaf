"""Commands, options and arguments: click's, with typed values and defaults from the environment.

Options that are not given cost nothing. click processes every option and builds a parser for each
invocation; here it builds the parser and the defaults once, and processes only the options that the
command line or the environment names.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

import click
from click.core import ParameterSource

from healthchecker._cli.environment import can_use, refuse_unusable, variable_of, variables
from healthchecker._cli.expansion import ExpansionError, expand, expand_target
from healthchecker._cli.problems import ExtraArgumentError
from healthchecker._cli.types import Flag
from healthchecker._protocols.registry import LEADS_TO_TLS
from healthchecker._values.target import shown_target, trimmed

V = TypeVar("V")

_SHELL_SYNTAX = ("||", "&&", "|", ";", "&", ">", ">>", "2>&1", ">/dev/null", "2>/dev/null")

HEADINGS = ("Request", "Expectations", "TLS", "Timing", "Output")
"""The groups of options in the help."""

EPILOG = (
    "Durations: 500ms, 2s, 1m30s, 1h, 7d, or a number of seconds. Every option can also be set "
    "with an environment variable HEALTHCHECKER_<OPTION>; the command line wins. Exit code: 0 if "
    "healthy, 1 otherwise."
)


class Context(click.Context):
    """A context in which unset parameters count as defaults."""

    may_lack_dashes = False
    """Whether an unknown option may be one of a COMMAND that was written without `--`."""
    given: Sequence[click.Parameter] = ()
    """The parameters that the command line or the environment names."""

    def __init__(self, command: click.Command, **settings: Any) -> None:
        super().__init__(command, help_option_names=["-h", "--help"], **settings)

    def get_parameter_source(self, name: str) -> ParameterSource:
        return super().get_parameter_source(name) or ParameterSource.DEFAULT


def given(context: click.Context) -> Sequence[click.Parameter]:
    """Return the parameters that a parsed command line, or the environment, names."""
    return context.given if isinstance(context, Context) else ()


class _Parameter(click.Parameter, Generic[V]):
    """The common part of options and arguments."""

    expands = False
    """Whether `${NAME}` in a value is replaced."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Read a value, or several, after variables have been put in."""
        if self.expands and value is not None:
            value = (
                self._expanded(value, ctx)
                if isinstance(value, str)
                else [self._expanded(one, ctx) for one in value]
            )
        if self.nargs == 1 and not self.multiple:  # click would ask again, in twice the time
            return None if value is None else self.type(value, self, ctx)
        return super().type_cast_value(ctx, value)

    def _expanded(self, value: str, ctx: click.Context) -> str:
        try:
            return self.expanded(value)
        except ExpansionError as error:
            raise click.UsageError(f"{self.spelled(ctx)}: {error}", ctx) from error

    def expanded(self, value: str) -> str:
        """Return a value with variables and files put in."""
        return expand(value)

    def spelled(self, context: click.Context) -> str:
        """Return its name in messages."""
        raise NotImplementedError

    def of(self, context: click.Context) -> V:
        """Return its value in a parsed command line."""
        value: V = context.params[self.name]
        return value

    def source(self, context: click.Context) -> ParameterSource:
        """Return where that value comes from."""
        return context.get_parameter_source(self.name) or ParameterSource.DEFAULT

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the variable's value, unless the command line makes it irrelevant.

        click processes the command line first.
        """
        value = super().resolve_envvar_value(ctx)
        if value is None or not isinstance(ctx.command, Command):
            return value
        if ctx.resilient_parsing or not ctx.command.leaves_use_for(self, value, ctx):
            return None
        return value


class Argument(_Parameter[V], click.Argument):
    """The targets: arguments without an option name."""

    conflicts_with: Sequence[Parameter] = ()
    expands = True

    def expanded(self, value: str) -> str:
        return trimmed(expand_target(value))

    def spelled(self, context: click.Context) -> str:
        return "a TARGET"

    def is_given(self, context: click.Context) -> bool:
        """Return whether there is one."""
        value = context.params.get(self.name)
        return isinstance(value, (str, tuple)) and bool(value)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        return value if value and not value.isspace() else None

    def value_from_envvar(self, ctx: click.Context) -> str | Sequence[str] | None:
        """Return the targets that the environment names, one per line."""
        value = self.resolve_envvar_value(ctx)
        if value is None:
            return None
        lines = self.type.split_envvar_value(value)
        if self.nargs != 1:
            return lines
        if len(lines) > 1:
            problem = f"{ctx.command.name} takes a single TARGET"
            raise click.UsageError(f"{self.envvar}: {problem}", ctx)
        return lines[0]


class Option(_Parameter[V], click.Option):
    """An option that can also be given as HEALTHCHECKER_<OPTION>."""

    def __init__(
        self,
        *names: str,
        conflicts_with: Sequence[Parameter] = (),
        conflicts_as: str = "",
        expands: bool = False,
        escape: Callable[[str], str] | None = None,
        **settings: Any,
    ) -> None:
        self.long = next(name for name in names if name.startswith("--"))
        super().__init__(names, envvar=variable_of(self.long), **settings)
        self.expands = expands
        self._escape = escape
        """Applied to what replaces `${NAME}`, if the text of the value has escapes."""
        self.group = ""
        """The heading under which the help lists it."""
        self.conflicts_with = tuple(conflicts_with)
        """Parameters that it cannot be combined with; declared for one of the two."""
        self.conflicts_as = conflicts_as
        """The only value that conflicts, in capitals; empty if every value does."""

    def expanded(self, value: str) -> str:
        return expand(value, self._escape)

    def default_value(self, context: click.Context) -> V:
        """Return its default."""
        return cast("V", self.type_cast_value(context, self.get_default(context)))

    def spelled(self, context: click.Context) -> str:
        """Return how it was given."""
        source = context.get_parameter_source(self.name)
        name = str(self.envvar) if source is ParameterSource.ENVIRONMENT else self.long
        return f"{name} {self.conflicts_as}".rstrip()

    def is_given(self, context: click.Context) -> bool:
        """Return whether the option is active, so that it can conflict with others."""
        value = context.params.get(self.name)
        if self.conflicts_as:
            return str(value).upper() == self.conflicts_as
        source = context.get_parameter_source(self.name)
        return source is not ParameterSource.DEFAULT and value not in (None, False, ())


Parameter: TypeAlias = Option[Any] | Argument[Any]


def flag(*names: str, help: str, conflicts_with: Sequence[Parameter] = ()) -> Option[bool]:  # noqa: A002
    """Declare an option without a value."""
    return Option(*names, is_flag=True, type=Flag(), help=help, conflicts_with=conflicts_with)


def optional(
    *names: str,
    type: click.ParamType[V, Any],  # noqa: A002
    **settings: Any,
) -> Option[V | None]:
    """Declare an option without a default."""
    return Option(*names, type=type, **settings)


def with_default(
    *names: str,
    default: str,
    type: click.ParamType[V, Any],  # noqa: A002
    **settings: Any,
) -> Option[V]:
    """Declare an option that always has a value; the default is shown in its help."""
    return Option(*names, type=type, default=default, show_default=True, **settings)


def repeatable(
    *names: str,
    type: click.ParamType[V, Any],  # noqa: A002
    **settings: Any,
) -> Option[tuple[V, ...]]:
    """Declare an option that may be given again; its variable holds one value per line."""
    return Option(*names, type=type, multiple=True, **settings)


class Command(click.Command):
    """A command whose function reads the values of its options and arguments."""

    context_class = Context

    def __init__(
        self,
        name: str,
        run: Callable[[click.Context], int],
        target: Argument[Any] | None,
        options: Sequence[Option[Any]],
        *,
        help: str,  # noqa: A002 - click's name for it
        becomes_command: bool = False,
    ) -> None:
        """Declare it; with `becomes_command`, `ctx.args` holds the command after `--`."""
        super().__init__(
            name,
            params=[*([target] if target else []), *options],
            help=help,
            epilog=EPILOG if options else None,
        )
        self._run = run
        self._target = target
        self._becomes_command = becomes_command
        self._conflicts = [
            (option, other)
            for option in options
            for other in option.conflicts_with
            if other is target or other in options
        ]
        blank = Context(self, resilient_parsing=True)
        super().parse_args(blank, [])
        self._defaults = blank.params
        self._parser = self.make_parser(Context(self))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse like click; refuse options that conflict or that no target can use."""
        has_command = self._becomes_command and "--" in args
        args, command = split_at_dashes(args) if has_command else (args, [])
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        named, rest, order = self._parsed(args, ctx, has_command=has_command)
        ctx.params.update(self._defaults)
        given = [
            one
            for one in dict.fromkeys(order)
            if one is not self._target or isinstance(named[one.name], (str, tuple))
        ]
        given.sort(key=_is_eager, reverse=True)
        for one in given:
            _process(one, ctx, named, rest)
        names = variables()
        for one in self.params if names else ():
            if one not in given and one.envvar in names and one.resolve_envvar_value(ctx):
                _process(one, ctx, named, rest)
                given.append(one)
        if self._target and self._target.required and self._target not in given:
            raise click.MissingParameter(ctx=ctx, param=self._target)
        if rest:
            shown = " ".join(map(shown_target, rest))
            text = f"unexpected argument{'s' * (len(rest) > 1)}: {shown}"
            raise ExtraArgumentError(text, ctx)
        self._refuse(given, ctx)
        if isinstance(ctx, Context):
            ctx.given = given
        if command and not command[0]:
            ctx.fail("no COMMAND after --")
        ctx.args = command
        return rest

    def _parsed(
        self, args: Sequence[str], ctx: click.Context, *, has_command: bool
    ) -> tuple[dict[str, Any], list[str], list[click.Parameter]]:
        """Return the values that click's parser finds, the other arguments, and the order."""
        try:
            named, rest, order = self._parser.parse_args(list(args))
        except click.UsageError as error:
            error.ctx = ctx  # knows how its options are spelled
            if isinstance(ctx, Context):
                ctx.may_lack_dashes = self._becomes_command and not has_command
            raise
        self._refuse_shell(named, rest, ctx, has_command=has_command)
        return dict(named), rest, order

    def _refuse_shell(
        self, named: dict[str, Any], rest: Sequence[str], ctx: click.Context, *, has_command: bool
    ) -> None:
        """Refuse arguments that only a shell would understand, and a COMMAND without `--`."""
        targets = named.get(self._target.name) if self._target else None
        named_targets = (targets,) if isinstance(targets, str) else targets
        words = [*(named_targets if isinstance(named_targets, tuple) else ()), *rest]
        syntax = next((word for word in words if word in _SHELL_SYNTAX), None)
        if syntax is not None:
            ctx.fail(
                f"{syntax!r} needs a shell, which the exec form does not have; remove it and what "
                "follows: the exit code is 0 or 1 without it"
            )
        if self._becomes_command and not has_command:
            bare = [word for word in words[1:] if ":" not in word and "$" not in word]
            if bare:
                shown = shown_target(bare[0])
                ctx.fail(f"TARGET: {shown!r}: not a URL; write -- before a COMMAND")

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the usage line after the name of the command."""
        command = ["[-- COMMAND [ARG]...]"] if self._becomes_command else []
        return super().collect_usage_pieces(ctx) + command

    def _refuse(self, given: Sequence[click.Parameter], ctx: click.Context) -> None:
        """Refuse options that conflict, and those that no target can use."""
        for first, second in self._conflicts if len(given) > 1 else ():
            if first in given and second in given and first.is_given(ctx) and second.is_given(ctx):
                instead = (
                    "use one of them" if isinstance(second, Option) else "put it in the TARGET"
                )
                raise click.UsageError(
                    f"{first.spelled(ctx)} cannot be combined with {second.spelled(ctx)}; "
                    f"{instead}",
                    ctx,
                )
        for one in given:
            if _is_named(one, ctx):
                refuse_unusable(one.name, self._targets(ctx), _leading_to_tls(ctx))

    def leaves_use_for(self, parameter: click.Parameter, value: str, ctx: click.Context) -> bool:
        """Return whether a default from the environment still applies."""
        for first, second in self._conflicts:
            if parameter is first and first.conflicts_as in ("", value.upper()):
                other: Parameter = second
            elif parameter is second:
                other = first
            else:
                continue
            if other.is_given(ctx) and (other is self._target or _is_named(other, ctx)):
                return False
        return can_use(parameter.name, self._targets(ctx), _leading_to_tls(ctx))

    def _targets(self, ctx: click.Context) -> Sequence[str]:
        value = ctx.params.get(self._target.name) or () if self._target else ()
        return (value,) if isinstance(value, str) else value

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups, and --help."""
        self.format_groups(ctx, formatter)
        record = self.get_help_option(ctx)
        if record is not None:
            with formatter.section("Other options"):
                formatter.write_dl([record.get_help_record(ctx) or ("", "")])

    def format_groups(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups."""
        for heading in HEADINGS:
            members = (
                one for one in self.params if isinstance(one, Option) and one.group == heading
            )
            records = [record for one in members if (record := one.get_help_record(ctx))]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> int:
        """Run the command and return its exit code."""
        return self._run(ctx)


def split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments before the first `--`, and those after it."""
    own = list(itertools.takewhile(lambda argument: argument != "--", arguments))
    return own, list(arguments[len(own) + 1 :])


def _process(
    parameter: click.Parameter, context: click.Context, named: dict[str, Any], rest: list[str]
) -> None:
    """Let click read the value of a parameter, in place of the default."""
    context.params.pop(parameter.name, None)  # click 8.3 keeps a present value
    parameter.handle_parse_result(context, named, rest)


def _is_eager(parameter: click.Parameter) -> bool:
    return parameter.is_eager


def _is_named(parameter: click.Parameter, context: click.Context) -> bool:
    """Return whether the command line names it."""
    return context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE


def _leading_to_tls(context: click.Context) -> Sequence[str]:
    return [name for name in LEADS_TO_TLS if context.params.get(name)]
