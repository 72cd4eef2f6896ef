"""Writes a one-page PDF of plain text lines: enough for a link that opens; pure.

The invoice that counts is typeset by billing. This is what the double's `invoice_pdf` shows.
"""

from collections.abc import Sequence

_LINES_MAX = 52


def text_pdf(lines: Sequence[str]) -> bytes:
    """Return a PDF 1.4 file; same lines, same bytes. Characters outside Latin-1 become `?`.

    >>> text_pdf(["Total 49.00 USD"])[:8]
    b'%PDF-1.4'
    """
    shown = list(lines[:_LINES_MAX])
    if len(lines) > _LINES_MAX:
        shown.append(f"and {len(lines) - _LINES_MAX} further lines")
    text = b" T* ".join(b"(" + _escaped(line) + b") Tj" for line in shown)
    stream = b"BT /F1 10 Tf 50 800 Td 14 TL " + text + b" ET"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    )
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1)
    return out + b"startxref\n%d\n%%%%EOF\n" % start


def _escaped(line: str) -> bytes:
    raw = line.encode("latin-1", "replace")
    for char in (b"\\", b"(", b")"):
        raw = raw.replace(char, b"\\" + char)
    return raw.replace(b"\n", b" ").replace(b"\r", b" ")
