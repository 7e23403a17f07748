"""`tgjar caption`, with a tiny untrained BLIP."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tgjar_arch.cli.caption import main
from tgjar_arch.cli.caption_run import describe_all, find_work, load
from tgjar_arch.datasets.captions import read_captions
from tgjar_arch.text.captioner import Captioner

WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', *'a red bird on blue water with yellow wings'.split()]


@pytest.fixture(scope='module')
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BLIP that has random weights and the vocabulary `WORDS`."""
    import tokenizers
    import transformers

    folder = tmp_path_factory.mktemp('blip')
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, '[UNK]'))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token='[PAD]', unk_token='[UNK]',
                                         cls_token='[CLS]', sep_token='[SEP]').save_pretrained(folder)
    transformers.BlipImageProcessor(size={'height': 32, 'width': 32}).save_pretrained(folder)
    # BLIP's own initializer_range, 1e-10 for the vision part, would make all images the same
    small = {'initializer_range': 0.5, 'hidden_size': 16, 'intermediate_size': 16, 'num_hidden_layers': 1,
             'num_attention_heads': 2, 'projection_dim': 16}
    torch.manual_seed(0)
    model = transformers.BlipForConditionalGeneration(transformers.BlipConfig(
        text_config={**small, 'vocab_size': len(WORDS), 'encoder_hidden_size': 16, 'max_position_embeddings': 40,
                     'bos_token_id': 2, 'pad_token_id': 0, 'eos_token_id': 3, 'sep_token_id': 3},
        vision_config={**small, 'image_size': 32, 'patch_size': 16}, projection_dim=16, image_text_hidden_size=16))
    with torch.no_grad():
        model.text_decoder.cls.predictions.decoder.bias[:4] -= 5  # so that the captions have words
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path):
    """Three very different images in two folders."""
    for seed, name in enumerate(('a.jpg', 'b.v2.png', 'more/c.webp')):
        path = tmp_path / 'pictures' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
        Image.fromarray(corners).resize((40, 24), Image.NEAREST).save(path)
    return tmp_path / 'pictures'


def describe(pictures: Path, blip: Path, *arguments: str) -> int:
    return main([str(pictures), '--model', str(blip), '--device', 'cpu', '--max-tokens', '4', '--quiet', *arguments])


def test_captions_lie_beside_the_images(pictures, blip, capsys):
    assert describe(pictures, blip, '--batch', '2') == 0
    assert capsys.readouterr().out == f'{pictures}: 3 described, 0 failed\n'
    texts = {path.relative_to(pictures).as_posix(): path.read_text() for path in pictures.rglob('*.txt')}
    assert sorted(texts) == ['a.txt', 'b.v2.txt', 'more/c.txt']
    assert all(text.endswith('\n') and text.strip() and set(text.split()) <= set(WORDS[4:]) for text in texts.values())
    assert {image.name: image.captions for image in read_captions(pictures)[0]} == {
        name.removesuffix('.txt'): (text.strip(),) for name, text in texts.items()}


def test_the_batch_changes_nothing(pictures, blip):
    captioner = Captioner(str(blip), torch.device('cpu'), max_tokens=4)
    images = [load(path) for path in find_work(pictures)[0]]
    together = captioner(images)
    assert together == [captioner([image])[0] for image in images]
    assert len(set(together)) > 1 and all(1 <= len(text.split()) <= 4 for text in together)


def test_existing_captions_are_kept(pictures, blip, capsys):
    (pictures / 'a.txt').write_text('mine\n')
    (pictures / 'b.v2.txt').write_text('\n')  # no caption, so it is written
    (pictures / 'more' / 'metadata.jsonl').write_text(json.dumps({'file_name': 'c.webp', 'captions': ['in a list']}))
    assert describe(pictures, blip) == 0
    assert capsys.readouterr().out == f'{pictures}: 1 described, 2 already have captions, 0 failed\n'
    assert (pictures / 'a.txt').read_text() == 'mine\n' and (pictures / 'b.v2.txt').read_text().strip()
    assert not (pictures / 'more' / 'c.txt').exists()

    assert describe(pictures, blip) == 0  # nothing to do
    assert describe(pictures, blip, '--overwrite') == 0
    assert (pictures / 'a.txt').read_text() != 'mine\n' and not (pictures / 'more' / 'c.txt').exists()
    assert capsys.readouterr().out.splitlines()[-1] == f'{pictures}: 2 described, 1 already have captions, 0 failed'


