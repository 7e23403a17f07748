"""`tgjar import-attngan` on files of the layout of the public AttnGAN checkpoints, made here."""

import json
import os
import pickle
import re

import pytest
import torch

from tgjar_arch.archs.image_encoder_arch import DAMSMImageEncoder
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import main as tgjar
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint

WORDS = ['this', 'bird', 'has', 'wings', 'that', 'are', 'brown']
NAMES = ['net_i_latest.pth', 'net_t_latest.pth', 'tokenizer.json']


@pytest.fixture(autouse=True)
def one_thread(deterministic):
    torch.set_num_threads(1)


@pytest.fixture(scope='module')
def image_file(tmp_path_factory):
    """An `image_encoder200.pth`: AttnGAN's names, the classifiers too, no batch counters (PyTorch 0.3)."""
    torch.manual_seed(0)
    state = {key.removeprefix('backbone.'): value for key, value in DAMSMImageEncoder(text_dim=32).state_dict().items()
             if not key.endswith('num_batches_tracked')}
    state |= {'fc.weight': torch.zeros(3, 4), 'AuxLogits.conv0.conv.weight': torch.zeros(2, 2)}
    path = tmp_path_factory.mktemp('attngan') / 'image_encoder200.pth'
    torch.save(state, path)
    return path


@pytest.fixture
def files(tmp_path, image_file):
    """`files(words=WORDS)` writes the other two files and returns the command's arguments."""

    def write(words=WORDS, rows=None, content=None):
        torch.manual_seed(1)
        net = LSTMTextEncoder(rows or len(words) + 1, embed_dim=12, text_dim=32)
        # AttnGAN's own were written by an old PyTorch, before its zip format.
        torch.save(net.state_dict(), tmp_path / 'text_encoder200.pth', _use_new_zipfile_serialization=False)
        by_id = dict(enumerate(['<end>', *words]))
        by_word = {word: i for i, word in by_id.items()}
        if content is None:
            content = pickle.dumps([[[1, 2, 3]], [[2]], by_id, by_word], protocol=2)
        (tmp_path / 'captions.pickle').write_bytes(content)
        return ['import-attngan', '--text-encoder', str(tmp_path / 'text_encoder200.pth'), '--image-encoder',
                str(image_file), '--captions', str(tmp_path / 'captions.pickle'), '-o', str(tmp_path / 'out')]

    return write


def test_the_files_load_into_our_networks(files, tmp_path, image_file, capsys):
    assert tgjar.main(files()) == 0
    out = tmp_path / 'out'
    assert sorted(file.name for file in out.iterdir()) == NAMES
    text, image = load_checkpoint(out / 'net_t_latest.pth'), load_checkpoint(out / 'net_i_latest.pth')
    tokenizer = WordTokenizer.load(out / 'tokenizer.json')
    assert tokenizer.encode('This bird, that has brown wings!') == [1, 2, 5, 3, 7, 4]
    assert text['tokenizer'] == tokenizer.to_json() and text['max_words'] == 18

    options = json.loads(text['network'])
    assert options.pop('type') == 'LSTMTextEncoder'
    assert options == {'vocab_size': 8, 'embed_dim': 12, 'text_dim': 32, 'drop_prob': 0.5}
    net_t = LSTMTextEncoder(**options)
    net_t.load_state_dict(text['params'])
    source = load_checkpoint(tmp_path / 'text_encoder200.pth')
    assert all(torch.equal(value, source[key]) for key, value in net_t.state_dict().items())

    options = json.loads(image['network'])
    assert options.pop('type') == 'DAMSMImageEncoder' and options['text_dim'] == 32
    net_i = DAMSMImageEncoder(**options)
    net_i.load_state_dict(image['params'])
    source = load_checkpoint(image_file)
    assert torch.equal(net_i.state_dict()['backbone.Mixed_7c.branch1x1.conv.weight'],
                       source['Mixed_7c.branch1x1.conv.weight'])
    assert torch.equal(net_i.emb_cnn_code.weight, source['emb_cnn_code.weight'])
    assert 'wrote' in capsys.readouterr().out


def test_a_pickle_of_python_2_is_read(files, tmp_path):
    # What `pickle.dump([[], [], {0: '<end>', 1: u'bird'}, {}], file)` of Python 2 writes, text protocol.
    content = b"(lp0\n(lp1\na(lp2\na(dp3\nI0\nS'<end>'\np4\nsI1\nVbird\np5\nsa(dp6\na."
    assert tgjar.main(files(words=['bird'], content=content)) == 0
    assert WordTokenizer.load(tmp_path / 'out' / 'tokenizer.json').encode('bird') == [1]


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_runs_code_is_refused(files, tmp_path, capsys):
    for protocol in (0, 2, 4):
        content = pickle.dumps([[], [], {0: '<end>', 1: Malicious(tmp_path / 'owned')}, {}], protocol=protocol)
        assert tgjar.main(files(content=content)) == 1
        assert f'captions.pickle asks for {os.mkdir.__module__}.mkdir' in capsys.readouterr().err
    content = pickle.dumps([[], [], {0: eval}, {}])
    assert tgjar.main(files(content=content)) == 1
    assert 'asks for builtins.eval' in capsys.readouterr().err
    assert not (tmp_path / 'owned').exists() and not (tmp_path / 'out').exists()


