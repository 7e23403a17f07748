"""The Python examples of README.md and docs/ run, and do what the text beside them says."""

import ast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tgjar_arch
from tests.helpers.checkout import ROOT
from tests.helpers.pages import PAGES, blocks, name_of
from tests.helpers.photo_files import picture
from tgjar_arch import Restorer, TextFeatures
from tgjar_arch.losses.contrastive_loss import PerceptualContrastiveLoss
from tgjar_arch.losses.damsm_loss import DAMSMLoss
from tgjar_arch.metrics.lpips import build_lpips
from tgjar_arch.restoration import restorer


def example(page: str, word: str) -> str:
    """The one example of a page that has `word` in it."""
    (found,) = [code for code in blocks(ROOT / page, 'python') if word in code]
    return found


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_examples_are_python_and_import_what_exists(page):
    for code in blocks(page, 'python'):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith('tgjar_arch'):
                exec(ast.unparse(node), {})


@pytest.mark.parametrize('page', ['README.md', 'docs/python.md'])
def test_restore_one_picture(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(88, 72).save('bird.jpg', quality=1)
    exec(example(page, 'from_pretrained'), {})
    with Image.open('bird.png') as restored, Image.open('bird.jpg') as jpeg:
        original = np.asarray(picture(88, 72), float)
        before, after = (np.square(np.asarray(image, float) - original).mean() for image in (jpeg, restored))
    assert after < 0.9 * before


@pytest.mark.parametrize('page', ['README.md', 'docs/losses.md'])
def test_the_contrastive_loss_in_three_lines(page, stranger):
    code = next(code for code in blocks(ROOT / page, 'python') if 'contrastive(restored, gt, lq)' in code)
    assert len(code.strip().splitlines()) == 4
    lq, gt = stranger['loader'][0][:2]
    names = {'loss': torch.tensor(2.), 'restored': torch.rand(3, 3, 32, 40), 'gt': gt, 'lq': lq}
    exec(code, names)
    d_gt, d_lq = names['contrastive'].distances(names['restored'], gt, lq)
    torch.testing.assert_close(names['loss'], 2 + 0.01 * (d_gt / (d_lq + 0.1)).mean())


def test_restorer_is_a_name_of_the_package_and_others_are_not():
    assert Restorer is restorer.Restorer and 'Restorer' in tgjar_arch.__all__
    with pytest.raises(AttributeError, match="module 'tgjar_arch' has no attribute 'Restore'"):
        tgjar_arch.Restore  # noqa: B018


class ImageEncoder(nn.Module):
    """A stranger's image encoder: regions and a global feature."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, 8)

    def forward(self, images):
        regions = self.conv(images)
        return regions, regions.mean((2, 3))


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Names that a training loop of somebody else has already: a network, an encoder and two batches."""
    trunk = {'features.' + key.split('.', 1)[1]: value
             for key, value in build_lpips(pretrained=False).net.state_dict().items()}
    torch.save(trunk, tmp_path / 'alexnet.pth')
    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(tmp_path / 'alexnet.pth'))
    mask = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    loader = [(torch.rand(3, 3, 32, 40), torch.rand(3, 3, 32, 40), torch.randn(3, 8, 4), torch.randn(3, 8), mask)
              for _ in range(2)]
    return {'net': nn.Conv2d(3, 3, 3, 1, 1), 'encoder': ImageEncoder().requires_grad_(False), 'loader': loader}


def test_losses_in_a_strangers_training_loop(stranger):
    code = example('docs/losses.md', 'DAMSMLoss')
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    before = [parameter.clone() for parameter in stranger['net'].parameters()]
    exec(code, stranger)
    for old, parameter in zip(before, stranger['net'].parameters(), strict=True):
        # Two steps of Adam, each at most as long as the learning rate, in every weight.
        assert (0 < (parameter - old).abs()).all() and (parameter - old).abs().max() < 2.1e-4
    assert isinstance(stranger['contrastive'], PerceptualContrastiveLoss)
    assert isinstance(stranger['image_text'], DAMSMLoss)

    lq, gt, words, sentence, mask = stranger['loader'][-1]
    restored = stranger['restored'].detach()
    d_gt, d_lq = stranger['contrastive'].distances(restored, gt, lq)
    terms = DAMSMLoss().terms(*stranger['encoder'](restored), TextFeatures(words, sentence, mask))
    expected = (restored - gt).abs().mean() + 0.01 * (d_gt / (d_lq + 0.1)).mean() + 0.0005 * sum(terms.values())
    torch.testing.assert_close(stranger['loss'].detach(), expected)
    assert all(term > 0 for term in terms.values())


def test_choosing_a_caption(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(48, 40).save('photo.png')
    names: dict = {}
    exec(example('docs/captions.md', 'choose_caption'), names)
    choice = names['choice']
    assert choice.candidates == 2 and choice.gain_db >= 0
    assert capsys.readouterr().out == f'{choice.chosen.caption} {choice.gain_db}\n'
