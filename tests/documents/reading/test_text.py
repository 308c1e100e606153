import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from document_files import html
from holdfast.documents.reading import Part, split
from holdfast.documents.reading.cleaning import clean, windows


def test_control_characters_go_and_blank_lines_collapse():
    assert clean("a\0b\x07c \t\r\n\r\n\r\n\r\nd\x0ce\x85f") == "abc\n\nd\ne\nf"


def test_what_looks_the_same_becomes_the_same():
    assert clean("e\u0301 ﬁle soft\u00adhyphen\ufeff") == "é file softhyphen"


def test_emoji_and_right_to_left_text_stay_as_they_are():
    text = "👩‍👩‍👧 and \u200fمرحبا\u200e x²"
    assert clean(text) == text


def test_lone_surrogates_are_replaced():
    assert clean("a\ud800b") == "a\ufffdb"


@given(st.text(), st.integers(1, 50))
def test_windows_joined_are_the_text(text, size):
    cut = list(windows(text, size))
    assert "".join(cut) == text
    assert all(len(window) <= size for window in cut)


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "cp1252"]
)
def test_encodings_are_recognised(read, codec):
    text = "The café has kelp on its roof, and a holdfast as a door."
    assert read(text.encode(codec), "a.txt") == [Part(text)]


def test_one_broken_byte_does_not_turn_utf8_into_noise(read):
    content = "naïve café ".encode() * 100 + b"\xff end"
    assert read(content, "a.txt")[0].text.startswith("naïve café naïve")


def test_nul_bytes_crlf_emoji_and_rtl_are_read(read):
    content = "zero\0byte\r\nnext line\r\n👩‍👩‍👧 مرحبا".encode()
    assert read(content, "a.txt") == [Part("zerobyte\nnext line\n👩‍👩‍👧 مرحبا")]


def test_long_text_arrives_in_bounded_parts(read):
    text = "\n\n".join(f"Paragraph {number} about kelp." for number in range(10_000))
    parts = read(text.encode(), "a.txt")
    assert max(len(part.text) for part in parts) <= 32_768
    assert "\n\n".join(part.text for part in parts) == text


def test_one_line_of_fifty_megabytes_is_read_and_split_within_seconds(read):
    started = time.monotonic()
    parts = read(b"x" * 50_000_000, "a.txt")
    assert sum(len(part.text) for part in parts) == 50_000_000
    assert sum(len(chunk.text) for chunk in split(parts)) == 50_000_000
    assert time.monotonic() - started < 60


def test_html_headings_become_sections_and_clutter_goes(read):
    body = (
        "<nav>Home | About</nav><p>Before.</p><h1>Install</h1><p>Get <b>it</b>\n now.</p>"
        "<script>bad()</script><style>p{}</style><h2>Linux<a class=headerlink>¶</a></h2>"
        "<pre>apt  install\n  kelp</pre><ul><li><p>one</p></li><li>two</li></ul>"
        "<h1>Use</h1>Run it.<br>Twice."
    )
    assert read(html(body), "a.html") == [
        Part("Before."),
        Part("Install\n\nGet it now.", section="Install"),
        Part("Linux\n\napt  install\n  kelp\n\n- one\n- two", section="Install > Linux"),
        Part("Use\n\nRun it.\nTwice.", section="Use"),
    ]


def test_html_tables_keep_their_rows(read):
    rows = "<tr><th>Name<th>Depth</tr><tr><td><p>kelp</p></td><td></td><td>30 m</td></tr>"
    assert read(html(f"<table><tbody>{rows}</tbody></table>"), "a.html") == [
        Part("Name | Depth\nkelp |  | 30 m")
    ]


def test_main_content_is_preferred_when_it_holds_most_of_the_text(read):
    page = html(f"<div>sidebar</div><main>{'The text. ' * 20}</main><footer>legal</footer>")
    assert "sidebar" not in read(page, "a.html")[0].text
    page = html("<div>" + "The text. " * 20 + "</div><main>short</main>")
    assert "The text" in read(page, "a.html")[0].text


def test_html_charset_declaration_is_believed(read):
    page = '<html><head><meta charset="windows-1251"></head><body>Привет</body></html>'
    assert read(page.encode("cp1251"), "a.html") == [Part("Привет")]


def test_unknown_html_charset_is_ignored(read):
    assert read(b"<html><meta charset=rot13><p>caf\xc3\xa9", "a.html") == [Part("café")]


MARKDOWN = """---
title: Not a heading
---
Intro.

# Install #
```sh
# a comment, no heading
~~~
```
Linux
-----
- a list
---
#hashtag

## Deep ##
text
Next
====
end
"""


def test_markdown_sections_follow_headings_outside_code_and_front_matter(read):
    parts = read(MARKDOWN.encode(), "a.md")
    assert [part.section for part in parts] == [
        None,
        "Install",
        "Install > Linux",
        "Install > Deep",
        "Next",
    ]
    assert parts[2].text == "Linux\n-----\n- a list\n---\n#hashtag"
    assert parts[4].text == "Next\n====\nend"


def test_markdown_of_one_long_line_is_cut(read):
    parts = read(b"# Title\n" + b"word " * 20_000, "a.md")
    assert {part.section for part in parts} == {"Title"}
    assert sum(part.text.count("word") for part in parts) == 20_000