def test_words_that_no_caption_can_contain_keep_their_ids(files, tmp_path, capsys):
    assert tgjar.main(files(words=['red', 'blue-grey', 'bird'])) == 0
    assert WordTokenizer.load(tmp_path / 'out' / 'tokenizer.json').encode('red blue-grey bird') == [1, 3]
    assert "1 words cannot occur in a caption, e.g. ['blue-grey']" in capsys.readouterr().out


def test_nothing_is_overwritten_unasked(files, tmp_path, capsys):
    arguments = files()
    assert tgjar.main(arguments) == 0
    before = (tmp_path / 'out' / 'net_t_latest.pth').read_bytes()
    assert tgjar.main([*arguments, '--max-words', '15']) == 1
    assert 'exists; to replace it, give --overwrite' in capsys.readouterr().err
    assert (tmp_path / 'out' / 'net_t_latest.pth').read_bytes() == before
    assert tgjar.main([*arguments, '--max-words', '15', '--overwrite']) == 0
    assert load_checkpoint(tmp_path / 'out' / 'net_t_latest.pth')['max_words'] == 15


@pytest.mark.parametrize('content, message', [
    (b'hello', 'is not a readable pickle'),
    (pickle.dumps({'a': 1}), 'must hold AttnGAN'),
    (pickle.dumps([[], [], {0: 'bird', 1: '<end>'}, {}]), "'<end>' at 0"),
    (pickle.dumps([[], [], {0: '<end>', 2: 'bird'}, {}]), 'with ids 0, 1, 2'),
    (pickle.dumps([[], [], {0: '<end>', 1: 7}, {}]), 'one is 7'),
    (pickle.dumps([[], [], dict(enumerate(['<end>', *WORDS[:-1], 'bird'])), {}]), r"\['bird'\] are there more often"),
], ids=['no pickle', 'no list', 'no end', 'a gap', 'a number', 'twice'])
def test_wrong_vocabularies_are_named(files, tmp_path, capsys, content, message):
    assert tgjar.main(files(content=content)) == 1
    error = capsys.readouterr().err
    assert re.search(message, error) and 'captions.pickle' in error
    assert not (tmp_path / 'out').exists()


def test_files_that_do_not_belong_together_are_named(files, tmp_path, image_file, capsys):
    assert tgjar.main(files(rows=20)) == 1
    error = capsys.readouterr().err
    assert 'has 8 words, <end> included, but the embedding of' in error and 'has 20 rows' in error

    arguments = files()
    torch.save(LSTMTextEncoder(8, embed_dim=12, text_dim=16).state_dict(), tmp_path / 'text_encoder200.pth')
    assert tgjar.main(arguments) == 1
    assert 'features of dimension 16' in capsys.readouterr().err

    arguments[arguments.index('--text-encoder') + 1] = str(image_file)
    assert tgjar.main(arguments) == 1
    assert 'image_encoder200.pth has no tensor encoder.weight' in capsys.readouterr().err

    arguments[arguments.index('--text-encoder') + 1] = str(tmp_path / 'missing.pth')
    assert tgjar.main(arguments) == 1
    assert 'missing.pth does not exist' in capsys.readouterr().err


def test_other_networks_are_named(files, tmp_path, image_file, capsys):
    arguments = files()
    state = load_checkpoint(tmp_path / 'text_encoder200.pth')
    torch.save(state | {'rnn.bias_hh_l0': torch.zeros(48)}, tmp_path / 'text_encoder200.pth')
    assert tgjar.main(arguments) == 1
    assert 'rnn.bias_hh_l0 has the shape (48,) instead of (64,)' in capsys.readouterr().err
    torch.save(state | {'rnn.weight_ih_l1': torch.zeros(2)}, tmp_path / 'text_encoder200.pth')
    assert tgjar.main(arguments) == 1
    assert 'it also has 1 tensors, e.g. rnn.weight_ih_l1' in capsys.readouterr().err

    arguments = files()
    image = {key: value for key, value in load_checkpoint(image_file).items() if not key.startswith('Mixed_7c')}
    torch.save(image, tmp_path / 'image.pth')
    arguments[arguments.index('--image-encoder') + 1] = str(tmp_path / 'image.pth')
    assert tgjar.main(arguments) == 1
    assert 'image.pth does not fit DAMSMImageEncoder: it lacks' in capsys.readouterr().err
