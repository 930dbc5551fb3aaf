"""Completions for bash, zsh and fish, made from click's commands.

    python -m release.completions SHELL    prints the file for bash, zsh or fish

click's own completions start the program on every keystroke; these are static files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from release.command_line import Option, commands, general_options

_CHECK, *_OTHERS = commands()
_GENERAL = general_options()


def bash() -> str:
    """Return a completion for bash 4 and later."""
    everything = [*_GENERAL, *(option for one in (_CHECK, *_OTHERS) for option in one.options)]
    files = _words(option for option in everything if option.takes_file)
    lines = [
        "# bash completion for healthchecker",
        "_healthchecker() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words word",
        "    COMPREPLY=()",
        '    if [ "${COMP_WORDS[1]}" = wait ]; then',
        "        local dashes",
        "        for ((dashes = 2; dashes < COMP_CWORD; dashes++)); do",
        '            [ "${COMP_WORDS[dashes]}" != -- ] || break',
        "        done",
        '        if [ "$dashes" -lt "$COMP_CWORD" ]; then  # COMMAND, and its arguments',
        "            words=-f",
        '            [ "$dashes" -lt $((COMP_CWORD - 1)) ] || words=-c',
        "            compopt -o filenames",
        '            mapfile -t COMPREPLY < <(compgen "$words" -- "$current")',
        "            return",
        "        fi",
        "    fi",
        "    if [[ ${COMP_WORDS[1]} == install && $COMP_CWORD -gt 1 && $current != -* ]]; then",
        "        compopt -o filenames",
        '        mapfile -t COMPREPLY < <(compgen -f -- "$current")',
        "        return",
        "    fi",
        "    case $before in",
        f"        {'|'.join(files)}) compopt -o filenames",
        '            mapfile -t COMPREPLY < <(compgen -f -- "$current")',
        "            return ;;",
    ]
    for option in {option.names: option for option in everything if option.choices}.values():
        choices = " ".join(option.choices)
        lines += [
            f"        {'|'.join(option.names)})",
            f"            mapfile -t COMPREPLY < <(compgen -W '{choices}' -- \"$current\")",
            "            return ;;",
        ]
    names = " ".join(one.name for one in (_CHECK, *_OTHERS))
    values = [option for option in everything if option.metavar and not option.takes_file]
    free = _words(option for option in values if not option.choices)
    lines += [
        f"        {'|'.join(free)}) return ;;",
        "    esac",
        f"    words='{' '.join(_words([*_GENERAL, *_CHECK.options]))}'",
        f"    [ \"$COMP_CWORD\" -gt 1 ] || words+=' {names}'",
        "    case ${COMP_WORDS[1]} in",
    ]
    for command in _OTHERS:
        lines.append(
            f'        {command.name}) [ "$COMP_CWORD" -eq 1 ] || '
            f"words='{' '.join(_words(command.options))}' ;;"
        )
    lines += [
        "    esac",
        '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
        "}",
        "complete -F _healthchecker healthchecker",
    ]
    return "\n".join(lines) + "\n"


def zsh() -> str:
    """Return a completion function for zsh's fpath."""
    names = "|".join(one.name for one in _OTHERS)
    lines = [
        "#compdef healthchecker",
        # Not `commands`, which is a parameter of zsh that _command_names reads.
        "local -a subcommands options",
        "subcommands=(",
        *(f"    {_quoted(f'{one.name}:{one.summary}')}" for one in (_CHECK, *_OTHERS)),
        ")",
        "local operands='*:target: '",
        "if [[ ${words[2]} == wait ]]; then",
        "    local -i dashes=${words[(ie)--]}",
        "    if (( dashes < CURRENT )); then  # COMMAND, and its arguments",
        "        if (( dashes == CURRENT - 1 )); then _command_names -e; else _files; fi",
        "        return",
        "    fi",
        "elif [[ ${words[2]} == install ]]; then",
        "    operands='1:destination:_files'",
        "fi",
        "case ${words[2]} in",
    ]
    for command in _OTHERS:
        lines += [f"    {command.name})", *_zsh_options(command.options), "        ;;"]
    lines += [
        "    *)",
        *_zsh_options([*_GENERAL, *_CHECK.options]),
        "        ;;",
        "esac",
        "if (( CURRENT == 2 )); then",
        "    _describe command subcommands",
        f"elif [[ ${{words[2]}} == ({names}|{_CHECK.name}) ]]; then",
        "    shift words",
        "    (( CURRENT-- ))",
        "fi",
        '_arguments -s : $options "$operands"',
    ]
    return "\n".join(lines) + "\n"


def fish() -> str:
    """Return a completion for fish."""
    lines = ["# fish completion for healthchecker", "complete -c healthchecker -f"]
    lines += [
        "complete -c healthchecker -n __fish_use_subcommand "
        f"-a {command.name} -d {_fish_quoted(command.summary)}"
        for command in (_CHECK, *_OTHERS)
    ]
    in_command = "__fish_seen_subcommand_from wait; and contains -- -- (commandline -opc)"
    lines += [
        "complete -c healthchecker -n '__fish_seen_subcommand_from install' -F",
        f"complete -c healthchecker -n '{in_command}' -a '(__fish_complete_command)'",
    ]
    others = " ".join(one.name for one in _OTHERS)
    groups = [(f"not __fish_seen_subcommand_from {others}", [*_GENERAL, *_CHECK.options])]
    groups += [(f"__fish_seen_subcommand_from {one.name}", list(one.options)) for one in _OTHERS]
    for condition, options in groups:
        lines += [_fish_option(condition, option) for option in options]
    return "\n".join(lines) + "\n"


def _words(options: Iterable[Option]) -> list[str]:
    """Return the names to offer, each once."""
    return list(dict.fromkeys(name for option in options for name in option.names))


def _zsh_options(options: Iterable[Option]) -> list[str]:
    lines = ["        options=("]
    for option in options:
        value = option.metavar.strip("[]'").replace(":", " ")
        action = f":{value}:{_zsh_values(option)}" if option.metavar else ""
        for name in option.names:
            described = option.help.replace("[", r"\[").replace("]", r"\]")
            lines.append(f"            {_quoted(f'*{name}[{described}]{action}')}")
    return [*lines, "        )"]


def _zsh_values(option: Option) -> str:
    if option.takes_file:
        return "_files"
    return f"({' '.join(option.choices)})" if option.choices else " "


def _fish_option(condition: str, option: Option) -> str:
    line = f"complete -c healthchecker -n '{condition}'"
    for name in option.names:
        if name.startswith("--"):
            line += f" -l {name[2:]}"
        else:
            line += f" -{'s' if len(name) == len('-x') else 'o'} {name[1:]}"
    if option.choices:
        line += f" -x -a '{' '.join(option.choices)}'"
    elif option.takes_file:
        line += " -r -F"
    elif option.metavar:
        line += " -x"
    return f"{line} -d {_fish_quoted(option.help)}"


def _quoted(text: str) -> str:
    """Return a word in single quotes, in which nothing else is special (zsh)."""
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    """Return a word in single quotes, in which a backslash is special (fish)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh, "fish": fish}

if __name__ == "__main__":
    sys.stdout.write(SHELLS[sys.argv[1]]())
