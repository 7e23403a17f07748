"""Foreign text in Markdown, in CSV files and on a line: shown, never obeyed."""

import csv
import html
import io
import re

import pytest

from tgjar_arch.text.escaping import as_cell, as_markdown, from_cell, from_markdown, one_line

HOSTILE = ['bird ![](http://localhost:8123/x)', '[link](https://example.org "title")',
           '<img src=http://h/x onerror=a()>', '<script>alert(1)</script>',
           'see http://example.org and www.example.org', 'a@example.org', '`code` *a* **b**',
           '_a_ __b__ snake_case_name', '~~gone~~ $$x^2$$ $a$', '&lt;b&gt; &amp; &#33;', '\\[x\\](y)', '# heading',
           '> quote', '- list', '+ list', '12. list', '3) list', '===', '---', '[x]: http://h/x', '[^1]: note',
           '{#id .class}', '![][http:\\\\localhost:1\\x]', '    code', 'a | b']


@pytest.mark.parametrize('text', HOSTILE)
def test_markdown_shows_it_as_it_is(text: str) -> None:
    """Python-Markdown, with what TensorBoard and GitHub add, makes one paragraph of plain text of it."""
    markdown = pytest.importorskip('markdown')
    shown = markdown.markdown(as_markdown(text), extensions=['tables', 'fenced_code', 'footnotes', 'attr_list'])
    inner = re.fullmatch('<p>(.*)</p>', shown, re.DOTALL)
    assert inner and '<' not in inner[1]
    assert html.unescape(inner[1]) == ' '.join(text.split())


@pytest.mark.parametrize('text', HOSTILE)
def test_no_address_is_left_that_would_become_a_link_by_itself(text: str) -> None:
    """GitHub's Markdown and Gradio's link bare addresses, which Python-Markdown does not."""
    escaped = as_markdown(text)
    assert not re.search(r'\w+:[/\\]|www\.|\w@|!\[|\]\(|<', escaped)
    assert from_markdown(escaped) == ' '.join(text.split())


def test_plain_names_stay_readable() -> None:
    for name in ('tgjar_universal', 'JPEG', 'ours, wrong captions', 'a brown cat (QF 1): 3.5 % of "all"',
                 'data/cub/a.jpg'):
        assert as_markdown(name) == name


@pytest.mark.parametrize('text', ['=HYPERLINK("http://h/x")', "+1+cmd|' /C calc'!A0", '-2+3', '@SUM(A1)', '\t=1',
                                  "'=1", "''=1", '\uff1d1+1', '-', '\r=1', '+x'])
def test_no_spreadsheet_computes_a_cell(text: str) -> None:
    cell = as_cell(text)
    assert isinstance(cell, str) and cell.startswith("'") and from_cell(cell) == text
    file = io.StringIO()
    csv.writer(file).writerow([cell])
    assert next(csv.reader(io.StringIO(file.getvalue(), newline=''))) == [cell]


@pytest.mark.parametrize('text', ['a bird;=1+1', "=1;=2;'=3;;@x", "a;''-1", ';\uff1d1', "a;'b; =c;"])
def test_no_spreadsheet_that_parts_cells_at_semicolons_computes_one(text: str) -> None:
    cell = as_cell(text)
    assert isinstance(cell, str) and from_cell(cell) == text
    assert not any(re.match('[=+@\uff1d-]', part) for part in cell.split(';'))


@pytest.mark.parametrize('value', [-0.5, 3, None, '', 'bird.jpg', '-0.5', '+1.25', '-1e-05', '–', "'quoted'", "'"])
def test_numbers_and_names_stay(value: object) -> None:
    assert as_cell(value) == value
    if isinstance(value, str):
        assert from_cell(value) == value


def test_one_line() -> None:
    assert one_line('a\nb\r\tc\x1b[2J\x9b\u202egpj.exe\u2066\u061c\udcff') == (
        r'a\nb\r\tc\x1b[2J\x9b\u202egpj.exe\u2066\u061c\udcff')
    assert one_line('鳥 é 🐦 – “a”') == '鳥 é 🐦 – “a”'
