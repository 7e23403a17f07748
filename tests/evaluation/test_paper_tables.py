"""The paper's figures as data, and the tables they stand in beside ours."""

import csv
import io
from dataclasses import replace

import pytest

from tgjar_arch.evaluation.measures import Measure
from tgjar_arch.evaluation.paper import METHODS, PERCEPTUAL, ROWS, TABLE_5, guess_dataset, paper_rows
from tgjar_arch.evaluation.scores import Scores
from tgjar_arch.evaluation.tables import Comparison, build_tables, caption_table, long_table, wide_table

PSNR = Measure('psnr', 'PSNR', True, 2, 'by hand', lambda a, b: 0.)
LPIPS = Measure('lpips', 'LPIPS', False, 4, 'by hand', lambda a, b: 0.)
FID = Measure('fid', 'FID', False, 1, 'by hand')


def figure(choice, qf, method):
    return next(row.scores for row in paper_rows(choice) if (row.qf, row.method) == (qf, method))


@pytest.mark.parametrize('choice, qf, method, scores', [
    ('cub', 1, 'JPEG', {'psnr': 21.8, 'lpips': .505, 'fid': 202.5, 'pi': 11.45, 'niqe': 19.43}),
    ('cub', 10, 'TGJAR', {'psnr': 29.7, 'lpips': .089, 'fid': 6.9, 'pi': 5.60, 'niqe': 7.69}),
    ('cub', 5, 'FBCNN', {'psnr': 27.2, 'lpips': .237, 'fid': 47.5, 'pi': 7.58, 'niqe': 9.84}),
    ('oxford102', 5, 'QGCN', {'psnr': 26.9, 'lpips': .190, 'fid': 58.5, 'pi': 6.96, 'niqe': 8.77}),
    ('oxford102', 10, 'EDSR', {'psnr': 29.6, 'lpips': .125, 'fid': 48.1, 'pi': 6.27, 'niqe': 7.85}),
    ('kodak', 1, 'TGJAR', {'lpips': .348, 'fid': 120.5, 'pi': 4.43, 'niqe': 5.51}),
    ('coco', 1, 'EDSR', {'lpips': .458, 'fid': 165.3, 'pi': 7.63, 'niqe': 9.19}),
    ('table3', 1, 'L_R+L_G+LFM+L_IT', {'psnr': 24.2, 'lpips': .307, 'fid': 36.7, 'pi': 8.44, 'niqe': 11.05}),
    ('table3', 1, 'L_R+L_G+L_C', {'lpips': .288, 'fid': 56.7, 'pi': 7.01, 'niqe': 8.82}),
    ('table6', 1, 'lambda_1=0.001', {'lpips': .280, 'fid': 16.5, 'pi': 7.23, 'niqe': 9.66}),
])
def test_figures_as_printed(choice, qf, method, scores):
    assert figure(choice, qf, method) == scores


def test_every_cell_of_the_tables_is_there():
    counts = {table: sum(row.table == table for row in ROWS) for table in ('1 and 2', '3', '4', '6')}
    assert counts == {'1 and 2': 2 * 3 * 6, '3': 6, '4': 4, '6': 6}
    assert all(set(PERCEPTUAL) <= row.scores.keys() for row in ROWS)
    assert {(row.dataset, row.qf, row.method) for row in ROWS if row.table == '1 and 2'} == {
        (dataset, qf, method) for dataset in ('CUB', 'Oxford-102') for qf in (1, 5, 10) for method in METHODS}
    assert [(row.method, row.parameters, row.seconds) for row in TABLE_5] == [
        ('EDSR', 19.4, .178), ('RNAN', 8.9, .505), ('QGCN', 12.3, .605), ('FBCNN', 71.9, .262), ('TGJAR', 6.9, .087)]


def test_the_full_model_is_one_row_of_three_tables():
    """Tables 3 and 6 vary the model of Table 1, so its figures come again in them."""
    full = {key: value for key, value in figure('cub', 1, 'TGJAR').items() if key != 'psnr'}
    assert figure('table6', 1, 'lambda_1=0.01') == figure('table6', 1, 'lambda_4=0.0005') == full
    assert figure('table3', 1, 'L_R+L_G+GFM+LFM+L_IT+L_C') == full | {'psnr': 24.4}


