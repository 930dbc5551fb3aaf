"""Replaces gettext, with which click translates its messages.

The executable has no translations. It would look for some in folders of the system, which depend on
the environment.
"""


def gettext(message: str) -> str:
    return message


def ngettext(one: str, many: str, count: int) -> str:
    return one if count == 1 else many
