"""The blocks of docs/training.md that train on CUB from nothing run as they stand, with small networks."""

import contextlib
import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers.checkout import ROOT
from tests.helpers.forked import python
from tests.helpers.pages import blocks, commands
from tests.helpers.photo_files import picture
from tgjar_arch.cli import main as cli
from tgjar_arch.cli.doctor import stock_import_error
from tgjar_arch.metrics.lpips import build_lpips

pytestmark = pytest.mark.slow

PAGE = ROOT / 'docs' / 'training.md'
CLASSES = {'005.Crested_Auklet': 5, '007.Parakeet_Auklet': 7, '004.Groove_billed_Ani': 4}  # the last is for tests
SMALL = ['num_gpu=0', 'network_t:embed_dim=8', 'network_t:text_dim=16']
TRAIN = [
    *SMALL, 'datasets:train:gt_size=64', 'datasets:train:num_worker_per_gpu=0', 'datasets:train:batch_size_per_gpu=2',
    'network_i:text_dim=16', 'train:total_iter=2', 'val:val_freq=2', 'logger:print_freq=1',
    'logger:save_checkpoint_freq=2', 'logger:use_tb_logger=false',
]
GENERATOR = ['network_g:num_feat=8', 'network_g:num_block=1', 'network_g:text_dim=16']
STAGES = {  # option file: what makes it small enough for a test
    'train_damsm_cub_alexnet.yml': [*TRAIN, 'network_i:weights=~', 'train:scheduler:periods=[2]', 'train:warmup_iter=0',
                                    'val:batch_size=2', 'val:r_precision=~'],
    'train_tgjar_cub.yml': [*TRAIN, *GENERATOR, 'network_d:num_feat=4'],
    'test_tgjar_cub.yml': [*SMALL, *GENERATOR],
}


def block(word: str) -> list[list[str]]:
    """Commands of the bash block that has `word` in it."""
    (found,) = [code for code in blocks(PAGE, 'bash') if word in code]
    return commands(found)


def smaller(words: list[str]) -> list[str]:
    """The same command with the entries that make it small behind its own."""
    for name, entries in STAGES.items():
        if any(word.endswith(name) for word in words):
            return [*words, *([] if '--force_yml' in words else ['--force_yml']), *entries]
    return [*words, '--subset'] if 'prepare' in words else words


def run(words: list[str], folder: Path) -> None:
    """Run a command of the page in a folder, with this checkout's package; the trainers in processes of their own."""
    if words[0] == 'tgjar' and words[1] not in ('train', 'test'):
        with contextlib.chdir(folder):
            assert cli.main(words[1:]) == 0, words
        return
    programs = {'tgjar': ['-m', 'tgjar_arch'], 'python': []}
    done = python(*programs[words[0]], *words[1:], cwd=folder, path=(ROOT,),
                  TGJAR_LPIPS_ALEX=str(folder / 'alexnet.pth'))
    assert done.returncode == 0, f'{words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}'


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A folder as the page expects it: the published CUB in downloads/birds, option files, bird.jpg, LPIPS' trunk."""
    folder = tmp_path_factory.mktemp('checkout')
    (folder / 'options').symlink_to(ROOT / 'options')
    birds, lines = folder / 'downloads' / 'birds' / 'CUB_200_2011', {}
    for number, (name, class_id) in enumerate([*CLASSES.items()] * 2, start=1):
        path = birds / 'images' / name / f'bird_{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(90 + number, 80).save(path, quality=95)
        text = birds.parent / 'text' / name / f'bird_{number}.txt'
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(f'a small yellow bird of class {class_id}\na bird\n')
        for file, value in (('images.txt', f'{name}/{path.name}'), ('image_class_labels.txt', class_id),
                            ('bounding_boxes.txt', '5.0 5.0 60.0 60.0')):
            lines.setdefault(file, []).append(f'{number} {value}')
    for file, content in lines.items():
        (birds / file).write_text('\n'.join(content) + '\n')
    picture(64, 56).save(folder / 'bird.jpg', quality=1)
    torch.save({'features.' + key.split('.', 1)[1]: value
                for key, value in build_lpips(pretrained=False).net.state_dict().items()}, folder / 'alexnet.pth')
    return folder


@pytest.fixture(scope='module')
def trained(checkout):
    """The checkout after the block "CUB from nothing"."""
    for words in block('tgjar prepare cub'):
        run(smaller(words), checkout)
    return checkout


def test_cub_from_nothing(trained):
    with Image.open(trained / 'bird.png') as restored:
        assert restored.size == (64, 56)
    pictures = list((trained / 'results' / 'test_tgjar_cub' / 'visualization').rglob('*.png'))
    assert {path.stem for path in pictures} >= {'bird_3_test_tgjar_cub', 'bird_6_test_tgjar_cub'}


@pytest.mark.skipif(stock_import_error() is not None,
                    reason='the stock BasicSR does not import; run `tgjar doctor --fix`')
def test_the_same_in_a_clone_of_basicsr(trained):
    clone = trained / 'BasicSR'
    shutil.copytree(Path(importlib.util.find_spec('basicsr').origin).parent, clone / 'basicsr')
    for name in ('options', 'experiments'):  # a clone has its own
        (clone / name).mkdir()
    (clone / 'alexnet.pth').symlink_to(trained / 'alexnet.pth')
    change, link, *rest = block('cd BasicSR')
    assert change == ['cd', 'BasicSR'] and link == ['ln', '-s', '/path/to/tgjar/data', 'data']
    (clone / link[-1]).symlink_to(trained / 'data')
    for words in rest:
        run(smaller([word.replace('/path/to/tgjar', str(trained)) for word in words]), clone)
    assert (clone / 'tgjar_cub.safetensors').is_file()
    assert [path.name for path in (clone / 'results').iterdir()] == ['test_tgjar_cub']