@pytest.mark.parametrize('path, dataset', [
    ('data/cub/test', 'cub'), ('cub_test', 'cub'), ('oxford-102/test.lmdb', 'oxford102'), ('kodak', 'kodak'),
    ('coco/test2017/', 'coco'), ('cub/kodak_like', 'kodak'), ('kodak/test', 'kodak'), ('cubes/test', None),
    ('data/cub/train', None), ('data/CUB_200_2011', None), ('/home/test/cub/train', None), ('test/cub', None),
    ('cub/latest', None), ('/home/cub/photos/test', None)])
def test_test_set_of_a_path(path, dataset):
    assert guess_dataset(path) == dataset


def test_unknown_choice():
    with pytest.raises(ValueError, match="'table9' is none of cub, oxford102"):
        paper_rows('table9')


def comparison(labels=('JPEG', 'TGJAR'), measures=(PSNR, LPIPS, FID), paper='cub', more=()):
    """Two methods at QF 1 and one of them at QF 5, by hand."""
    scores = Scores()
    scores.by_image = {('JPEG', 1): {'psnr': {'a': 20., 'b': 22.}, 'lpips': {'a': .5, 'b': .5}},
                       ('TGJAR', 1): {'psnr': {'a': 24., 'b': 24.}, 'lpips': {'a': .25}},
                       ('JPEG', 5): {'psnr': {'a': 25., 'b': 26.}, 'lpips': {'a': .3, 'b': .4}}} | dict(more)
    scores.of_set = {(label, 1): {'fid': (value, frozenset('ab'))} for label, value in (('JPEG', 200.), ('TGJAR', 20.))}
    return Comparison('CUB', labels, (1, 5), measures, scores, paper_rows(paper) if paper else ())


def test_long_table():
    table = long_table(comparison())
    assert table.header == ['QF', 'method', 'images', 'PSNR ↑', 'LPIPS ↓', 'FID ↓']
    assert table.cells[0] == ['1', 'JPEG', '2', '21.00 ± 1.00', '0.5000 ± 0.0000', '200.0']
    assert table.cells[1] == ['1', 'TGJAR', '2', '**24.00** ± 0.00', '0.2500 (1 image) †', '**20.0**']
    assert table.cells[2] == ['1', 'JPEG (paper, CUB, Tables 1 and 2)', '', '21.8', '0.505', '202.5']
    at_5 = [line for line in table.cells if line[0] == '5']
    assert at_5[0][:2] == ['5', 'JPEG'] and '**' not in ''.join(at_5[0])  # alone, it is not the best of anything
    assert not long_table(comparison(measures=(PSNR, FID))).notes
    assert table.notes == ['† QF 1: measured on other images than the rest, compare with care: TGJAR without 1 of '
                           'the 2 (LPIPS).']
    assert len(table.cells) == 2 + 6 + 1 + 6 and at_5[0][-1] == '–'
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert rows[0]['psnr'] == '21.0' and rows[0]['psnr_low'] == '20.0' and rows[0]['psnr_high'] == '22.0'
    assert rows[0]['source'] == 'measured' and rows[2]['source'] == 'paper' and rows[0]['fid_low'] == ''
    assert [rows[k]['on_other_images'] for k in (0, 1, 2)] == ['', 'lpips', '']
    assert rows[0]['paper_table'] == '' and rows[2]['paper_table'] == '1 and 2'


def test_the_paper_form():
    table = wide_table(comparison(), PERCEPTUAL, 'table1', 'title')
    assert table.header == ['dataset', 'QF', 'source', *METHODS]
    assert table.cells[0] == ['CUB', '1', 'measured', '0.500/200.0/–/–', '–', '–', '–', '–', '0.250†/**20.0**/–/–']
    assert table.notes == long_table(comparison()).notes
    assert table.cells[1][3] == '0.505/202.5/11.45/19.43' and table.cells[1][-1] == '0.249/17.9/6.95/8.62'
    assert [line[1:3] for line in table.cells] == [['1', 'measured'], ['1', 'paper, Table 1'], ['5', 'measured'],
                                                   ['5', 'paper, Table 1']]
    psnr = wide_table(comparison(), ['psnr'], 'table2', 'title')
    assert psnr.cells[0][3:] == ['21.00', '–', '–', '–', '–', '**24.00**'] and psnr.cells[1][-1] == '24.4'
    assert psnr.cells[1][2] == 'paper, Table 2' and not psnr.notes
    assert '**' not in psnr.csv()
    assert wide_table(comparison(), ['ssim'], 'x', 'y') is None


