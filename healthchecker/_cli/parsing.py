"""Commands, options and arguments: click's, with typed values and defaults from the environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

import click
from click.core import ParameterSource

V = TypeVar("V")

EPILOG = (
    "Durations are written as 500ms, 2s, 1m or a number of seconds. Every option can also be set "
    "in the environment, as HEALTHCHECKER_<OPTION>; the command line takes precedence. The exit "
    "code is 0 for healthy and 1 for everything else."
)


class Argument(click.Argument, Generic[V]):
    """What a command line names without an option."""

    def of(self, context: click.Context) -> V:
        """Return its value in a command line that has been parsed."""
        return cast("V", context.params[self.name])

    def spelled(self, _context: click.Context) -> str:
        """Return how a message calls it."""
        return "a TARGET"


class Option(click.Option, Generic[V]):
    """An option that can also be given as HEALTHCHECKER_<OPTION>."""

    def __init__(
        self, *names: str, conflicts_with: Sequence[Parameter] = (), **settings: Any
    ) -> None:
        self.long = next(name for name in names if name.startswith("--"))
        variable = "HEALTHCHECKER_" + self.long.removeprefix("--").replace("-", "_").upper()
        super().__init__(names, envvar=variable, **settings)
        self.conflicts_with = tuple(conflicts_with)
        """What it cannot be combined with; said once for both."""

    def of(self, context: click.Context) -> V:
        """Return its value in a command line that has been parsed."""
        return cast("V", context.params[self.name])

    def spelled(self, context: click.Context) -> str:
        """Return how a message calls it: as it was given."""
        source = context.get_parameter_source(self.name)
        return str(self.envvar) if source is ParameterSource.ENVIRONMENT else self.long

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return what the environment gives, where the command line leaves room for it.

        By then, click has looked at everything that the command line names.
        """
        value = super().value_from_envvar(ctx)
        if value is not None and isinstance(ctx.command, Command):
            for other in ctx.command.conflicts_of(self):
                if _is_given(ctx, other) and (
                    isinstance(other, Argument)
                    or ctx.get_parameter_source(other.name) is ParameterSource.COMMANDLINE
                ):
                    return None
        return value


Parameter: TypeAlias = Option[Any] | Argument[Any]


def flag(*names: str, help: str, conflicts_with: Sequence[Parameter] = ()) -> Option[bool]:  # noqa: A002
    """Declare an option without a value."""
    return Option(*names, is_flag=True, help=help, conflicts_with=conflicts_with)


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
    """A command whose function reads what it was given from its own options and arguments."""

    def __init__(
        self,
        name: str,
        run: Callable[[click.Context], int],
        params: Sequence[Parameter],
        *,
        help: str,  # noqa: A002 - click's name for it
    ) -> None:
        super().__init__(name, params=list(params), help=help, epilog=EPILOG)
        self._run = run
        self._conflicts = [
            (option, other)
            for option in params
            if isinstance(option, Option)
            for other in option.conflicts_with
            if other in params
        ]

    def conflicts_of(self, parameter: Parameter) -> list[Parameter]:
        """Return the command's parameters that cannot be combined with this one."""
        return [
            second if first is parameter else first
            for first, second in self._conflicts
            if parameter in (first, second)
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and refuse what cannot be combined."""
        rest = super().parse_args(ctx, args)
        for first, second in self._conflicts:
            if _is_given(ctx, first) and _is_given(ctx, second):
                one, other = first.spelled(ctx), second.spelled(ctx)
                raise click.UsageError(f"{one} cannot be combined with {other}", ctx)
        return rest

    def invoke(self, ctx: click.Context) -> int:
        """Run the command and return its exit code."""
        return self._run(ctx)


def _is_given(context: click.Context, parameter: Parameter) -> bool:
    name = parameter.name
    return context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT) and (
        context.params.get(name) not in (None, False, ())
    )
