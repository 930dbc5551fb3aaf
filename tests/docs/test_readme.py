"""README.md matches the program: its files are excerpts of recipes, its picture is a real run."""

from __future__ import annotations

import re

import pytest

from scripts import terminal_picture
from tests.servers.daemons import free_port
from tests.support import ROOT
from tests.support.forms import PYTHON
from tests.support.pages import Page

PAGE = Page(ROOT / "README.md")


def test_it_is_short() -> None:
    assert len(PAGE.text.encode()) <= 7 * 1024


@pytest.mark.parametrize("page", ["README.md", "docs/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    file = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text())
    assert len(links) > 5
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {file.name for file in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def is_excerpt(text: str, whole: str) -> bool:
    """Return whether all lines of the text are in another one, in the same order."""
    lines = iter(whole.splitlines())
    return all(line in lines for line in text.splitlines() if line)


def test_files_are_excerpts_of_recipes() -> None:
    """Recipes are run by a test of their own."""
    recipes = Page(ROOT / "docs/recipes.md").blocks
    shown = [block for block in PAGE.blocks if block.language in ("dockerfile", "yaml")]
    assert len(shown) == 5
    for block in shown:
        assert any(is_excerpt(block.text, recipe.text) for recipe in recipes), block.title


@pytest.mark.alone
def test_the_terminal_shows_a_real_run() -> None:
    drawn = re.findall(r"<text [^>]*>(.*)</text>", terminal_picture.PICTURE.read_text())
    ran = terminal_picture.record(PYTHON.argv, str(free_port()), str(free_port()))
    again = re.findall(r"<text [^>]*>(.*)</text>", terminal_picture.picture(ran))
    assert [words(line) for line in again] == [words(line) for line in drawn]


def words(line: str) -> str:
    """Return a line of the table without its times, which are other ones in each run."""
    without_figures = re.sub(r"( *\b[\d.]+ ?(ms|s)\b)+", " N", line)
    return " ".join(without_figures.split())
