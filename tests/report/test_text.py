from hypothesis import given
from hypothesis import strategies as st

from autolabel.report.text import is_invisible, visible, visible_html, visible_markdown


@given(st.text())
def test_nothing_invisible_is_left(text: str) -> None:
    for shown in (visible(text), str(visible_html(text)), visible_markdown(text)):
        assert not any(map(is_invisible, shown))


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_visible_text_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_signs_are_set_apart_from_text_that_looks_like_them() -> None:
    assert visible_html("↵\n") == '↵<span class="sign">↵</span>'
    assert visible_html("a<b>&\u202e") == 'a&lt;b&gt;&amp;<span class="sign">\\u{202E}</span>'


def test_markdown_cannot_end_its_cell_or_link() -> None:
    assert visible_markdown("a|b\n[x](http://y) <i>") == r"a\|b↵\[x\]\(http\://y\) \<i\>"
