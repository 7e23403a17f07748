"""What `tgjar evaluate` compares: names matched, captions exchanged, pictures made and kept."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.archs.qgcn_arch import QGCN
from tgjar_arch.evaluation.kept_pictures import folder_name, restored_path
from tgjar_arch.evaluation.load_restorer import load_restorer
from tgjar_arch.evaluation.methods import (
    FolderMethod,
    Spec,
    build_methods,
    find_paths,
    match_names,
    parse_methods,
    quality_warnings,
)
from tgjar_arch.evaluation.paper import paper_rows
from tgjar_arch.evaluation.test_set import EvaluationSet, decode_image, wrong_captions
from tgjar_arch.jpeg.codec import compress
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights import shipped
from tgjar_arch.weights.checkpoint import save_atomically
from tgjar_arch.weights.file import ExportedWeights, write_weights

G = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}


def quiet(items, description):
    return items


def write_tiny(path, captions, seed=0):
    """Weights of a tiny generator whose result depends on the caption."""
    torch.manual_seed(seed)
    tokenizer = WordTokenizer.build(captions)
    network_t = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    write_weights(path, ExportedWeights(
        {'type': 'TGJARGenerator', **G}, TGJARGenerator(**G).state_dict(), {'type': 'LSTMTextEncoder', **network_t},
        LSTMTextEncoder(**network_t).state_dict(), tokenizer.to_json(), 6))
    return path


def captions_of(root):
    return sum((json.loads(line)['captions'] for line in (root / 'metadata.jsonl').read_text().splitlines()), [])


@pytest.mark.parametrize('there, found', [
    (['a/x', 'b/y'], {'a/x': 'a/x', 'b/y': 'b/y'}),
    (['x', 'y', 'other'], {'a/x': 'x', 'b/y': 'y'}),
    (['a/x_test_net', 'b/y_test_net'], {'a/x': 'a/x_test_net', 'b/y': 'b/y_test_net'}),  # our tester
    (['x_test_net', 'y_test_net', 'y_1'], {'a/x': 'x_test_net', 'b/y': 'y_test_net'}),  # BasicSR's
    (['x_test_net'], {'a/x': 'x_test_net'}),
    (['z', 'xx'], {}),
])
def test_pictures_are_found_by_name(there, found):
    assert match_names(['a/x', 'b/y'], there) == found


def test_names_that_are_beginnings_of_others():
    """`x_1` is an image of its own, not `x` with the ending `_1`."""
    names = ['x', 'x_1', 'x_1_2']
    assert match_names(names, names) == {name: name for name in names}
    assert match_names(names, [f'{name}_net' for name in names]) == {name: f'{name}_net' for name in names}


def test_equal_file_names_in_two_folders_need_the_folders():
    assert match_names(['a/x', 'b/x'], ['x']) == {}
    assert match_names(['a/x', 'b/x'], ['a/x_n', 'b/x_n']) == {'a/x': 'a/x_n', 'b/x': 'b/x_n'}


def test_methods_as_written():
    specs = parse_methods(['jpeg', 'A=x', 'B=y/{qf}', 'C@1=p', 'C@5=q=r'], [1, 5])
    assert [spec.name for spec in specs] == ['JPEG', 'A', 'B', 'C']
    assert [spec.paths for spec in specs] == [{}, {None: 'x'}, {1: 'y/1', 5: 'y/5'}, {1: 'p', 5: 'q=r'}]


LABELS = [row.method for choice in ('table3', 'table6') for row in paper_rows(choice)]


@pytest.mark.parametrize('label', LABELS)
def test_the_papers_rows_can_be_named(label):
    assert parse_methods([f'{label}=x=y'], [1]) == [Spec(label, {None: 'x=y'})]
    assert parse_methods([f' {label} = results/{{qf}}'], [1, 5]) == [Spec(label, {1: ' results/1', 5: ' results/5'})]
    assert parse_methods([f'{label}@5=x'], [1, 5]) == [Spec(label, {5: 'x'})]
    with pytest.raises(ValueError, match="'7' is none of the quality factors"):
        parse_methods([f'{label}@7=x'], [1, 5])


def test_all_rows_of_an_ablation_are_told_apart():
    assert len(LABELS) == 12
    assert [spec.name for spec in parse_methods([f'{label}=x' for label in LABELS], [1])] == LABELS
    assert parse_methods(['lambda_1=0.1'], [1]) == [Spec('lambda_1', {None: '0.1'})]  # no path behind it


def test_shipped_weights_go_by_name(images, tmp_path, monkeypatch):
    (tmp_path / 'weights').mkdir()
    for name in ('tgjar_cub_qf1', 'other'):
        write_tiny(tmp_path / 'weights' / f'{name}.safetensors', ['a bird'])
    monkeypatch.setattr(shipped, 'FOLDER', tmp_path / 'weights')
    monkeypatch.chdir(tmp_path)
    specs = find_paths(parse_methods(['A=tgjar_cub_qf1', 'B=other.safetensors', 'C@1=tgjar_cub_qf1', 'C@5=other'],
                                     [1, 5]))
    files = {name: str(tmp_path / 'weights' / f'{name}.safetensors') for name in ('tgjar_cub_qf1', 'other')}
    assert [spec.paths for spec in specs] == [{None: files['tgjar_cub_qf1']}, {None: files['other']},
                                              {1: files['tgjar_cub_qf1'], 5: files['other']}]
    row, = build_methods(specs[:1], images, [1], tmp_path, device='cpu')
    assert files['tgjar_cub_qf1'] in row.describe(1)
    with pytest.raises(FileNotFoundError, match='X: there is no folder or file bird, and shipped weights are tgjar'):
        find_paths(parse_methods(['X=bird'], [1]))
    (tmp_path / 'other').mkdir()  # a folder of that name is meant
    assert find_paths(parse_methods(['X=other'], [1])) == [Spec('X', {None: 'other'})]


def test_quality_that_weights_are_not_for(tmp_path):
    mine = str(tmp_path / 'mine.safetensors')
    write_tiny(tmp_path / 'mine.safetensors', ['a bird'])
    specs = [Spec('JPEG'), Spec('A', {None: str(shipped.FOLDER / 'tgjar_cub_qf1.safetensors')}),
             Spec('B', {8: mine, 60: mine}), Spec('C', {None: 'folder'})]
    assert quality_warnings(specs, [1, 8]) == []
    first, second = quality_warnings(specs, [8, 9, 60])
    assert first.startswith('A: tgjar_cub_qf1.safetensors is for JPEG quality up to 8, and is measured at 9, 60 too')
    assert second.startswith('B: mine.safetensors is for JPEG quality up to 40, and is measured at 60 too')


@pytest.mark.parametrize('texts, message', [
    (['TGJAR'], 'write JPEG, NLM, waifu2x, NAME=FOLDER'), (['=x'], 'write JPEG'), (['A='], 'write JPEG'),
    (['A@7=x'], "'7' is none of the quality factors"), (['A=x', 'A=y'], 'A is given twice'),
    (['JPEG', 'JPEG'], 'given twice'), (['A@1=x', 'A@1=y'], 'given twice'), (['A b=x', 'A_b=y'], 'one folder'),
])
def test_methods_that_are_not(texts, message):
    with pytest.raises(ValueError, match=message):
        parse_methods(texts, [1, 5])


def test_where_pictures_lie():
    assert restored_path('out', 'TGJAR, wrong captions', 5, '004.Ani/x.y').as_posix() == \
        'out/restored/TGJAR_wrong_captions/qf5/004.Ani/x.y.png'
    assert folder_name('../..') == 'method' and folder_name('a/b') == 'a_b'


@pytest.mark.parametrize('sizes', [[3, 3, 3], [1] * 5, [6, 2, 1], [2, 2]])
def test_wrong_captions_are_a_derangement(sizes):
    classes = {f'{c}{k}': c for c, size in enumerate(sizes) for k in range(size)}
    captions = {name: f'caption of {name}' for name in classes}
    wrong = wrong_captions(captions, classes, seed=3)
    assert wrong.keys() == captions.keys() and all(wrong[name] and wrong[name] != captions[name] for name in wrong)
    if max(sizes) * 2 <= sum(sizes):  # then everyone can have one of another class, each used once
        owner = {text: name for name, text in captions.items()}
        assert all(classes[owner[text]] != classes[name] for name, text in wrong.items())
        assert len(set(wrong.values())) == len(wrong)
    assert wrong == wrong_captions(captions, classes, seed=3)


def test_wrong_captions_without_classes_and_without_captions():
    wrong = wrong_captions({'a': 'one', 'b': 'two', 'c': '', 'd': 'two'}, dict.fromkeys('abcd', -1))
    assert wrong['a'] == 'two' and wrong['b'] == wrong['d'] == 'one' and wrong['c'] == ''
    assert wrong_captions({'a': 'alone'}, {'a': 1}) == {'a': ''}


def encoded(mode='RGB', size=(16, 16), **options):
    file = io.BytesIO()
    Image.new(mode, size).save(file, **({'format': 'PNG'} | options))
    return file.getvalue()


@pytest.mark.parametrize('content, message', [
    (b'', 'f.png is empty'), (b'text', r'truncated or no image \(cannot identify image file\);'),
    (encoded()[:-20], 'truncated'),
    (encoded(format='JPEG', size=(64, 64))[:-30], 'truncated'), (encoded('L'), 'a grey image'),
    (encoded('L', format='JPEG'), 'a grey image'), (encoded('CMYK', format='JPEG'), 'a CMYK image'),
    (encoded('I;16'), 'a 16-bit image'), (encoded('RGBA'), 'an RGBA image'), (encoded('P'), 'a palette image'),
])
def test_files_that_cannot_be_measured_say_what_to_do(content, message):
    with pytest.raises(ValueError, match=f'{message}.*(rite it again|8-bit RGB)'):
        decode_image(content, 'f.png')


def test_16_bit_colour_is_not_taken_for_8():
    import cv2
    content = cv2.imencode('.png', np.full((8, 8, 3), 40000, np.uint16))[1].tobytes()
    with pytest.raises(ValueError, match='16-bit image, not 8-bit RGB'):
        decode_image(content, 'f.png')


@pytest.fixture
def images(photos):
    found = EvaluationSet(photos(size=48), crop=32)
    found.check()
    return found


def test_the_set_is_what_validation_sees(images):
    assert images.names == ['astronaut', 'chelsea', 'coffee']
    whole = np.asarray(Image.open(f'{images.root}/chelsea.png'))[..., ::-1]
    assert np.array_equal(images.original('chelsea'), whole[8:40, 8:40])
    assert images.captions()['chelsea'] == 'a brown cat with green eyes'
    assert set(images.captions('none').values()) == {''}
    assert set(images.captions('wrong').values()) == set(images.captions().values())


def test_plain_jpeg(images):
    method, = build_methods(parse_methods(['JPEG'], [5]), images, [5], 'unused')
    assert method.prepare(5, images.names, quiet) == {}
    assert np.array_equal(method.image('coffee', 5), compress(images.original('coffee'), 5))


def test_a_network_restores_once(images, tmp_path):
    weights = write_tiny(tmp_path / 'w.safetensors', images.captions().values())
    spec = parse_methods([f'Tiny={weights}'], [1])
    rows = build_methods(spec, images, [1], tmp_path, ['right', 'wrong', 'none'], 'cpu')
    assert [row.label for row in rows] == ['Tiny', 'Tiny, wrong captions', 'Tiny, no captions']
    for row in rows:
        assert row.prepare(1, images.names, quiet) == {}
    jpeg = Image.open(io.BytesIO(images.jpeg('chelsea', 1)))
    expected = np.asarray(Restorer.from_pretrained(weights, 'cpu')(jpeg, 'a brown cat with green eyes'))[..., ::-1]
    assert np.array_equal(rows[0].image('chelsea', 1), expected)
    pictures = [row.image('chelsea', 1) for row in rows]
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])

    files = [restored_path(tmp_path, 'Tiny', 1, name) for name in images.names]
    with Image.open(files[1]) as image:
        assert image.info['caption'] == 'a brown cat with green eyes'
    stamps = [file.stat().st_mtime_ns for file in files]
    files[0].write_bytes(files[0].read_bytes()[:-30])  # cut short, as by a full disk
    rows[0].prepare(1, images.names, quiet)
    assert [file.stat().st_mtime_ns == stamp for file, stamp in zip(files, stamps, strict=True)] == [False, True, True]
    write_tiny(weights, images.captions().values(), seed=1)  # another training
    again, = build_methods(spec, images, [1], tmp_path, device='cpu')
    again.prepare(1, images.names, quiet)
    assert not np.array_equal(again.image('chelsea', 1), pictures[0])
    assert not list(tmp_path.rglob('*.tmp'))


def option_file(tmp_path, network, params, more=''):
    save_atomically({'params': params}, tmp_path / 'net_g.pth')
    path = tmp_path / 'test.yml'
    path.write_text('plugin: !!python/name:tgjar_arch.__version__\n'
                    f'network_g: {json.dumps(network)}\n'
                    f'path:\n  pretrain_network_g: {tmp_path}/net_g.pth\n  param_key_g: params\n{more}')
    return path


def test_a_test_option_file_with_quantisation_maps(images, tmp_path):
    network = QGCN(num_feat=4, num_block=2).eval()
    path = option_file(tmp_path, {'type': 'QGCN', 'num_feat': 4, 'num_block': 2}, network.state_dict())
    row, = build_methods(parse_methods([f'QGCN={path}'], [1, 5]), images, [1, 5], tmp_path, ['wrong', 'none'], 'cpu')
    assert row.label == 'QGCN' and row.prepare(1, images.names, quiet) == row.prepare(5, images.names, quiet) == {}
    jpeg = Image.open(io.BytesIO(images.jpeg('coffee', 5)))
    restorer = Restorer(ExportedWeights({'type': 'QGCN', 'num_feat': 4, 'num_block': 2}, network.state_dict()), 'cpu')
    assert np.array_equal(row.image('coffee', 5), np.asarray(restorer(jpeg))[..., ::-1])
    assert not np.array_equal(row.image('coffee', 5), row.image('coffee', 1))


def test_a_test_option_file_with_text(images, tmp_path):
    tokenizer = WordTokenizer.build(images.captions().values())
    tokenizer.save(tmp_path / 'tokenizer.json')
    torch.manual_seed(0)
    options = {'embed_dim': 8, 'text_dim': 16}
    encoder = LSTMTextEncoder(vocab_size=tokenizer.vocab_size, **options)
    save_atomically({'params': encoder.state_dict(), 'tokenizer': tokenizer.to_json()}, tmp_path / 'net_t.pth')
    path = option_file(
        tmp_path, {'type': 'TGJARGenerator', **G}, TGJARGenerator(**G).state_dict(),
        f'  pretrain_network_t: {tmp_path}/net_t.pth\n'
        f'network_t: {json.dumps({"type": "LSTMTextEncoder", "vocab_size": None, **options})}\n'
        f'datasets: {{test_1: {{tokenizer: {tmp_path}/tokenizer.json, max_words: 6}}}}\n')
    rows = build_methods(parse_methods([f'Mine={path}'], [1]), images, [1], tmp_path, ['right', 'none'], 'cpu')
    for row in rows:
        assert row.prepare(1, images.names, quiet) == {}
    assert not np.array_equal(rows[0].image('coffee', 1), rows[1].image('coffee', 1))


def test_the_key_of_the_weights_as_in_basicsr(images, tmp_path):
    """`params` stands in for a key that is not there, a bare state dict needs none; what is no weights is named."""
    torch.manual_seed(0)
    network = {'type': 'QGCN', 'num_feat': 4, 'num_block': 2}
    state = QGCN(num_feat=4, num_block=2).state_dict()
    path = option_file(tmp_path, network, state)
    _, fingerprint = load_restorer(path, 'cpu')
    path.write_text(path.read_text().replace('param_key_g: params', 'param_key_g: params_ema'))
    assert load_restorer(path, 'cpu')[1] == fingerprint
    save_atomically(state, tmp_path / 'net_g.pth')
    assert load_restorer(path, 'cpu')[1] == fingerprint
    save_atomically({'optimizer': {'lr': 1.}, 'iter': 3}, tmp_path / 'net_g.pth')
    with pytest.raises(ValueError, match='_g: .*net_g.pth holds no weights.*: its keys are optimizer, iter'):
        load_restorer(path, 'cpu')
    save_atomically({'params': {key: value for key, value in state.items() if not key.endswith('bias')}},
                    tmp_path / 'net_g.pth')
    with pytest.raises(ValueError, match='do not fit the network: .*Missing key.*bias'):
        load_restorer(path, 'cpu')


def test_an_option_file_must_agree_with_its_checkpoint_on_text_norm(images, tmp_path):
    network = {'type': 'TGJARGenerator', **G}
    path = option_file(tmp_path, network, TGJARGenerator(**G).state_dict())
    content = {'params': TGJARGenerator(**G).state_dict(), 'network': json.dumps(network | {'text_norm': False})}
    save_atomically(content, tmp_path / 'net_g.pth')
    with pytest.raises(ValueError, match='net_g.pth was trained with text_norm: false, but network_g has true'):
        load_restorer(path, 'cpu')
    save_atomically(content | {'network': json.dumps(network | {'text_norm': True})}, tmp_path / 'net_g.pth')
    load_restorer(path, 'cpu')


def test_a_folder_for_each_quality_factor(images, tmp_path):
    for qf in (1, 5):
        for name in images.names:
            path = tmp_path / 'done' / f'qf{qf}' / f'{name}_net.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(compress(images.original(name), qf)[..., ::-1]).save(path)
    row, = build_methods(parse_methods([f'Done={tmp_path / "done"}'], [1, 5]), images, [1, 5], tmp_path)
    assert np.array_equal(row.image('coffee', 5), compress(images.original('coffee'), 5))
    with pytest.raises(ValueError, match=r'done has qf1, qf5, but no qf10; restore it at quality 10'):
        build_methods(parse_methods([f'Done={tmp_path / "done"}'], [1, 10]), images, [1, 10], tmp_path)
    flat = parse_methods([f'Done={tmp_path / "done" / "qf1"}'], [1, 5])
    with pytest.raises(ValueError, match=r'cannot hold the pictures of all quality factors.*\{qf\}'):
        build_methods(flat, images, [1, 5], tmp_path)
    (tmp_path / 'done' / 'qf5' / 'coffee_net.png').unlink()
    assert list(row.prepare(5, images.names, quiet)) == []  # as it was when the method was made
    fewer = FolderMethod('Done', {5: str(tmp_path / 'done' / 'qf5')}, images)
    assert 'no picture of coffee' in fewer.prepare(5, images.names, quiet)['coffee']


@pytest.mark.parametrize('make, message', [
    (lambda t: t / 'nowhere', 'there is no folder or file'),
    (lambda t: (t / 'x.txt').write_text('x') and t / 'x.txt', 'must be folders of pictures'),
    (lambda t: (t / 'w.safetensors').write_text('x') and t / 'w.safetensors', 'is no safetensors file'),
    (lambda t: (t / 'o.yml').write_text('name: x') and t / 'o.yml', 'must be a test option file'),
    (lambda t: (t / 'o.yml').write_text('network_g: {type: QGCN}\npath: {pretrain_network_g: no.pth}') and t / 'o.yml',
     'there is no no.pth'),
    (lambda t: option_file(t, {'type': 'QGCN', 'num_feat': 4, 'num_block': 2}, {}), 'holds no weights of a network'),
    (lambda t: (t / 'empty').mkdir() or t / 'empty', 'there is no image in'),
])
def test_methods_that_cannot_be_made_name_the_file(images, tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_methods(parse_methods([f'X={path}'], [1]), images, [1], tmp_path)


def test_names_that_do_not_match_are_shown(images, tmp_path):
    (tmp_path / 'other').mkdir()
    Image.new('RGB', (8, 8)).save(tmp_path / 'other' / 'zebra.png')
    with pytest.raises(ValueError, match='such as astronaut.png or astronaut_ENDING.png; the first there is zebra'):
        FolderMethod('X', {1: str(tmp_path / 'other')}, images)
