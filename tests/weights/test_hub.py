"""Weights in repositories of the Hugging Face Hub and in folders of the same files: a stand-in server, no network."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open

from tests.helpers.checkout import ROOT
from tests.helpers.hub_server import Hub, serving
from tests.helpers.photo_files import picture
from tgjar_arch import Restorer
from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.lstm_text_encoder_arch import LSTMTextEncoder
from tgjar_arch.cli import restore, unpack
from tgjar_arch.evaluation.methods import find_paths, parse_methods, quality_warnings
from tgjar_arch.models.pretrained import read_pretrained
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights import hub as ours
from tgjar_arch.weights.file import ExportedWeights, read_weights, write_folder, write_weights
from tgjar_arch.weights.shipped import find_weights, quality_limit

pytest.importorskip('huggingface_hub')

from huggingface_hub import constants  # noqa: E402

G = {'num_feat': 8, 'num_block': 1, 'text_dim': 16}
FILES = ['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']


def tiny(seed: int = 0, text: bool = True) -> ExportedWeights:
    torch.manual_seed(seed)
    net = TGJARGenerator(**G)
    with torch.no_grad():
        net.tail.weight.mul_(10)
    weights = ExportedWeights({'type': 'TGJARGenerator', **G}, net.state_dict(), max_qf=30, source='by a test, *twice*')
    if not text:
        return weights
    tokenizer = WordTokenizer.build(['a small yellow bird'])
    options = {'vocab_size': tokenizer.vocab_size, 'embed_dim': 8, 'text_dim': 16}
    return replace(weights, network_t={'type': 'LSTMTextEncoder', **options},
                   state_t=LSTMTextEncoder(**options).state_dict(), tokenizer=tokenizer.to_json(), max_words=6)


def same(found: ExportedWeights, expected: ExportedWeights) -> bool:
    """All but `text_norm`, which a file says and the options of a test may leave to its default."""
    network_g = {'text_norm': True, **expected.network_g}
    fields = ('network_t', 'tokenizer', 'max_words', 'max_qf', 'source')
    return {'text_norm': True, **found.network_g} == network_g and all(
        getattr(found, name) == getattr(expected, name) for name in fields) and all(
        one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
        for one, other in ((found.state_g, expected.state_g), (found.state_t, expected.state_t)))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in that huggingface_hub talks to, with an empty cache, and nothing in the working directory."""
    with serving() as server:
        monkeypatch.setattr(constants, 'ENDPOINT', server.address)
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE',
                            server.address + '/{repo_id}/resolve/{revision}/{filename}')
        monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
        for variable in ('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'TGJAR_WEIGHTS'):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path / 'no token'))
        (tmp_path / 'work').mkdir()
        monkeypatch.chdir(tmp_path / 'work')
        yield server


def publish(hub: Hub, folder: Path, repo: str = 'org/name', branch: str = 'main', seed: int = 0) -> ExportedWeights:
    weights = tiny(seed)
    write_folder(folder, weights)
    hub.repos.setdefault(repo, {'main': {}})[branch] = {file.name: file.read_bytes() for file in folder.iterdir()}
    return weights


# Folders


@pytest.mark.parametrize('text', [True, False])
def test_a_folder_holds_what_the_file_holds(tmp_path, text):
    weights = tiny(text=text)
    write_folder(tmp_path / 'folder', weights)
    write_weights(tmp_path / 'file.safetensors', weights)
    assert same(read_weights(tmp_path / 'folder'), weights)
    assert same(read_weights(tmp_path / 'file.safetensors'), weights)
    assert quality_limit(tmp_path / 'folder') == 30
    assert find_weights(tmp_path / 'folder') == tmp_path / 'folder'
    names = ['config.json', 'model.safetensors'] + ['tokenizer.json'] * text
    assert sorted(file.name for file in (tmp_path / 'folder').iterdir()) == names
    config = json.loads((tmp_path / 'folder' / 'config.json').read_text())
    assert config['network_g']['type'] == 'TGJARGenerator' and config['max_qf'] == 30 and 'tokenizer' not in config
    with safe_open(tmp_path / 'folder' / 'model.safetensors', 'pt') as file:
        assert file.metadata() == {'format': 'pt'} and 'net_g.head.weight' in file.keys()


def test_what_save_pretrained_writes_is_what_it_loaded(tmp_path):
    write_weights(tmp_path / 'a.safetensors', tiny())
    Restorer.from_pretrained(tmp_path / 'a.safetensors', 'cpu').save_pretrained(tmp_path / 'b', license='mit')
    assert sorted(file.name for file in (tmp_path / 'b').iterdir()) == FILES
    assert same(read_weights(tmp_path / 'b'), read_weights(tmp_path / 'a.safetensors'))
    image = np.asarray(picture(40, 32))
    one, other = (Restorer.from_pretrained(tmp_path / name, 'cpu') for name in ('a.safetensors', 'b'))
    assert np.array_equal(one(image, 'a bird'), other(image, 'a bird'))
    (tmp_path / 'b' / 'README.md').write_text('my own')
    other.save_pretrained(tmp_path / 'b', half=True)
    assert (tmp_path / 'b' / 'README.md').read_text() == 'my own'
    with safe_open(tmp_path / 'b' / 'model.safetensors', 'pt') as file:
        assert file.get_tensor('net_g.head.weight').dtype == torch.float16
    rounded = Restorer.from_pretrained(tmp_path / 'a.safetensors', 'cpu', torch.bfloat16)
    with pytest.raises(ValueError, match='rounded to torch.bfloat16; load it without dtype'):
        rounded.save_pretrained(tmp_path / 'c')


def test_the_card_has_a_header_and_obeys_no_text_of_the_file(tmp_path):
    Restorer(tiny(), 'cpu').save_pretrained(tmp_path / 'name', license='apache-2.0')
    _, header, body = (tmp_path / 'name' / 'README.md').read_text().split('---\n', 2)
    header = yaml.safe_load(header)
    assert header['license'] == 'apache-2.0' and header['library_name'] == 'tgjar'
    assert header['pipeline_tag'] == 'image-to-image' and 'jpeg-artifacts-removal' in header['tags']
    assert 'quality up to 30' in body and '*twice*' not in body and '&#42;twice&#42;' in body and '--caption' in body
    Restorer(tiny(text=False), 'cpu').save_pretrained(tmp_path / 'other')
    body = (tmp_path / 'other' / 'README.md').read_text()
    assert '--caption' not in body and 'license' not in body and 'no captions' in body


def _without(name):
    return lambda folder: (folder / name).unlink()


def _config(**changes):
    def change(folder):
        config = json.loads((folder / 'config.json').read_text()) | changes
        (folder / 'config.json').write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
    return change


def _text(name, text):
    return lambda folder: (folder / name).write_bytes(text)


def _cut(name):
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


@pytest.mark.parametrize(('change', 'message'), [
    (_without('config.json'), 'has no config.json'),
    (_without('model.safetensors'), 'has no model.safetensors; weights in a folder are config.json, model.safet'),
    (_without('tokenizer.json'), 'has no tokenizer.json, which the text encoder'),
    (_text('config.json', b'{'), 'config.json is no JSON ('),
    (_text('config.json', b'[' * 100_000), 'config.json is no JSON ('),
    (_text('config.json', b'[1]'), 'config.json is not that of weights of TGJAR: it has no network_g'),
    (_text('config.json', b'{"architectures": ["Bert"]}'), 'it has no network_g; take a folder or a repository'),
    (_text('config.json', b'\xff'), 'config.json is no UTF-8 text (invalid start byte at byte 0)'),
    (_text('config.json', b' ' * 2_000_000), 'config.json has 2,000,000 bytes; such files have at most'),
    (_text('tokenizer.json', b'\x80'), 'tokenizer.json is no UTF-8 text'),
    (_text('tokenizer.json', b'{}'), 'does not fit the networks it names'),
    (_config(format='tgjar-9'), "config.json has the format 'tgjar-9', but 'tgjar-2' is expected"),
    (_config(format=...), "has the format 'None'"),
    (_config(network_g={'type': 'TGJARGenerator', **G, 'num_feat': 16}), 'has other shapes for'),
    (_config(network_g={'type': 'Popen', 'args': 'ls'}), "network_g is a 'Popen', which is no network of this package"),
    (_config(network_g='TGJARGenerator'), 'network_g must be an object'),
    (_config(network_g={'type': 'SwinIR', 'weights': 'http://a.b'}), 'cannot be used: network_g'),
    (_config(max_words=True), 'max_words must be a whole number'),
    (_config(max_qf=101), 'max_qf must be a whole number'),
    (_cut('model.safetensors'), 'is no safetensors file, or truncated'),
])
def test_folders_that_do_not_fit_are_named_in_one_line(tmp_path, change, message):
    write_folder(tmp_path / 'x', tiny())
    change(tmp_path / 'x')
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        Restorer.from_pretrained(tmp_path / 'x', 'cpu')
    assert message in str(caught.value) and 'x' in str(caught.value) and '\n' not in str(caught.value)


def test_one_file_of_a_folder_is_refused_and_a_plain_folder_too(tmp_path):
    write_folder(tmp_path / 'x', tiny())
    with pytest.raises(ValueError, match='is one of the files of weights in a folder; name the folder, '):
        read_weights(tmp_path / 'x' / 'model.safetensors')
    (tmp_path / 'y').mkdir()
    with pytest.raises(FileNotFoundError, match='y has no config.json; weights in a folder have it beside model.safet'):
        find_weights(tmp_path / 'y')
    write_weights(tmp_path / 'x' / 'model.safetensors', tiny())  # our one-file format under that name
    assert same(read_weights(tmp_path / 'x' / 'model.safetensors'), tiny())


def test_other_commands_take_folders_too(tmp_path, capsys):
    write_folder(tmp_path / 'x', weights := tiny())
    assert unpack.main([str(tmp_path / 'x'), '-o', str(tmp_path / 'out')]) == 0
    stored = torch.load(tmp_path / 'out' / 'net_g_latest.pth', weights_only=True)['params']
    assert torch.equal(stored['head.weight'], weights.state_g['head.weight'])
    assert torch.equal(read_pretrained(str(tmp_path / 'x'), 'g')['params']['head.weight'], stored['head.weight'])
    specs = find_paths(parse_methods([f'mine={tmp_path / "x"}'], [10, 40]))
    assert quality_warnings(specs, [10, 40]) == [
        'mine: x is for JPEG quality up to 30, and is measured at 40 too, where restoring may do harm.']


# Repositories


def test_a_repository_is_fetched_once_and_then_read_without_a_network(hub, tmp_path, monkeypatch):
    weights = publish(hub, tmp_path / 'x')
    hub.repos['org/name']['main']['pytorch_model.bin'] = b'cos\nsystem\n(S"touch bad"\ntR.'  # a pickle
    restorer = Restorer.from_pretrained('org/name', 'cpu')
    image = np.asarray(picture(40, 32))
    expected = Restorer(weights, 'cpu')(image, 'a small bird')
    assert np.array_equal(restorer(image, 'a small bird'), expected)
    asked = [path for _, path in hub.requests]
    assert not any('pytorch_model.bin' in path or 'README' in path for path in asked)
    hub.requests.clear()
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert np.array_equal(Restorer.from_pretrained('org/name', 'cpu')(image, 'a small bird'), expected)
    assert hub.requests == []
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    hub.broken = True  # out of order, but the cache has it
    assert same(read_weights(find_weights('org/name')), weights)


def test_revisions(hub, tmp_path):
    main, other = publish(hub, tmp_path / 'x'), publish(hub, tmp_path / 'y', branch='v2', seed=1)
    commit = hub.commit('org/name', 'v2')
    for name, revision, expected in (('org/name', None, main), ('org/name', 'v2', other), ('org/name@v2', None, other),
                                     ('org/name', commit, other), (Path('org/name@main'), None, main)):
        assert same(read_weights(find_weights(name, revision)), expected)
    with pytest.raises(FileNotFoundError, match='the repository org/name of the Hugging Face Hub has no revision v3.$'):
        Restorer.from_pretrained('org/name', revision='v3')
    with pytest.raises(ValueError, match="org/name@v2 names a revision, and so does revision='main'"):
        find_weights('org/name@v2', 'main')


@pytest.mark.parametrize('name', [None, 'tgjar_universal', 'nothing', 'work'])
def test_a_revision_of_what_is_no_repository_is_refused(hub, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="revision 'v2' is of a repository of the Hugging Face Hub, but the weights"):
        find_weights(name, 'v2')
    assert hub.requests == []


def test_what_is_there_under_that_name_comes_first(hub, tmp_path):
    publish(hub, tmp_path / 'x', 'org/file')
    publish(hub, tmp_path / 'x', 'org/folder')
    write_weights('org/file', mine := tiny(5))
    write_folder('org/folder', mine)
    for name in ('org/file', 'org/folder'):
        assert same(read_weights(find_weights(name)), mine)
    Path('org/empty').mkdir()
    with pytest.raises(FileNotFoundError, match='the folder org/empty has no config.json'):
        find_weights('org/empty')
    assert hub.requests == []


@pytest.mark.parametrize('name', ['weights/a.safetensors', 'a/b/c', '/org/name', '../name', 'org/na me', 'name',
                                  'models/net_g.PTH', 'org/', 'org/name@'])
def test_what_is_no_name_of_a_repository_is_not_looked_for(hub, name):
    with pytest.raises(FileNotFoundError, match='does not exist, and .*; make a file with `tgjar export`'):
        find_weights(name)
    assert hub.requests == []


def test_private_repositories_need_the_token(hub, tmp_path):
    weights = publish(hub, tmp_path / 'x')
    hub.private['org/name'] = 'secret'
    with pytest.raises(FileNotFoundError, match=r'no repository org/name, or it is private: then log in \(`hf auth'):
        find_weights('org/name')
    assert same(read_weights(find_weights('org/name', token='secret')), weights)


def _unreachable(hub, monkeypatch):
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')


def _offline(hub, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


def _no_library(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)


def _out_of_order(hub, monkeypatch):
    hub.broken = True


def _gone(hub, monkeypatch):
    hub.repos.clear()


def _half(hub, monkeypatch):
    hub.cut.add('model.safetensors')


def _nothing_of_ours(hub, monkeypatch):
    hub.repos['org/name']['main'] = {'README.md': b'a model of somebody'}


@pytest.mark.parametrize(('fault', 'message'), [
    (_unreachable, 'org/name has not been downloaded before, and the Hugging Face Hub cannot be reached: '),
    (_offline, 'HF_HUB_OFFLINE keeps the Hugging Face Hub from being asked about org/name, and it has not been downl'),
    (_no_library, "to look for org/name on the Hugging Face Hub, huggingface_hub is needed (import of huggingface_hub "
                  "halted; None in sys.modules): pip install 'tgjar[hub]'."),
    (_out_of_order, 'the Hugging Face Hub answers with an error about org/name (status 500: '),
    (_gone, 'the Hugging Face Hub has no repository org/name, or it is private'),
    (_half, 'the transfer of org/name from or to the Hugging Face Hub has failed: '),
    (_nothing_of_ours, 'the repository org/name of the Hugging Face Hub has no config.json, so that it holds no'),
])
def test_what_keeps_a_repository_away_is_said_in_one_line(hub, tmp_path, monkeypatch, capsys, fault, message):
    publish(hub, tmp_path / 'x')
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # between the library's own attempts
    fault(hub, monkeypatch)
    Image.fromarray(np.asarray(picture(24, 24))).save('a.jpg', quality=5)
    assert restore.main(['a.jpg', '-o', 'b.png', '--weights', 'org/name', '--device', 'cpu']) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('tgjar restore: weights file org/name does not exist, and ')
    assert message in line and not Path('b.png').exists()
    with pytest.raises(FileNotFoundError) as caught:
        Restorer.from_pretrained('org/name')
    assert message in str(caught.value) and '\n' not in str(caught.value)


def test_a_download_that_was_cut_short_is_made_up_for(hub, tmp_path, monkeypatch):
    weights = publish(hub, tmp_path / 'x')
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    hub.cut.add('model.safetensors')
    with pytest.raises(FileNotFoundError):
        find_weights('org/name')
    _offline(hub, monkeypatch)
    with pytest.raises(FileNotFoundError, match='the copy of org/name in the cache is incomplete|has not been downl'):
        find_weights('org/name')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    hub.cut.clear()
    assert same(read_weights(find_weights('org/name')), weights)


def test_pushed_weights_come_back(hub, tmp_path):
    weights = tiny()
    restorer = Restorer(weights, 'cpu')
    address = restorer.push_to_hub('me/mine', token='writer', private=True, license='mit', commit_message='First')
    assert address == f'{hub.address}/me/mine/commit/{hub.commit("me/mine", "main")}'
    assert sorted(hub.repos['me/mine']['main']) == FILES and hub.private['me/mine'] == 'writer'
    card = hub.repos['me/mine']['main']['README.md'].decode()
    assert '--weights me/mine' in card and "Restorer.from_pretrained('me/mine')" in card and 'license: mit' in card
    assert same(read_weights(find_weights('me/mine', token='writer')), weights)

    hub.repos['me/mine']['main']['README.md'] = b'my own'  # edited on the Hub
    Restorer(tiny(1), 'cpu').push_to_hub('me/mine', token='writer')
    assert hub.repos['me/mine']['main']['README.md'] == b'my own'
    assert same(read_weights(find_weights('me/mine', token='writer')), tiny(1))
    Restorer(tiny(2), 'cpu').push_to_hub('me/mine', token='writer', revision='next')
    assert same(read_weights(find_weights('me/mine', 'next', 'writer')), tiny(2))
    assert same(read_weights(find_weights('me/mine', token='writer')), tiny(1))


@pytest.mark.parametrize('name', ['mine', 'a/b/c', '', 'me/mine@next', 'me/model.pth'])
def test_names_that_nothing_can_be_pushed_to(hub, name):
    with pytest.raises(ValueError, match=f"is called 'org/name', but {name!r} was given"):
        Restorer(tiny(), 'cpu').push_to_hub(name)
    assert hub.requests == []


@pytest.mark.parametrize(('fault', 'message'), [
    (None, r'refuses this for me/mine \(status 40[13]\): log in'),
    (_offline, 'HF_HUB_OFFLINE keeps the Hugging Face Hub from being asked about me/mine.$'),
    (_unreachable, 'the transfer of me/mine from or to the Hugging Face Hub has failed: '),
    (_no_library, 'to push to me/mine on the Hugging Face Hub, huggingface_hub is needed'),
])
def test_a_push_that_fails_says_why(hub, monkeypatch, fault, message):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    if fault is not None:
        fault(hub, monkeypatch)
    with pytest.raises(ours.HubError, match=message) as caught:
        Restorer(tiny(), 'cpu').push_to_hub('me/mine', token='reader')
    assert '\n' not in str(caught.value) and 'reader' not in str(caught.value)


def test_the_command_in_a_fresh_process(hub, tmp_path):
    """`HF_ENDPOINT` and `HF_HOME` as a user sets them; then without the server, from the cache."""
    weights = publish(hub, tmp_path / 'x')
    Image.fromarray(np.asarray(picture(40, 32))).save('a.jpg', quality=5)
    environment = {**os.environ, 'HF_ENDPOINT': hub.address, 'HF_HOME': str(tmp_path / 'home'), 'HF_HUB_OFFLINE': '0',
                   'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-m', 'tgjar_arch', 'restore', 'a.jpg', '--weights', 'org/name', '--device', 'cpu',
               '--caption', 'a small bird', '-o']
    expected = Restorer(weights, 'cpu')(np.asarray(Image.open('a.jpg')), 'a small bird')
    for name, changes in (('b.png', {}), ('c.png', {'HF_HUB_OFFLINE': '1'})):
        done = subprocess.run([*command, name], env=environment | changes, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert np.array_equal(np.asarray(Image.open(name)), expected)
    assert (tmp_path / 'home' / 'hub' / 'models--org--name').is_dir()
    shutil.rmtree(tmp_path / 'home')
