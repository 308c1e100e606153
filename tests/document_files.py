"""Builders of documents, good and bad; each returns the bytes of one file."""

import hashlib
import io
import struct
import zipfile
from collections.abc import Sequence
from html import escape

_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_CORE = "http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SLIDE = "http://schemas.openxmlformats.org/presentationml/2006/main"
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
# The padding string of the standard security handler, PDF 1.7 algorithm 2.
_PASSWORD_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def pdf(pages: Sequence[str], title: str = "") -> bytes:
    """A PDF of one-byte text, a line per line; a page of empty text is blank."""
    return _pdf_file([_page_content(text) for text in pages], title)


def image_only_pdf(page_count: int = 1) -> bytes:
    """What a scanner makes: pages that show an inline image and hold no text."""
    image = b"q 200 0 0 200 50 50 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI Q"
    return _pdf_file([image] * page_count, "")


def truncated_pdf(page_count: int = 20) -> bytes:
    """An upload that broke off: the first two thirds of a PDF, whole pages among them."""
    whole = pdf([f"This is page {number}." for number in range(1, page_count + 1)])
    return whole[: len(whole) * 2 // 3]


def encrypted_pdf(user_password: str = "secret") -> bytes:
    """A PDF encrypted by the standard security handler, revision 2 (RC4, 40 bits)."""
    identifier = b"0123456789abcdef"
    permissions = -4
    padded = (user_password.encode() + _PASSWORD_PADDING)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    seed = padded + owner + struct.pack("<i", permissions) + identifier
    key = hashlib.md5(seed).digest()[:5]
    user = _rc4(key, _PASSWORD_PADDING)
    handler = f"<< /Filter /Standard /V 1 /R 2 /P {permissions} /O <{owner.hex()}> /U <{user.hex()}> >>"
    trailer = f"/Encrypt {handler} /ID [<{identifier.hex()}> <{identifier.hex()}>]"
    # Object 6 is the first page's content, see `_pdf_file`; a key is made for each object.
    object_key = hashlib.md5(key + struct.pack("<I", 6)[:3] + b"\0\0").digest()[:10]
    return _pdf_file([_rc4(object_key, _page_content("Nobody reads this."))], "", trailer)


def docx(paragraphs: Sequence[str], title: str = "") -> bytes:
    """A Word document; a paragraph that begins with `# `, `## ` … is a heading."""
    core = (
        f'<cp:coreProperties xmlns:cp="{_CORE}" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{escape(title)}</dc:title></cp:coreProperties>"
    )
    body = "".join(_paragraph(text) for text in paragraphs)
    return _docx_file(f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>', core)


def xlsx(rows: Sequence[Sequence[str]], sheet: str = "Sheet1") -> bytes:
    """An Excel document of one sheet."""
    data = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
    sheets = f'<sheets><sheet name="{escape(sheet)}" sheetId="1" r:id="rId1"/></sheets>'
    members = {
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_LINKS}">{sheets}</workbook>',
        "xl/_rels/workbook.xml.rels": _relations(("worksheet", "worksheets/sheet1.xml")),
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEET}"><sheetData>{data}</sheetData></worksheet>',
    }
    return _office_file("xl/workbook.xml", "spreadsheetml.sheet.main", members)


def pptx(slides: Sequence[tuple[str, str]]) -> bytes:
    """A PowerPoint document of slides with a title and a body each."""
    files = [f"slides/slide{number}.xml" for number in range(1, len(slides) + 1)]
    ids = "".join(
        f'<p:sldId id="{255 + number}" r:id="rId{number}"/>' for number in range(1, len(slides) + 1)
    )
    members = {
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{_SLIDE}" xmlns:r="{_LINKS}">'
        f"<p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": _relations(*(("slide", file) for file in files)),
    }
    for file, (title, body) in zip(files, slides, strict=True):
        shapes = _shape(title, "title") + _shape(body, "body")
        members[f"ppt/{file}"] = (
            f'<p:sld xmlns:p="{_SLIDE}" xmlns:a="{_DRAWING}"><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld>'
            "</p:sld>"
        )
    return _office_file("ppt/presentation.xml", "presentationml.presentation.main", members)


