"""Network interpolation: weights between two files of one network, from Python and from the command line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_evaluate_methods import G, quiet
from tests.helpers.photo_files import picture
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import restore
from tgjar_arch.evaluation.methods import build_methods, parse_methods
from tgjar_arch.evaluation.network_method import Dials
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.jpeg.codec import decode
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights import shipped
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_weights
from tgjar_arch.weights.interpolation import difference, interpolate

TOKENIZER = WordTokenizer.build(['a small yellow bird'])
T = {'vocab_size': TOKENIZER.vocab_size, 'embed_dim': 8, 'text_dim': 16}


def tiny(seed: int) -> ExportedWeights:
    """A generator of its own, and the text encoder of all."""
    torch.manual_seed(99)
    text = LSTMTextEncoder(**T).state_dict()
    torch.manual_seed(seed)
    net = TGJARGenerator(**G)
    torch.nn.init.normal_(net.tail.weight, std=.05)
    return ExportedWeights({'type': 'TGJARGenerator', **G}, net.state_dict(), {'type': 'LSTMTextEncoder', **T}, text,
                           TOKENIZER.to_json(), 6, max_qf=40 + seed, source=str(seed))


@pytest.fixture
def files(tmp_path):
    for seed, name in enumerate(('beautiful', 'true')):
        write_weights(tmp_path / f'{name}.safetensors', tiny(seed))
    return tmp_path / 'beautiful.safetensors', tmp_path / 'true.safetensors'


def test_the_mean_of_every_parameter_by_its_share() -> None:
    one, other = tiny(0), tiny(1)
    between = interpolate(one, other, .25)
    for name, value in between.state_g.items():
        torch.testing.assert_close(value, .75 * one.state_g[name] + .25 * other.state_g[name])
    assert between.max_qf == 40 and between.source == '0' and between.network_g == one.network_g
    for fidelity, end in ((0, one), (1, other)):
        found = interpolate(one, other, fidelity).state_g
        assert all(torch.equal(value, end.state_g[name]) for name, value in found.items())


def changed(**changes: object) -> ExportedWeights:
    return replace(tiny(1), **changes)


@pytest.mark.parametrize('other, said', [
    (changed(network_g={'type': 'TGJARLiteGenerator', **G}), "networks differ: type is 'TGJARGenerator' and"),
    (changed(network_g={'type': 'TGJARGenerator', **G, 'num_block': 2}), 'the networks differ: num_block is 1 and 2'),
    (changed(network_t=None), 'the text encoders differ: one file has none'),
    (changed(network_t={'type': 'LSTMTextEncoder', **T, 'embed_dim': 9}), 'text encoders differ: embed_dim is 8 and 9'),
    (changed(tokenizer=WordTokenizer.build(['a red small bird']).to_json()), 'the tokenizers differ'),
    (changed(max_words=7), 'max_words differs: 6 and 7'),
    (changed(state_t={k: v + 1 for k, v in tiny(0).state_t.items()}), 'the text encoders have other weights, in 9'),
    (changed(state_g={'a': torch.zeros(1)} | tiny(1).state_g), 'the networks differ: 1 tensors are in one file only'),
    (changed(state_g=tiny(1).state_g | {'tail.bias': torch.zeros(4)}), r'tail.bias is \(3,\) and \(4,\)'),
])
def test_what_differs_is_said(other: ExportedWeights, said: str) -> None:
    with pytest.raises(ValueError, match=f'cannot be interpolated, since .*{said}'):
        interpolate(tiny(0), other, .5)
    assert difference(tiny(0), tiny(1)) == ''


@pytest.mark.parametrize('fidelity', [-.1, 1.1, float('nan'), True, '0.5'])
def test_wrong_fidelity(fidelity: object, files: tuple) -> None:
    with pytest.raises(ValueError, match='fidelity must be a number from 0 .* to 1 .*, but is'):
        Restorer.from_pretrained(files[0], 'cpu', fidelity=fidelity, fidelity_weights=files[1])


def test_a_restorer_between_two_files(files: tuple) -> None:
    image = np.asarray(picture(40, 48))
    beautiful, true = (Restorer.from_pretrained(file, 'cpu')(image) for file in files)
    ends = [Restorer.from_pretrained(files[0], 'cpu', fidelity=f, fidelity_weights=files[1])(image) for f in (0, .5, 1)]
    assert np.array_equal(ends[0], beautiful) and np.array_equal(ends[2], true)
    assert not np.array_equal(ends[1], beautiful) and not np.array_equal(ends[1], true)


def test_what_does_not_fit_names_both_files(files: tuple, tmp_path) -> None:
    write_weights(tmp_path / 'other.safetensors', changed(max_words=7))
    with pytest.raises(ValueError, match='beautiful.safetensors and .*other.safetensors: .* max_words differs: 6'):
        Restorer.from_pretrained(files[0], 'cpu', fidelity=.5, fidelity_weights=tmp_path / 'other.safetensors')


def test_shipped_partner(files: tuple, tmp_path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError, match='no fidelity weights of beautiful are shipped'):
        Restorer.from_pretrained(files[0], 'cpu', fidelity=.5)
    monkeypatch.setattr(shipped, 'FOLDER', tmp_path)
    files[0].rename(tmp_path / 'tgjar_universal.safetensors')
    with pytest.raises(FileNotFoundError, match='no fidelity weights of tgjar_universal are shipped'):
        Restorer.from_pretrained(fidelity=.5)
    files[1].rename(tmp_path / 'tgjar_fidelity.safetensors')
    found = Restorer.from_pretrained(fidelity=1, device='cpu').net_g.state_dict()
    expected = read_weights(tmp_path / 'tgjar_fidelity.safetensors').state_g
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert list(shipped.shipped())[0] == 'tgjar_universal'


def test_command_line(files: tuple, tmp_path, capsys) -> None:
    picture(48, 40).save(tmp_path / 'in.jpg', quality=5)
    common = [str(tmp_path / 'in.jpg'), '--weights', str(files[0]), '--quiet', '--fidelity', '0.5']
    assert restore.main([*common, '-o', str(tmp_path / 'out.png'), '--fidelity-weights', str(files[1])]) == 0
    image = np.asarray(Image.open(tmp_path / 'in.jpg'))
    expected = Restorer.from_pretrained(files[0], 'cpu', fidelity=.5, fidelity_weights=files[1])(image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'out.png')), expected)
    capsys.readouterr()
    assert restore.main([*common, '-o', str(tmp_path / 'no.png')]) == 2
    error = capsys.readouterr().err
    assert 'no fidelity weights of beautiful are shipped' in error and error.count('\n') == 1
    assert restore.main([*common[:-2], '-o', str(tmp_path / 'no.png'), '--fidelity-weights', str(files[1])]) == 2
    assert '--fidelity-weights has no effect without --fidelity' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        restore.main([str(tmp_path / 'in.jpg'), '--fidelity', '1.5'])
    assert 'argument --fidelity: must be a number from 0 to 1, but is' in capsys.readouterr().err


def test_rows_of_an_evaluation(files: tuple, photos, tmp_path) -> None:
    images = EvaluationSet(photos(size=48), 32, max_images=1)
    specs = parse_methods([f'A={files[0]}'], [5])
    dials = [Dials(), Dials(fidelity=.5, fidelity_weights=files[1]), Dials(strength=.5)]
    methods = build_methods(specs, images, [5], tmp_path / 'out', dials=dials)
    assert [method.label for method in methods] == ['A', 'A, fidelity 0.5', 'A, strength 0.5']
    assert str(files[1]) in methods[1].describe(5) and 'strength 0.5' in methods[2].describe(5)
    name, made = images.names[0], []
    for method in methods:
        assert method.prepare(5, images.names, quiet) == {}
        made.append(method.image(name, 5).astype(int))
    lq = decode(images.jpeg(name, 5)).astype(int)
    assert np.abs(made[2] - (lq + made[0]) / 2).max() <= 1
    assert len({picture.tobytes() for picture in made}) == 3