def test_one_bad_file_never_stops_the_rest(pictures, blip, capsys):
    content = (pictures / 'a.jpg').read_bytes()
    (pictures / 'a.jpg').write_bytes(content[:len(content) // 2])
    (pictures / 'aa.png').write_bytes(b'no image')
    assert describe(pictures, blip, '--batch', '2') == 1
    captured = capsys.readouterr()
    assert captured.out == f'{pictures}: 2 described, 2 failed\n'
    failed = [line for line in captured.err.splitlines() if line.startswith('failed: ')]
    assert failed[0].startswith(f'failed: {pictures / "a.jpg"}: OSError: ')
    assert failed[1].startswith(f'failed: {pictures / "aa.png"}: UnidentifiedImageError') and len(failed) == 2
    assert sorted(path.name for path in pictures.rglob('*.txt')) == ['b.v2.txt', 'c.txt']


def test_a_caption_without_words_is_a_failure(pictures):
    done, failed = describe_all(lambda images: [''] * len(images), find_work(pictures)[0], 8, quiet=True)
    assert done == 0 and set(failed.values()) == {'the model found no word for it'}
    assert not list(pictures.rglob('*.txt'))


def test_images_are_turned_as_people_see_them(tmp_path):
    image = Image.new('RGB', (40, 20))
    image.getexif()[0x0112] = 6
    image.save(tmp_path / 'turned.jpg', exif=image.getexif())
    assert load(tmp_path / 'turned.jpg').size == (20, 40)


def test_nothing_is_downloaded_unasked(pictures, monkeypatch, capsys):
    import transformers

    asked = []
    monkeypatch.setattr(transformers.AutoImageProcessor, 'from_pretrained',
                        lambda name, local_files_only: asked.append((name, local_files_only)) or 1 / 0)
    for arguments in ([], ['--download']):
        with pytest.raises(ZeroDivisionError):
            main([str(pictures), '--quiet', *arguments])
    assert asked == [('Salesforce/blip-image-captioning-base', True), ('Salesforce/blip-image-captioning-base', False)]


def test_a_model_that_is_not_there(pictures, tmp_path, capsys):
    assert main([str(pictures), '--model', 'no/such-model', '--quiet']) == 2
    message = capsys.readouterr().err
    assert 'cannot load the model no/such-model: ' in message and '--download fetches it' in message
    (tmp_path / 'empty').mkdir()
    assert main([str(pictures), '--model', str(tmp_path / 'empty'), '--quiet']) == 2
    assert '--download' not in capsys.readouterr().err
    assert not list(pictures.rglob('*.txt'))


@pytest.mark.parametrize(('make', 'message'), [
    (lambda folder: None, 'there is no folder'), (lambda folder: folder.mkdir(), 'there is no image in'),
    (lambda folder: (folder.mkdir(), [Image.new('RGB', (8, 8)).save(folder / name) for name in ('a.png', 'a.jpg')]),
     'have one name'),
])
def test_wrong_folders(tmp_path, capsys, make, message):
    make(tmp_path / 'folder')
    assert main([str(tmp_path / 'folder')]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith('tgjar caption: ') and error.count('tgjar caption') == 1


@pytest.mark.parametrize('device', ['foo', 'cuda:99'])
def test_a_device_that_is_not_there_is_not_the_models_fault(pictures, blip, capsys, device):
    assert main([str(pictures), '--model', str(blip), '--device', device]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'tgjar caption: --device {device} cannot be used here: ') and 'model' not in error
    assert error.count('\n') == 1 and not list(pictures.rglob('*.txt'))


def test_help_tells_of_the_papers_model(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    assert 'OFA, which is not in the transformers library' in ' '.join(capsys.readouterr().out.split())
