import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.formats import HTML, LATEX, MARKDOWN
from pipeline.reporting.results import clean


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("wgan_sgd (optimizer.lr=1e-4)", "wgan_sgd (optimizer.lr=1e-4)"),
        ("a|b", r"a\|b"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("&lt;", "&amp;lt;"),
        ("_x_ *y* `z` [l](u)", r"\_x\_ \*y\* \`z\` \[l\](u)"),
        ("a\nb\t\x1b[31mc", r"a b \[31mc"),
        ("end\\", r"end\\"),
    ],
)
def test_escape(text: str, written: str) -> None:
    assert MARKDOWN.escape(text) == written


@given(st.text())
def test_no_text_leaves_its_cell(text: str) -> None:
    written = MARKDOWN.escape(text)
    assert "\n" not in written
    assert "<" not in written
    bare = written.replace(r"\\", "").replace(r"\|", "")
    assert "|" not in bare
    assert not bare.endswith("\\")


def test_code_cannot_be_left() -> None:
    assert MARKDOWN.code("a` b\n`c") == "`a b c`"


@given(st.text())
def test_no_text_leaves_its_place_on_a_page(text: str) -> None:
    written = HTML.escape(text)
    assert not set("<>\"'\n") & set(written)
    assert html.unescape(written) == clean(text)
    assert HTML.code(text) == f"<code>{written}</code>"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("wgan_sgd (50% & #1)", r"wgan\_sgd (50\% \& \#1)"),
        ("FD last ↓ 1.0 ± 0.1", r"FD last $\downarrow$ 1.0 $\pm$ 0.1"),
        (r"\input{x} $y$ ~^", r"\textbackslash{}input\{x\} \$y\$ \textasciitilde{}\textasciicircum{}"),
    ],
)
def test_latex_sets_a_text_as_it_is(text: str, written: str) -> None:
    assert LATEX.escape(text) == written


@given(st.text())
def test_no_text_is_a_command_of_latex(text: str) -> None:
    left = re.sub(r"\\(textbackslash|text[a-z]+)\{\}|\$\\[a-z]+\$|\\[{}$&#%_]", "", LATEX.escape(text))
    assert not set("\\{}$&#%_~^") & set(left)
