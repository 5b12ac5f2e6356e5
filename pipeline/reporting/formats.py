"""How a report is written: texts of the store are escaped in each format, so that none can break a table or a page."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.results import clean

Markup = Callable[[str], str]
MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "×": r"$\times$", "∞": r"$\infty$", "|": r"\textbar{}",
}  # fmt: skip


@dataclass(frozen=True)
class Format:
    """Markup.

    ending: of files. escape: text that is shown as it is. strong: of what is escaped. code: of plain commands and
    names. best: of numbers that are best beyond doubt. grid: from a frame of escaped cells to a table, of which so many
    columns after the first are aligned right.
    """

    ending: str
    escape: Markup
    strong: Markup
    best: Markup
    code: Markup
    grid: Callable[[pd.DataFrame, int], str]

    def name(self, label: str) -> str:
        """Return a row's label as sentences have it."""
        return self.strong(self.escape(label))


def escape_markdown(text: str) -> str:
    """Return a text that markdown shows as it is, in tables too."""
    safe = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKDOWN_SPECIAL.sub(lambda match: "\\" + match.group(), safe)


def escape_html(text: str) -> str:
    """Return a text that a page shows as it is, in attributes too."""
    return html.escape(clean(text))


def escape_latex(text: str) -> str:
    """Return a text that LaTeX sets as it is."""
    return "".join(LATEX_SPECIAL.get(letter, letter) for letter in clean(text))


def _markdown_code(text: str) -> str:
    return f"`{clean(text).replace('`', '')}`"


def _markdown_grid(frame: pd.DataFrame, right: int) -> str:
    alignments = ["right" if 0 < column <= right else "left" for column in range(len(frame.columns))]
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=alignments))


def _html_grid(frame: pd.DataFrame, right: int) -> str:
    return str(frame.to_html(index=False, escape=False, border=0, classes=[f"right-{right}"]))


def _plain_grid(frame: pd.DataFrame, right: int) -> str:
    alignments = ["right" if 0 < column <= right else "left" for column in range(len(frame.columns))]
    return str(frame.to_markdown(index=False, disable_numparse=True, tablefmt="simple", colalign=alignments))


def _latex_grid(frame: pd.DataFrame, right: int) -> str:
    columns = "".join("r" if 0 < column <= right else "l" for column in range(len(frame.columns)))
    return str(frame.style.hide(axis="index").to_latex(hrules=True, column_format=columns)).strip()


def _markdown_strong(text: str) -> str:
    return f"**{text}**"


def _html_strong(text: str) -> str:
    return f"<strong>{text}</strong>"


def _html_code(text: str) -> str:
    return f"<code>{escape_html(text)}</code>"


def _latex_strong(text: str) -> str:
    return rf"\textbf{{{text}}}"


def _latex_code(text: str) -> str:
    return rf"\texttt{{{escape_latex(text)}}}"


MARKDOWN = Format("md", escape_markdown, _markdown_strong, _markdown_strong, _markdown_code, _markdown_grid)
HTML = Format("html", escape_html, _html_strong, _html_strong, _html_code, _html_grid)
LATEX = Format("tex", escape_latex, _latex_strong, _latex_strong, _latex_code, _latex_grid)
PLAIN = Format("txt", clean, str, lambda text: f"{text} *", clean, _plain_grid)
"""For a terminal; what is best beyond doubt has a star."""
