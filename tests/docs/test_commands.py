"""What README.md and docs/ name exists: commands, option files, modules, links. Short commands run as they stand."""

import argparse
import importlib
import re
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.helpers.checkout import ROOT
from tests.helpers.pages import PAGES, blocks, commands, name_of, tgjar_arguments
from tests.helpers.photo_files import picture
from tgjar_arch.cli import doctor
from tgjar_arch.cli import main as cli
from tgjar_arch.training.options import check_options, override, read_options

COMMANDS = [pytest.param(arguments, id=f'{name_of(page)}-{" ".join(arguments)[:60]}')
            for page in PAGES for block in blocks(page, 'bash') for words in commands(block)
            if (arguments := tgjar_arguments(words)) is not None]

pages = pytest.mark.parametrize('page', PAGES, ids=name_of)


class Parsed(Exception):
    """Raised in the place of the command's work; holds what its parser made of the arguments."""


def parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Let the command parse its arguments, and do nothing else."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(parser, *args, **kwargs):
        raise Parsed(parse_args(parser, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    with pytest.raises(Parsed) as caught:
        cli.main(arguments)
    return caught.value.args[0]


def test_there_are_commands_and_pages():
    assert len(COMMANDS) > 30 and len(PAGES) > 15


@pytest.mark.parametrize('arguments', COMMANDS)
def test_the_commands_own_parser_takes_it(arguments, monkeypatch):
    if arguments == ['--version']:
        assert cli.main(arguments) == 0
        return
    parsed = parse(arguments, monkeypatch)
    if arguments[0] in ('train', 'test'):
        path = str(ROOT / parsed.opt)
        options, notes = override(read_options(path), parsed.force_yml, path)
        assert notes == []
        check_options(options, path, is_train=arguments[0] == 'train')


def test_a_wrong_argument_would_be_found(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        parse(['restore', 'bird.jpg', '--captoin', 'a bird'], monkeypatch)
    assert '--captoin' in capsys.readouterr().err


@pages
def test_commands_named_in_the_text_exist(page):
    text = page.read_text('utf-8')
    assert set(re.findall(r'`tgjar ([a-z][a-z-]*)', text)) <= {*cli.COMMANDS, 'doctor'}
    targets = set(re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text('utf-8'), re.MULTILINE))
    assert set(re.findall(r'(?:`|^)make ([a-z][a-z-]*)', text, re.MULTILINE)) <= targets
    for name in re.findall(r'python -m benchmarks\.([a-z_]+)', text):
        assert (ROOT / 'benchmarks' / f'{name}.py').is_file(), name
    extras = set(re.findall(r"^        '(\w+)': \[", (ROOT / 'setup.py').read_text('utf-8'), re.MULTILINE))
    for names in re.findall(r"'(?:tgjar|\.)\[([\w,]+)\]'", text):
        assert set(names.split(',')) <= extras


@pages
def test_option_files_exist(page):
    if page.parent.name == 'weights':
        return  # histories name files that are in git only
    text = page.read_text('utf-8')
    there = {path.relative_to(ROOT / 'options').as_posix() for path in (ROOT / 'options').rglob('*.yml')}
    assert set(re.findall(r'options/((?:\w+/)*\w+\.yml)', text)) <= there
    names = {Path(path).name for path in there}
    assert set(re.findall(r'\b((?:train|test)_\w+\.yml)\b', text)) <= names


@pages
def test_paths_and_modules_exist(page):
    text = page.read_text('utf-8')
    for path in re.findall(r'`((?:tgjar_arch|losses|datasets|tests|options|docs|benchmarks)/[\w/.]*)`', text):
        assert 'NAME' in path or (ROOT / path).exists(), path
    for name in re.findall(r'`(tgjar_arch(?:\.\w+)+)', text):
        parts = name.split('.')
        for count in range(len(parts), 0, -1):
            try:
                found = importlib.import_module('.'.join(parts[:count]))
            except ModuleNotFoundError:
                continue
            for part in parts[count:]:
                found = getattr(found, part)
            break


@pages
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text('utf-8')):
        path = target.partition('#')[0]
        if path and '://' not in path:
            assert (page.parent / path).exists(), target


def test_every_option_file_for_everyday_is_on_the_page():
    text = (ROOT / 'docs' / 'options.md').read_text('utf-8')
    missing = {path.name for path in (ROOT / 'options').glob('*.yml')} - set(re.findall(r'\w+\.yml', text))
    assert not missing


def test_lengths():
    assert len((ROOT / 'README.md').read_text('utf-8').splitlines()) <= 150
    assert len((ROOT / 'docs' / 'model_card.md').read_text('utf-8').splitlines()) <= 120


def test_the_model_cards_header():
    header = yaml.safe_load((ROOT / 'docs' / 'model_card.md').read_text('utf-8').split('---\n')[1])
    assert header['license'] == 'apache-2.0' and header['pipeline_tag'] == 'image-to-image'
    results = (ROOT / 'docs' / 'results.md').read_text('utf-8')
    for model in header['model-index']:
        (entry,) = model['results']
        quality = re.search(r'\d+$', entry['task']['name'])[0]
        section = results.partition(f'## Birds at quality {quality}')[2].partition('\n## ')[0]
        (row,) = re.findall(rf'^\|(?: {quality} \|)? `{model["name"]}` \|(.*)', section, re.MULTILINE)
        cells = [cell.split('±')[0].strip('* ') for cell in row.strip(' |').split('|')]
        values = [float(cell) for cell in cells if cell != '–']  # not measured
        assert {metric['value'] for metric in entry['metrics']} <= set(values), model['name']


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the pictures that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('TGJAR_WEIGHTS', raising=False)
    (tmp_path / 'photos').mkdir()
    picture(88, 72).save('photo.png')
    picture(88, 72).save('bird.jpg', quality=5)
    shutil.copy('bird.jpg', 'photos/one.jpg')
    return tmp_path


def run(page: str, skipped: tuple[str, ...]) -> list[list[str]]:
    """Run the `tgjar` commands of a page's bash blocks in the working directory, and return them."""
    done = []
    for words in (words for block in blocks(ROOT / page, 'bash') for words in commands(block)):
        arguments = tgjar_arguments(words)
        if arguments and arguments[0] not in skipped:
            assert cli.main(arguments) == 0, words
            done.append(arguments)
    return done


def test_the_first_restoration(folder, capsys):
    assert len(run('docs/first_restoration.md', skipped=('app',))) == 4
    for name in ('bird.png', 'restored.png', 'restored/one.png'):
        with Image.open(folder / name) as image:
            assert image.size == (88, 72)
    assert 'a white cup of coffee on a saucer' in capsys.readouterr().out


def test_the_readmes_commands(folder):
    assert [arguments[0] for arguments in run('README.md', skipped=('doctor', 'train'))] == ['restore', 'compress']
    with Image.open(folder / 'small.jpg') as image:
        assert image.size == (88, 72)
        assert image.info['comment'] == b'a small yellow bird'
    assert 'small.jpg' in {path.name for path in folder.iterdir()}


def test_version_and_doctor(capsys, monkeypatch):
    monkeypatch.setattr(doctor, 'stock_import_error', lambda: None)  # a process of its own, in tests/cli/test_doctor.py
    assert cli.main(['--version']) == 0
    assert re.fullmatch(r'tgjar \d+\.\d+\S*\n', capsys.readouterr().out)
    cli.main(['doctor'])
    printed = capsys.readouterr().out
    assert 'TGJARGenerator' in printed and 'tgjar_universal' in printed