def test_other_methods_come_after_the_papers():
    table = wide_table(comparison(('Mine', 'JPEG'), paper=None), ['psnr'], 'table2', 'title')
    assert table.header[3:] == ['JPEG', 'Mine'] and len(table.cells) == 2
    markdown = long_table(comparison(('A|B', 'JPEG'), more={('A|B', 1): {'psnr': {'a': 1.}}})).markdown()
    assert r'A\|B' in markdown and {line.count(' | ') for line in markdown.splitlines() if line[:1] == '|'} == {5}


def test_names_of_methods_and_folders_are_text():
    """No Markdown reader makes a link, a picture or HTML of them, and no spreadsheet a formula."""
    name, wrong = '=A1![](http://h/x)<img src=x>', '=A1![](http://h/x)<img src=x>, wrong captions'
    scores = {'psnr': {'a': 1., 'b': 2.}}
    more = {(name, 1): scores, (wrong, 1): {'psnr': {'a': 0.}}}
    given = replace(comparison((name, wrong, 'JPEG'), (PSNR,), more=more), dataset='-[cub](http://h/y)')
    for table in build_tables(given):
        markdown = table.markdown()
        assert not [mark for mark in ('![', '](', '<img', 'http://') if mark in markdown]
        cells = [cell for row in csv.reader(io.StringIO(table.csv())) for cell in row]
        assert any(cell.startswith(f"'{name}") for cell in cells), table.name
        assert not any(cell.startswith(('=', '-[')) for cell in cells)


def test_what_the_right_caption_brings_is_paired():
    right = {f'i{k}': 20. + k for k in range(10)}
    wrong = {name: value - 1 for name, value in right.items()}
    lpips = {f'i{k}': .5 for k in range(10)}
    more = {('TGJAR', 1): {'psnr': right, 'lpips': lpips}, ('TGJAR, wrong captions', 1): {
        'psnr': wrong, 'lpips': {name: value + .1 for name, value in lpips.items()}}}
    table = caption_table(comparison(('JPEG', 'TGJAR', 'TGJAR, wrong captions'), (PSNR, LPIPS), more=more))
    # Images differ by far more than captions, but each gains exactly 1 dB, so the paired error is 0.
    assert table.cells[0] == ['1', 'TGJAR', '10', 'PSNR', '+1.000 ± 0.000 *', '100 %']
    assert table.cells[1] == ['1', 'TGJAR', '10', 'LPIPS', '+0.10000 ± 0.00000 *', '100 %']
    assert caption_table(comparison()) is None
    assert [table.name for table in build_tables(comparison())] == ['table', 'table1', 'table2']
    one = {key: {'psnr': {'a': value}} for key, value in ((('TGJAR', 1), 2.), (('TGJAR, wrong captions', 1), 1.))}
    alone = caption_table(comparison(('TGJAR', 'TGJAR, wrong captions'), (PSNR,), more=one))
    assert alone.cells[0][2:] == ['1', 'PSNR', '+1.000', '100 %'] and alone.csv_rows[0][6:8] == ['', '']


def test_bold_is_what_a_reader_sees_as_the_best():
    """All that print the same value; not one that was measured on fewer images."""
    more = {('A', 1): {'psnr': {'a': 24.001, 'b': 24.001}}, ('Few', 1): {'psnr': {'a': 40.}}}
    labels = ('JPEG', 'TGJAR', 'A', 'Few')
    cells = {line[1]: line[3] for line in long_table(comparison(labels, (PSNR,), None, more)).cells if line[0] == '1'}
    assert {label for label, cell in cells.items() if '**' in cell} == {'TGJAR', 'A'}
    assert cells['Few'] == '40.00 †'


def of_sets(**sets):
    """Methods with PSNR on these images, each on its own."""
    scores = Scores({(label, 1): {'psnr': dict.fromkeys(names, 20. + k)}
                     for k, (label, names) in enumerate(sets.items())})
    return Comparison('CUB', list(sets), (1,), (PSNR,), scores)


