"""The text of a web page with its headings as sections, by Lexbor through selectolax."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from holdfast.documents.media_types import MediaType
from holdfast.documents.reading.cleaning import clean_line
from holdfast.documents.reading.encoding import html_encoding
from holdfast.documents.reading.headings import HeadingPath
from holdfast.documents.reading.parts import Facts, Part

_DROPPED = (
    "script, style, template, noscript, nav, svg, canvas, iframe, object, button, select, textarea,"
    " [role=navigation], [role=search], [hidden], a.headerlink"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARAGRAPH_TAGS = (
    "address article aside blockquote body caption center details dialog div dl fieldset figcaption figure"
    " footer form header hr main ol p pre section summary table ul"
)
_STRENGTHS = {
    **dict.fromkeys((*_PARAGRAPH_TAGS.split(), *_HEADINGS), "\n\n"),
    **dict.fromkeys(("br", "dd", "dt", "li", "option", "tr"), "\n"),
}
_CELLS = frozenset(("td", "th"))
# From the weakest to the strongest; between two texts the strongest asked for is written.
_SEPARATORS = ("", " ", "\n", "\n\n")


def read_html(path: Path) -> tuple[Facts, Iterator[Part]]:
    """Open a page; each part is the text under one heading, the heading itself first.

    Scripts, styles, navigation and form controls are dropped, `<pre>` keeps its lines, the cells of a table
    row are joined by ` | `. Raises `MemoryError` when the page does not fit, for no HTML is malformed.
    """
    try:
        tree = LexborHTMLParser(path.read_bytes().decode(html_encoding(path), "replace"))
    except SelectolaxError as error:
        raise MemoryError from error
    title = tree.css_first("title")
    facts = Facts(MediaType.HTML, title=clean_line(title.text()) if title else None)
    return facts, _parts(tree)


def _parts(tree: LexborHTMLParser) -> Iterator[Part]:
    root = _main(tree)
    if root is None:
        return
    # Passed by and not removed: removing a node inside a removed one would touch freed memory.
    dropped = {node.mem_id for node in tree.css(_DROPPED)}
    page = _Page()
    for node, tag, entering in _walk(root, dropped):
        if tag in _HEADINGS:
            if entering:
                yield page.part()
                page.begin_section()
            else:
                page.headings.enter(_HEADINGS[tag], page.text)
        page.enter(node, tag) if entering else page.leave(tag)
    yield page.part()


def _main(tree: LexborHTMLParser) -> LexborNode | None:
    # A page that marks its main content spares us sidebars and footers, if most of the text is in there.
    marked, body = tree.css("main, [role=main]"), tree.body
    if body is None or len(marked) != 1:
        return body
    code_chars = sum(len(node.text()) for node in tree.css("script, style"))
    return marked[0] if 2 * len(marked[0].text()) >= len(body.text()) - code_chars else body


def _walk(root: LexborNode, dropped: set[int]) -> Iterator[tuple[LexborNode, str, bool]]:
    """Yield each node, with its tag, on the way in and on the way out; without recursion, for pages nest."""
    node, depth = root, 0
    while True:
        if node.mem_id not in dropped:
            yield node, node.tag or "", True
            if (child := node.first_child) is not None:
                node, depth = child, depth + 1
                continue
            yield node, node.tag or "", False
        while depth and node.next is None:
            node, depth = cast("LexborNode", node.parent), depth - 1
            yield node, node.tag or "", False
        if not depth:
            return
        node = cast("LexborNode", node.next)


class _Page:
    """The text written so far under the current heading."""

    def __init__(self) -> None:
        self.headings = HeadingPath()
        self._written: list[str] = []
        self._separator = ""
        self._fixed = False
        self._preformatted = 0
        self._first_cell = True

    @property
    def text(self) -> str:
        return "".join(self._written)

    def part(self) -> Part:
        return Part(self.text, section=self.headings.section)

    def begin_section(self) -> None:
        self._written, self._separator, self._fixed = [], "", False

    def enter(self, node: LexborNode, tag: str) -> None:
        if tag == "-text":
            self._write(node.text_content or "")
        elif tag in _CELLS:
            self._begin_cell()
        elif tag == "li":
            self._fix("\n\n- " if self._separator == "\n\n" else "\n- ")
        elif tag in _STRENGTHS:
            self._preformatted += tag == "pre"
            self._first_cell |= tag == "tr"
            self._separate(_STRENGTHS[tag])

    def leave(self, tag: str) -> None:
        if tag in ("li", "tr"):
            self._separator, self._fixed = "\n", False
        elif tag in _STRENGTHS:
            self._preformatted -= tag == "pre"
            self._separate(_STRENGTHS[tag])

    def _write(self, text: str) -> None:
        words = text if self._preformatted else " ".join(text.split())
        if not words:
            self._separate(" " if text else "")
            return
        if not self._preformatted and text[0].isspace():
            self._separate(" ")
        self._written += (self._separator if self._written else self._separator.lstrip("\n"), words)
        self._separator, self._fixed = "", False
        if not self._preformatted and text[-1].isspace():
            self._separate(" ")

    def _separate(self, separator: str) -> None:
        if not self._fixed:
            self._separator = max(self._separator, separator, key=_SEPARATORS.index)

    def _fix(self, separator: str) -> None:
        # Bullets and cell borders stand; the paragraph inside a cell does not break the row.
        self._separator, self._fixed = separator, True

    def _begin_cell(self) -> None:
        if self._separator == " | ":
            self._written.append(" | ")
        self._fix(self._separator if self._first_cell else " | ")
        self._first_cell = False
