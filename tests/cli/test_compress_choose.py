"""`tgjar compress --choose` and `--compose`: the caption that the receiver gains most from is in the file, or none."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.helpers.photo_files import exif, picture, saved
from tests.helpers.tiny_restorer import write_tiny_weights
from tgjar_arch.choosing.choose import Choice
from tgjar_arch.choosing.judge import Trial
from tgjar_arch.choosing.nearness import Distance
from tgjar_arch.cli import compress, compress_choose, restore
from tgjar_arch.jpeg.codec import encode
from tgjar_arch.metrics.lpips import build_lpips
from tgjar_arch.pictures.captions import find_caption
from tgjar_arch.pictures.photo import read_photo

CAPTIONS = ('a small yellow bird', 'Yellow', 'blue sky')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return write_tiny_weights(tmp_path_factory.mktemp('weights') / 'tiny.safetensors', max_qf=40)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'in' / 'bird.png'
    path.parent.mkdir()
    picture().save(path)
    return path


@pytest.fixture
def tgjar(tmp_path, weights, monkeypatch):
    """Run with the tiny weights, on the CPU."""
    monkeypatch.delenv('TGJAR_WEIGHTS', raising=False)

    def run(*arguments) -> int:
        return compress.main([str(one) for one in ('--weights', weights, '--device', 'cpu', '--qf', 5, *arguments)])

    return run


def given(*captions):
    return [word for caption in captions for word in ('--caption', caption)]


def psnr_restored(file, original, weights, tmp_path):
    """What the receiver gets, through `tgjar restore`."""
    out = tmp_path / 'received' / f'{file.stem}.png'
    assert restore.main([str(file), '-o', str(out), '--weights', str(weights), '--device', 'cpu', '--overwrite',
                         '--better', 'restore', '--quiet']) == 0
    error = np.mean((np.asarray(Image.open(out), dtype=float) - np.asarray(original))**2)
    return 10 * np.log10(255**2 / error)


def test_the_best_caption_is_in_the_file_and_the_line_says_its_worth(tgjar, image, tmp_path, weights, capsys):
    out = tmp_path / 'out.jpg'
    assert tgjar(image, '--choose', '--choose-by', 'psnr', *given(*CAPTIONS), '-o', out) == 0
    line = capsys.readouterr().out.splitlines()[0]
    scores = {}
    for k, caption in enumerate(('', *CAPTIONS)):
        file = tmp_path / f'{k}.jpg'
        assert compress.main([str(image), '--qf', '5', '--caption', caption, '-o', str(file), '--quiet']) == 0
        scores[caption] = psnr_restored(file, picture(), weights, tmp_path)
    best = max(scores, key=scores.get)
    assert best and find_caption(out) == (best, 'JPEG comment')
    gain = scores[best] - scores['']
    assert f'"{best}" gains {gain:.2f} dB over none; tried 3' in line and 'LPIPS' not in line
    assert f'caption {len(best)} bytes' in line
    content = (tmp_path / f'{(["", *CAPTIONS].index(best))}.jpg').read_bytes()
    capsys.readouterr()
    assert out.read_bytes() == content  # the file of `tgjar compress --caption` with it


def test_by_lpips_with_local_weights(tgjar, image, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    trunk = build_lpips('alex', pretrained=False).net.state_dict()
    file = tmp_path / 'trunk.safetensors'
    save_file({'features.' + key.split('.', 1)[1]: value for key, value in trunk.items()}, file)
    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(file))
    for by in ([], ['--choose-by', 'mix']):
        assert tgjar(image, '--compose', '--choose', *by, *given(*CAPTIONS), '-o', tmp_path / 'out.jpg', '--overwrite',
                     '--shortlist', 3) == 0
        line = capsys.readouterr().out.splitlines()[0]
        assert re.search(r': "[A-Za-z ]+" gains 0\.\d{4} LPIPS and (loses )?\d+\.\d\d dB over none; tried \d+', line)


@pytest.mark.parametrize('by', [[], ['--choose-by', 'mix']])
def test_without_lpips_weights_one_line_names_the_way_out(tgjar, image, tmp_path, monkeypatch, capsys, by):
    monkeypatch.setenv('TGJAR_LPIPS_ALEX', str(tmp_path / 'nowhere.npz'))
    assert tgjar(image, '--choose', *by, '-o', tmp_path / 'out' / 'out.jpg') == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'nowhere.npz' in error and '--choose-by psnr' in error
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('budget', [0, 1, 12, 30])
def test_composed_captions_keep_the_budget(tgjar, image, tmp_path, budget, capsys):
    out = tmp_path / 'out.jpg'
    assert tgjar(image, '--compose', '--choose-by', 'psnr', '--caption-bytes', budget, '--shortlist', 4, '-o', out) == 0
    caption = find_caption(out).text
    assert len(caption.encode()) <= budget and bool(caption) == (budget > 5)
    line = capsys.readouterr().out.splitlines()[0]
    if caption:
        assert f'"{caption}" gains' in line
    else:
        assert re.search(r'no caption: there was no caption to try, \d+ longer than --caption-bytes', line)
        assert out.read_bytes() == encode(np.asarray(picture())[..., ::-1], 5)


@pytest.mark.parametrize('captions, said', [
    ([], 'there was no caption to try'), ([''], 'there was no caption to try'),
    (['zyx vogel 🐦'], 'none of the 1 tried gains anything'),
    (['zyx', 'zyx', ' zyx\n', 'Zyx'], 'none of the 2 tried gains anything'),
    (['...', 'IMG_0001'], 'there was no caption to try, 2 that would not be read back')])
def test_none_where_nothing_gains(tgjar, image, tmp_path, capsys, captions, said):
    out = tmp_path / 'out.jpg'
    assert tgjar(image, '--choose', '--choose-by', 'psnr', *given(*captions), '-o', out) == 0
    assert f'no caption: {said}\n' in capsys.readouterr().out and find_caption(out).text == ''


def test_the_tolerance_keeps_shorter_ones(tgjar, image, tmp_path, capsys):
    out = tmp_path / 'out.jpg'
    assert tgjar(image, '--choose', '--choose-by', 'psnr', '--tolerance', 50, *given(*CAPTIONS), '-o', out) == 0
    assert 'none of the 3 tried gains more than --tolerance 50 (dB)' in capsys.readouterr().out


def test_all_captions_of_each_file_of_a_folder(tgjar, tmp_path, capsys):
    root, out = tmp_path / 'in', tmp_path / 'out'
    root.mkdir()
    grey = np.asarray(picture().convert('L'))
    files = {'lines.png': saved(picture(), 'PNG'), 'listed.jpg': saved(picture()), 'grey.png': saved(
        Image.fromarray(grey), 'PNG'), 'tiny.png': saved(picture(5, 3), 'PNG'), 'turned.jpg': saved(
            picture(), exif=exif(orientation=6)), 'broken.png': b'nothing', 'alone.png': saved(picture(), 'PNG')}
    for name, content in files.items():
        (root / name).write_bytes(content)
    for name in ('lines', 'grey', 'tiny'):
        (root / f'{name}.txt').write_text('\n'.join(CAPTIONS))
    (root / 'metadata.jsonl').write_text('\n'.join(
        json.dumps({'file_name': f'{name}.jpg', 'captions': CAPTIONS[:2]}) for name in ('listed', 'turned')))
    assert tgjar(root, '--choose', '--choose-by', 'psnr', '-o', out) == 1
    printed = capsys.readouterr()
    lines = {line.split(': ')[0].rpartition('/')[2]: line for line in printed.out.splitlines() if ': image' in line}
    for name, tried in {'lines': 3, 'listed': 2, 'grey': 3, 'tiny': 3, 'turned': 2}.items():
        assert re.search(rf'tried {tried}|none of the {tried} tried', lines[f'{name}.jpg']), lines
        assert find_caption(out / f'{name}.jpg').text in ('', *CAPTIONS)
    assert 'there was no caption to try' in lines['alone.jpg']
    assert read_photo(out / 'turned.jpg').size == (37, 51)
    assert 'failed: ' in printed.err and 'broken.png' in printed.err
    assert re.search(r'6 written to .*; on average choosing (gains|loses) \d\.\d\d dB over none, 1 failed',
                     printed.out.splitlines()[-1])


def test_words_are_captions_with_choose_alone(tgjar, image, tmp_path, capsys):
    out, words = tmp_path / 'out.jpg', tmp_path / 'words.txt'
    words.write_text('red\nzyx\nblue sky\nRED\n')
    assert tgjar(image, '--choose', '--choose-by', 'psnr', '--words', words, '-o', out) == 0
    assert re.search('tried 2|of the 2 tried', capsys.readouterr().out)
    assert find_caption(out).text in ('', 'red', 'blue sky')
    assert tgjar(image, '--choose', '--choose-by', 'psnr', '--words', tmp_path / 'none.txt', '-o', out) == 2
    assert 'none.txt does not exist; give a text file' in capsys.readouterr().err


def test_choosing_and_composing_keep_the_better(tgjar, image, tmp_path, weights):
    scores = {}
    for how in (['--choose'], ['--compose'], ['--choose', '--compose']):
        out = tmp_path / f'{"".join(how)}.jpg'
        assert tgjar(image, *how, '--choose-by', 'psnr', *given(*CAPTIONS), '--quiet', '-o', out) == 0
        scores[len(how), how[0]] = psnr_restored(out, picture(), weights, tmp_path)
    assert scores[2, '--choose'] == pytest.approx(max(scores[1, '--choose'], scores[1, '--compose']), abs=1e-3)


def test_the_tolerance_counts_once_where_both_are_asked_for(monkeypatch):
    gains = {'red': .03, 'bird': .02, 'wings': .01}

    class Judge:
        """In the place of a CaptionJudge: each word gains once."""

        def __init__(self):
            self.none, = self([''])

        def __call__(self, captions, tell=None):
            lpips = [.5 - sum(gains[word] for word in set(caption.split())) for caption in captions]
            return [Trial(caption, Distance(20., one), one) for caption, one in zip(captions, lpips, strict=True)]

        def distinct(self, words):
            return list(dict.fromkeys(words))

    monkeypatch.setattr(compress_choose, 'CaptionJudge', lambda *args, **kwargs: Judge())
    settings = compress_choose.ChooseSettings(choose=True, compose=True, tolerance=.025)
    chooser = compress_choose.Chooser(settings, None, None, 40, list(gains), True)
    # Composing ends at "red", for no other word gains .025; "red bird wings" gains .03 more.
    choice = chooser._choose(None, None, ['red bird wings', 'red bird'], lambda count: None)
    assert choice.chosen.caption == 'red bird' and choice.candidates == 3 + 2 + 2


def test_a_caption_that_no_comment_holds_is_left_out(tgjar, image, tmp_path, capsys):
    out, long = tmp_path / 'out.jpg', ' '.join(['a yellow bird'] * 5000)
    assert tgjar(image, '--choose', '--choose-by', 'psnr', *given(long, 'red'), '-o', out) == 0
    assert re.search(r'tried 1|of the 1 tried', line := capsys.readouterr().out) and '1 that would not be read' in line
    words = tmp_path / 'words.txt'
    words.write_text(f'{"yellow " * 10_000}\nred')
    assert tgjar(image, '--compose', '--choose-by', 'psnr', '--words', words, '-o', out, '--overwrite') == 0
    assert re.search(r'tried 1|of the 1 tried', capsys.readouterr().out)


def test_a_file_that_restore_leaves_gets_no_caption(tgjar, image, tmp_path, capsys):
    out = tmp_path / 'out.jpg'
    assert tgjar(image, '--qf', 90, '--choose', '--choose-by', 'psnr', *given(*CAPTIONS), '-o', out) == 0
    assert 'no caption: `tgjar restore` leaves files of quality 90 as they are (--max-qf 40)' in capsys.readouterr().out


def test_nothing_is_half_written_when_interrupted(tgjar, tmp_path, monkeypatch):
    root, out, calls = tmp_path / 'in', tmp_path / 'out', []
    root.mkdir()
    for name in 'ab':
        picture().save(root / f'{name}.png')
    choose = compress_choose.choose_caption

    def interrupted(judge, captions, *rest):
        calls.append(captions)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return choose(judge, captions, *rest)

    monkeypatch.setattr(compress_choose, 'choose_caption', interrupted)
    with pytest.raises(KeyboardInterrupt):
        tgjar(root, '--choose', '--choose-by', 'psnr', *given(*CAPTIONS), '-o', out, '--quiet')
    assert [path.name for path in out.iterdir()] == ['a.jpg'] and read_photo(out / 'a.jpg').size == (51, 37)


def test_gains_and_losses_in_words():
    def choice(lpips, psnr):
        none, chosen = (Trial('', Distance(*values), 0) for values in ((20., .5), (20 + psnr, .5 - lpips)))
        return Choice(chosen, none)

    gains = compress_choose.gains
    assert gains([choice(.01, .1)]) == 'gains 0.0100 LPIPS and 0.10 dB'
    assert gains([choice(.01, -.1)]) == 'gains 0.0100 LPIPS and loses 0.10 dB'
    assert gains([choice(-.03, -.1), choice(.01, -.3)]) == 'loses 0.0100 LPIPS and 0.20 dB'


@pytest.mark.parametrize('arguments, message', [
    (given('a', 'b'), '2 captions are given, but a file has one; --choose keeps the best of them'),
    (['--caption-bytes', 5], '--caption-bytes has no effect without --choose or --compose'),
    (['--choose-by', 'psnr'], '--choose-by has no effect without'), (['--colourise'], '--colourise has no effect'),
    (['--choose', '--shortlist', 5], '--shortlist has no effect without --compose'),
    (['--choose', '--fidelity-weights', 'x'], '--fidelity-weights has no effect without --fidelity')])
def test_what_would_have_no_effect_is_said(image, tmp_path, capsys, arguments, message):
    arguments = [image, '--qf', 5, '-o', tmp_path / 'out.jpg', *arguments]
    assert compress.main([str(one) for one in arguments]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / 'out.jpg').exists()


def test_weights_that_take_no_captions(image, tmp_path, capsys):
    deaf = write_tiny_weights(tmp_path / 'deaf.safetensors', takes_text=False)
    arguments = [image, '--qf', 5, '--choose', '--choose-by', 'psnr', '--weights', deaf, '-o', tmp_path / 'out.jpg']
    assert compress.main([str(one) for one in arguments]) == 2
    assert 'deaf.safetensors takes no captions, so there is nothing to choose' in capsys.readouterr().err


@pytest.mark.parametrize('option, text', [('--caption-bytes', '-1'), ('--caption-bytes', '2.5'), ('--tolerance', '-1'),
                                          ('--tolerance', 'nan'), ('--shortlist', '0'), ('--choose-by', 'ssim')])
def test_wrong_numbers(image, tmp_path, capsys, option, text):
    with pytest.raises(SystemExit):
        compress.main([str(image), '--qf', '5', '--compose', option, text, '-o', str(tmp_path / 'out.jpg')])
    assert option in capsys.readouterr().err