@pytest.mark.parametrize('sets, bold, marked', [
    ({'A': 'ab', 'B': 'ab', 'C': 'ac'}, {'B'}, {'C': 'C without 1 of the 2 and with 1 more than the 2'}),
    ({'A': 'abc', 'B': 'ab', 'C': 'ab'}, {'C'}, {'A': 'A with 1 more than the 2'}),
    ({'A': 'abc', 'B': 'abc', 'C': 'a', 'D': 'a', 'E': 'a'}, {'B'}, dict.fromkeys('CDE', 'C without 2 of the 3')),
    ({'A': 'ab', 'B': 'cd', 'C': 'cd', 'D': 'cd'}, {'D'}, {'A': 'A without 2 of the 2 and with 2 more than the 2'}),
    ({'A': 'ab', 'B': 'a', 'C': ''}, set(), {'B': 'B without 1 of the 2'}),
])
def test_only_what_was_measured_on_the_same_images_is_compared(sets, bold, marked):
    both = of_sets(**sets)
    for table, column in ((long_table(both), 3), (wide_table(both, ['psnr'], 'table2', 'title'), None)):
        cells = ({line[1]: line[column] for line in table.cells} if column
                 else dict(zip(table.header[3:], table.cells[0][3:], strict=True)))
        assert {label for label, cell in cells.items() if '**' in cell} == bold
        assert {label for label, cell in cells.items() if '†' in cell} == set(marked)
        note, = table.notes
        assert all(text in note for text in marked.values()) and 'QF 1' in note


def test_a_metric_of_the_whole_set_is_compared_on_the_same_images_only():
    both = comparison(measures=(FID,))
    both.scores.of_set['TGJAR', 1] = {'fid': (20., frozenset('ac'))}
    cells = long_table(both).cells
    assert [line[3] for line in cells[:2]] == ['200.0', '20.0 †']


@pytest.mark.parametrize('choice, label, titles, sources', [
    (None, 'TGJAR', ('1', '2'), []), ('cub', 'TGJAR', ('1', '2'), ['CUB 1', 'CUB 2']),
    ('table3', 'L_R+L_G', ('3', '3'), ['CUB 3', 'CUB 3']), ('table6', 'lambda_1=0.1', ('6', '2'), ['CUB 6']),
    ('kodak', 'EDSR', ('4', '2'), ['Kodak 4']),
])
def test_titles_and_rows_name_the_table_they_are_of(choice, label, titles, sources):
    tables = build_tables(replace(comparison(paper=choice), dataset='mine', qfs=(1,)))
    assert [table.title[-len('(form of Table 1)'):] for table in tables[1:]] == [
        f'(form of Table {number})' for number in titles]
    assert len({table.name for table in tables}) == 3
    printed = [line for table in tables[1:] for line in table.cells if line[2] != 'measured']
    assert [f'{line[0]} {line[2].removeprefix("paper, Table ")}' for line in printed] == sources
    assert {line[0] for table in tables[1:] for line in table.cells if line[2] == 'measured'} == {'mine'}
    long = [row for row in csv.DictReader(io.StringIO(tables[0].csv())) if row['source'] == 'paper']
    assert {row['dataset'] for row in long} == {source.split()[0] for source in sources}
    if choice:
        row = next(row for row in paper_rows(choice) if row.method == label)
        assert f'{label} (paper, {row.dataset}, {row.source})' in {line[1] for line in tables[0].cells}


def test_images_without_a_caption_do_not_say_what_captions_bring():
    right, wrong = {'a': 21., 'b': 22., 'c': 30.}, {'a': 20., 'b': 21., 'c': 30.}
    more = {('TGJAR', 1): {'psnr': right}, ('TGJAR, wrong captions', 1): {'psnr': wrong}}
    everything = comparison(('TGJAR', 'TGJAR, wrong captions'), (PSNR,), None, more)
    assert caption_table(everything).cells[0][2] == '3'
    captioned = replace(everything, captioned=frozenset({'a', 'b'}))
    assert caption_table(captioned).cells[0][2:] == ['2', 'PSNR', '+1.000 ± 0.000 *', '100 %']


def test_the_paper_form_prints_fewer_digits_and_ties_there():
    more = {('A', 1): {'lpips': {'a': .2404, 'b': .2404}}, ('B', 1): {'lpips': {'a': .2397, 'b': .2397}}}
    both = comparison(('A', 'B'), (LPIPS,), None, more)
    assert wide_table(both, ['lpips'], 'table1', 'title').cells[0][3:] == ['**0.240**', '**0.240**']
    assert [line[3][:2] for line in long_table(both).cells] == ['0.', '**']
