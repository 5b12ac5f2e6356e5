import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.markdown import code, escape


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
    assert escape(text) == written


@given(st.text())
def test_no_text_leaves_its_cell(text: str) -> None:
    written = escape(text)
    assert "\n" not in written
    assert "<" not in written
    bare = written.replace(r"\\", "").replace(r"\|", "")
    assert "|" not in bare
    assert not bare.endswith("\\")


def test_code_cannot_be_left() -> None:
    assert code("a` b\n`c") == "`a b c`"
