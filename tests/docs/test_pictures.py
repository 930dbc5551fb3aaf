"""The pictures of the documentation, rendered by headless Chromium in light and dark mode."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, require

_MEASURE = """
<body>%s<pre></pre><script>
const texts = [...document.querySelectorAll("text")].map(text => ({
    text: text.textContent,
    length: text.getComputedTextLength(),
    box: [text.getBBox().x, text.getBBox().y, text.getBBox().width, text.getBBox().height],
    fill: getComputedStyle(text).fill,
}));
const view = document.querySelector("svg").viewBox.baseVal;
document.querySelector("pre").textContent = JSON.stringify({texts, width: view.width});
</script></body>
"""


def render(picture: str, scheme: str, folder: Path) -> dict[str, Any]:
    """Return the texts of a picture as the browser lays them out, and the picture's width."""
    browser = shutil.which("chromium")
    require(browser, "needs chromium")
    assert browser
    page = folder / "page.html"
    page.write_text(_MEASURE % (ROOT / "docs" / picture).read_text())
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        *dark,
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (measured,) = re.findall(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    rendered: dict[str, Any] = json.loads(unescape(measured))
    return rendered


@pytest.mark.parametrize(("scheme", "fill"), [("light", "rgb(36, 41, 47)"), ("dark", None)])
def test_the_columns_of_the_terminal_line_up(scheme: str, fill: str | None, tmp_path: Path) -> None:
    rendered = render("terminal.svg", scheme, tmp_path)
    texts = [one for one in rendered["texts"] if one["text"]]
    assert len(texts) > 8
    assert any("  " in one["text"] for one in texts)
    regular = [one["length"] / len(one["text"]) for one in texts]
    assert max(regular) - min(regular) < 0.01  # so spaces are as wide as letters
    assert all(one["box"][0] + one["box"][2] <= rendered["width"] for one in texts)
    assert ({one["fill"] for one in texts} == {"rgb(36, 41, 47)"}) is (fill is not None)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_texts_of_the_comparison_overlap(scheme: str, tmp_path: Path) -> None:
    rendered = render("comparison.svg", scheme, tmp_path)
    boxes = [one["box"] for one in rendered["texts"]]
    assert len(boxes) > 20
    for index, (x, y, width, height) in enumerate(boxes):
        assert x >= 0
        assert x + width <= rendered["width"]
        for other_x, other_y, other_width, other_height in boxes[index + 1 :]:
            apart = (
                x + width <= other_x
                or other_x + other_width <= x
                or y + height <= other_y
                or other_y + other_height <= y
            )
            assert apart, rendered["texts"][index]


def test_each_program_has_one_size() -> None:
    picture = (ROOT / "docs/comparison.svg").read_text()
    sizes = picture.partition("Size, with")[2]
    labels = re.findall(r'text-anchor="end">([^<]+)<', sizes)
    assert len(labels) > 5
    assert len(labels) == len(set(labels))