def zip_bomb_docx(unpacked_bytes: int = 4 << 30) -> bytes:
    """A Word document of a few megabytes at most whose text unpacks to gigabytes, and says so."""
    buffer = io.BytesIO(docx(["harmless"]))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        block = bytes(1 << 20)
        with archive.open("word/media/image1.xml", "w", force_zip64=True) as member:
            for _ in range(min(unpacked_bytes, 64 << 20) >> 20):
                member.write(block)
    return _declare(buffer.getvalue(), b"word/media/image1.xml", unpacked_bytes)


def lying_zip_bomb_docx(unpacked_bytes: int = 64 << 20) -> bytes:
    """A Word document with a member that declares ten bytes and unpacks to megabytes."""
    buffer = io.BytesIO(docx(["harmless"]))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/image1.xml", bytes(unpacked_bytes))
    return _declare(buffer.getvalue(), b"word/media/image1.xml", 10)


def html(body: str, title: str = "A page", head: str = "") -> bytes:
    """A web page in UTF-8 around the given markup."""
    return (
        f"<!DOCTYPE html><html><head><meta charset=utf-8><title>{escape(title)}</title>{head}</head>"
        f"<body>{body}</body></html>"
    ).encode()


def png() -> bytes:
    """The beginning of a picture, enough to tell what it is."""
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89" + bytes(range(256)) * 4
    )


def _pdf_file(contents: Sequence[bytes], title: str, trailer: str = "") -> bytes:
    kids = " ".join(f"{5 + 2 * index} 0 R" for index in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< /Title <{title.encode('utf-16').hex()}> >>".encode() if title else b"<< >>",
    ]
    for index, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (6 + 2 * index)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R %s >>\n" % (len(objects) + 1, trailer.encode())
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def _page_content(text: str) -> bytes:
    if not text:
        return b""
    lines = (line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in text.splitlines())
    shown = "".join(f"({line}) Tj T*\n" for line in lines)
    return f"BT /F1 10 Tf 12 TL 40 750 Td\n{shown}ET".encode("cp1252")


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def _paragraph(text: str) -> str:
    hashes, _, title = text.partition(" ")
    style = ""
    if hashes and set(hashes) == {"#"}:
        style, text = f'<w:pPr><w:pStyle w:val="Heading{len(hashes)}"/></w:pPr>', title
    return f'<w:p>{style}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def _docx_file(document: str, core: str) -> bytes:
    members = {"word/document.xml": document, "docProps/core.xml": core}
    return _office_file("word/document.xml", "wordprocessingml.document.main", members)


def _office_file(main: str, kind: str, members: dict[str, str]) -> bytes:
    types = (
        f'<Types xmlns="{_TYPES}"><Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/{main}"'
        f' ContentType="application/vnd.openxmlformats-officedocument.{kind}+xml"/></Types>'
    )
    relations = _relations(("officeDocument", main))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"[Content_Types].xml": types, "_rels/.rels": relations, **members}.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{text}')
    return buffer.getvalue()


def _relations(*targets: tuple[str, str]) -> str:
    entries = "".join(
        f'<Relationship Id="rId{number}" Type="{_LINKS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{_RELATIONS}">{entries}</Relationships>'


def _cell(text: str) -> str:
    return f'<c t="inlineStr"><is><t>{escape(text)}</t></is></c>'


def _shape(text: str, kind: str) -> str:
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="2" name="{kind}"/><p:cNvSpPr/><p:nvPr><p:ph type="{kind}"/></p:nvPr>'
        f"</p:nvSpPr><p:spPr/><p:txBody><a:bodyPr/><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody>"
        "</p:sp>"
    )


def _declare(archive: bytes, member: bytes, size: int) -> bytes:
    """Change the unpacked size that the central directory declares for a member."""
    entry = archive.rindex(b"PK\1\2", 0, archive.rindex(member))
    declared = struct.pack("<I", min(size, 0xFFFFFFFE))
    return archive[: entry + 24] + declared + archive[entry + 28 :]
