import json
import random
from copy import deepcopy

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch.utils.data import DataLoader

from tgjar_arch.archs.generator_arch import TGJARGenerator
from tgjar_arch.archs.hf_text_encoder_arch import HFTextEncoder
from tgjar_arch.cli import export
from tgjar_arch.models.encoders import text_encoder_options
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.subword_tokenizer import HFTokenizer
from tgjar_arch.text.tokenizer import load_tokenizer, tokenizer_from_json
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.checkpoint import load_checkpoint
from tgjar_arch.weights.file import ExportedWeights, write_weights

WORDS = ['a', 'brown', 'cat', 'white', 'cup', 'of', 'coffee', 'woman', 'in', 'orange', 'space', 'suit', 'with', 'green']
SIZES = {'hidden_size': 24, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'intermediate_size': 32}


@pytest.fixture(autouse=True)
def one_thread(deterministic):
    torch.set_num_threads(1)


def bert_tokenizer():
    """WordPiece with [CLS] and [SEP], as BERT; padding and truncation are stored, as sentence transformers do."""
    vocab = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', *WORDS, 'ca', '##s', '##ps']
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token='[UNK]'))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(['[PAD]', '[UNK]', '[CLS]', '[SEP]'])
    tokenizer.post_processor = processors.TemplateProcessing(single='[CLS] $A [SEP]',
                                                             special_tokens=[('[CLS]', 2), ('[SEP]', 3)])
    tokenizer.enable_padding(length=10)
    tokenizer.enable_truncation(4)
    return tokenizer


def clip_tokenizer():
    """Byte-level BPE between <|startoftext|> and <|endoftext|>, which is also the padding, as CLIP."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = [*letters, *(f'{letter}</w>' for letter in letters), 'ca', 'cat</w>', '<|startoftext|>', '<|endoftext|>']
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(vocab)}, [('c', 'a'), ('ca', 't</w>')],
                                     unk_token='<|endoftext|>', end_of_word_suffix='</w>'))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(['<|startoftext|>', '<|endoftext|>'])
    start, end = len(vocab) - 2, len(vocab) - 1
    tokenizer.post_processor = processors.RobertaProcessing(('<|endoftext|>', end), ('<|startoftext|>', start),
                                                            trim_offsets=False, add_prefix_space=False)
    return tokenizer


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Folders of tiny random models with their tokenizers: `bert`, `clip_text`, and `clip` with both towers."""
    from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp('models')
    bert, clip = bert_tokenizer(), clip_tokenizer()
    BertModel(BertConfig(vocab_size=bert.get_vocab_size(), max_position_embeddings=32, **SIZES)).save_pretrained(
        root / 'bert')
    # As in OpenAI's files: the end token in the configuration is not the tokenizer's.
    text = CLIPTextConfig(vocab_size=clip.get_vocab_size(), max_position_embeddings=20, eos_token_id=2, bos_token_id=0,
                          pad_token_id=1, **SIZES)
    CLIPTextModel(text).save_pretrained(root / 'clip_text')
    vision = {'image_size': 8, 'patch_size': 4, **SIZES}
    CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision)).save_pretrained(root / 'clip')
    bert.save(str(root / 'bert' / 'tokenizer.json'))
    for name in ('clip_text', 'clip'):
        clip.save(str(root / name / 'tokenizer.json'))
    return root


def make(folders, name, **options):
    """An encoder of 16 features and its tokenizer, put together as the models do."""
    tokenizer = load_tokenizer(folders / name)
    network = {'type': 'HFTextEncoder', 'model': str(folders / name), 'text_dim': 16} | options
    torch.manual_seed(1)
    return build_network(text_encoder_options({'network_t': network}, tokenizer)).eval(), tokenizer


def encode(tokenizer, captions, max_words=12):
    parts = [tokenizer.pad(tokenizer.encode(caption), max_words) for caption in captions]
    return tuple(torch.stack(part) for part in zip(*parts, strict=True))


def ids_of(folder):
    return load_tokenizer(folder).special_ids


# -------------------------------------------------------------------------------------------------------- tokenizer


def test_captions_stand_between_special_tokens(folders):
    tokenizer = load_tokenizer(folders / 'bert' / 'tokenizer.json')
    assert isinstance(tokenizer, HFTokenizer)
    assert tokenizer.special_ids == {2, 3} and tokenizer.vocab_size == 4 + len(WORDS) + 3
    ids = tokenizer.encode('A brown cats')  # [CLS] a brown cat ##s [SEP]: neither padded nor cut
    assert (ids[0], ids[-1], len(ids)) == (2, 3, 6)
    assert tokenizer.decode(ids) == ['a', 'brown', 'cat', '##s']
    assert tokenizer.encode('') == tokenizer.encode('  ') == [] == tokenizer.unknown('zebra')
    assert 1 in tokenizer.encode('a zebra')  # [UNK] is a word
    clip = load_tokenizer(folders / 'clip_text')
    assert clip.decode(clip.encode('a Cat')) == ['a</w>', 'cat</w>']
    assert len(clip.special_ids) == 2


def test_json_keeps_everything(folders):
    tokenizer = load_tokenizer(folders / 'bert')
    again = tokenizer_from_json(tokenizer.to_json())
    assert again.to_json() == tokenizer.to_json() and again.encode('a brown cup') == tokenizer.encode('a brown cup')


def test_a_long_caption_keeps_its_beginning_and_the_special_tokens(folders):
    tokenizer = load_tokenizer(folders / 'bert')
    ids = tokenizer.encode('a brown cat with a white cup of coffee')
    for rng in (None, random.Random(0)):
        padded, mask = tokenizer.pad(ids, 6, rng)
        assert padded.tolist() == [*ids[:5], 3] and mask.all()
    padded, mask = tokenizer.pad(ids, 12)
    assert padded.tolist() == [*ids, 0] and mask.tolist() == [True] * 11 + [False]
    assert padded.dtype == torch.int64 and mask.dtype == torch.bool
    with pytest.raises(ValueError, match='max_words 2 leaves no room for a word beside 2 special'):
        tokenizer.pad(ids, 2)


def test_word_vocabularies_are_read_as_before(tmp_path):
    words = WordTokenizer.build(['a brown cat'])
    words.save(tmp_path / 'tokenizer.json')
    loaded = load_tokenizer(tmp_path / 'tokenizer.json')
    assert isinstance(loaded, WordTokenizer) and loaded.to_json() == words.to_json()
    assert load_tokenizer(tmp_path).encode('a cat') == [1, 3]
    assert [part.tolist() for part in loaded.pad([1, 3], 3)] == [[1, 3, 0], [True, True, False]]


def test_wrong_tokenizer_files_are_named(tmp_path):
    (tmp_path / 'x.json').write_text('{"model": {"type": "BPE"}}')
    with pytest.raises(ValueError, match='x.json is no tokenizer.json'):
        load_tokenizer(tmp_path / 'x.json')
    (tmp_path / 'y.json').write_text('hello')
    with pytest.raises(ValueError, match='y.json is no tokenizer.json'):
        load_tokenizer(tmp_path / 'y.json')
    with pytest.raises(FileNotFoundError, match='save the fast tokenizer'):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match='tgjar vocab'):
        load_tokenizer(tmp_path / 'z.json')


# ---------------------------------------------------------------------------------------------------------- encoder


@pytest.mark.parametrize('name', ['bert', 'clip_text', 'clip'])
def test_special_tokens_and_padding_are_no_words(folders, name):
    net, tokenizer = make(folders, name)
    ids, mask = encode(tokenizer, ['a brown cat', 'a cat', ''])
    with torch.no_grad():
        words, sentence, word_mask = net(ids, mask)
    assert words.shape == (3, 16, 12) and sentence.shape == (3, 16)
    special = torch.isin(ids, torch.tensor(sorted(tokenizer.special_ids)))
    assert torch.equal(word_mask, mask & ~special)
    assert word_mask.sum(1).tolist() == [(mask[0].sum() - 2).item(), (mask[1].sum() - 2).item(), 0]
    assert words.transpose(1, 2)[~word_mask].abs().max() == 0
    assert words.transpose(1, 2)[word_mask].abs().amax(1).min() > 0
    assert sentence[2].abs().max() == 0 and sentence[:2].abs().amax(1).min() > 0


@pytest.mark.parametrize('name', ['bert', 'clip_text'])
def test_padding_and_other_captions_change_nothing(folders, name):
    net, tokenizer = make(folders, name)
    ids, mask = encode(tokenizer, ['a brown cat', 'a cat', ''])
    with torch.no_grad():
        words, sentence, _ = net(ids, mask)
        other = net(torch.where(mask, ids, 5), mask)
        length = int(mask[1].sum())
        alone = net(ids[1:2, :length], mask[1:2, :length])
    assert torch.equal(other.words, words) and torch.equal(other.sentence, sentence)
    torch.testing.assert_close(alone.words, words[1:2, :, :length], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.sentence, sentence[1:2], atol=1e-5, rtol=1e-4)


def test_special_tokens_are_read_by_the_backbone(folders):
    net, tokenizer = make(folders, 'bert')
    ids, mask = encode(tokenizer, ['a cat'])
    without = ids[:, 1:3], mask[:, 1:3]
    with torch.no_grad():
        assert not torch.allclose(net(ids, mask).words[:, :, 1:3], net(*without).words, atol=1e-3)


def test_the_sentence_is_clips_end_token_and_berts_mean(folders):
    from transformers import BertModel, CLIPTextModel

    for name, kind in (('clip_text', CLIPTextModel), ('bert', BertModel)):
        net, tokenizer = make(folders, name)
        ids, mask = encode(tokenizer, ['a brown cat', 'a cat'])
        with torch.no_grad():
            reference = kind.from_pretrained(folders / name).eval()(input_ids=ids, attention_mask=mask.long())
            pooled = reference.pooler_output
            if name == 'bert':
                pooled = torch.stack([hidden[row].mean(0) for hidden, row in
                                      zip(reference.last_hidden_state, mask, strict=True)])
            sentence = net(ids, mask).sentence
            torch.testing.assert_close(sentence, net.project_sentence(pooled), atol=1e-5, rtol=1e-4)
    net, tokenizer = make(folders, 'bert', pooling='first')
    ids, mask = encode(tokenizer, ['a cat'])
    with torch.no_grad():
        first = net.backbone(input_ids=ids, attention_mask=mask.long()).last_hidden_state[:, 0]
        torch.testing.assert_close(net(ids, mask).sentence, net.project_sentence(first))


def test_the_text_tower_of_clip_has_its_weights(folders):
    from transformers import CLIPModel

    net, tokenizer = make(folders, 'clip')
    ids, mask = encode(tokenizer, ['a brown cat'])
    both = CLIPModel.from_pretrained(folders / 'clip').eval()
    with torch.no_grad():
        expected = both.text_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        words = net(ids, mask).words
    torch.testing.assert_close(words[0, :, 1:4], net.project_words(expected)[0, 1:4].T, atol=1e-5, rtol=1e-4)
    assert not any('vision' in key for key in net.state_dict())


def test_frozen_and_trained_backbones(folders):
    net, tokenizer = make(folders, 'bert')
    net.train()
    ids, mask = encode(tokenizer, ['a brown cat', 'a cat'])
    assert not net.backbone.training  # no dropout
    words, sentence, _ = net(ids, mask)
    assert torch.equal(net(ids, mask).words, words)
    (words.square().sum() + sentence.square().sum()).backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert trained == {f'project_{part}.{kind}' for part in ('words', 'sentence') for kind in ('weight', 'bias')}
    assert {name for name, p in net.named_parameters() if p.requires_grad} == trained

    net, tokenizer = make(folders, 'bert', train_backbone=True)
    net.train()
    assert net.backbone.training
    words, sentence, _ = net(ids, mask)
    (words.square().sum() + sentence.square().sum()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_bert_without_weights_is_built_from_its_configuration(folders):
    net, tokenizer = make(folders, 'bert')
    options = json.loads(json.dumps(net.portable_options()))
    assert 'model' not in options and options['special_ids'] == [2, 3] and options['config']['hidden_size'] == 24
    again = build_network(options).eval()
    again.load_state_dict(net.state_dict())
    batch = encode(tokenizer, ['a brown cat', ''])
    with torch.no_grad():
        for a, b in zip(net(*batch), again(*batch), strict=True):
            assert torch.equal(a, b)


def test_wrong_models_are_named(folders, tmp_path):
    with pytest.raises(ValueError, match=r"text model 'someone/nothing' cannot be loaded .*`download: true`"):
        HFTextEncoder('someone/nothing')
    with pytest.raises(ValueError, match='either model'):
        HFTextEncoder()
    with pytest.raises(ValueError, match="pooling is 'max'"):
        HFTextEncoder(str(folders / 'bert'), pooling='max')
    with pytest.raises(ValueError, match='no model_type'):
        HFTextEncoder(config={'hidden_size': 8})
    with pytest.raises(ValueError, match='has 900 ids, but .* has 21'):
        HFTextEncoder(str(folders / 'bert'), vocab_size=900)
    words = WordTokenizer.build(['a cat'])
    with pytest.raises(ValueError, match='reads ids of its own tokenizer'):
        text_encoder_options({'network_t': {'type': 'HFTextEncoder', 'model': str(folders / 'bert')}}, words)
    net, tokenizer = make(folders, 'clip_text')
    with pytest.raises(ValueError, match='T = 30 tokens, but the text model reads 20'):
        net(*encode(tokenizer, ['a cat'], 30))
    with pytest.raises(ValueError, match=r'\(1, 6\) and \(1, 5\)'):
        net(torch.ones(1, 6, dtype=torch.long), torch.ones(1, 5, dtype=torch.bool))


def test_a_model_that_lacks_weights_is_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(folders / 'bert' / 'model.safetensors')
    save_file({key: value for key, value in weights.items() if 'layer.1.attention' not in key},
              tmp_path / 'model.safetensors', metadata={'format': 'pt'})
    (tmp_path / 'config.json').write_bytes((folders / 'bert' / 'config.json').read_bytes())
    with pytest.raises(ValueError, match='lacks .* tensors of BertModel'):
        HFTextEncoder(str(tmp_path))


# ------------------------------------------------------------------------------------------- dataset, model, export


@pytest.mark.parametrize('name', ['bert', 'clip_text'])
def test_training_export_and_restoration(folders, photos, tmp_path, name):
    dataset = {'type': 'PairedImageTextDataset', 'dataroot_gt': str(photos(size=64)), 'io_backend': {'type': 'disk'},
               'qf': 1, 'tokenizer': str(folders / name), 'max_words': 10}
    for folder in ('models', 'training_states'):
        (tmp_path / folder).mkdir()
    opt = {
        'name': 'tiny', 'model_type': 'TGJARModel', 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
        'is_train': True, 'datasets': {'train': dataset | {'name': 'train', 'phase': 'train', 'gt_size': 32}},
        'network_g': {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': 16},
        'network_t': {'type': 'HFTextEncoder', 'model': str(folders / name), 'text_dim': 16},
        'path': {key: str(tmp_path / key) for key in ('models', 'training_states')},
        'train': {'train_network_t': True, 'optim_g': {'type': 'Adam', 'lr': 1e-3},
                  'scheduler': {'type': 'MultiStepLR', 'milestones': [100], 'gamma': 0.1},
                  'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}},
        'val': {},
    }
    model = build_model(deepcopy(opt))
    before = {key: value.clone() for key, value in model.net_t.state_dict().items()}
    for iteration, data in enumerate(list(DataLoader(build_dataset(opt['datasets']['train']), batch_size=2))[:2], 1):
        special = torch.isin(data['text'], torch.tensor(sorted(ids_of(folders / name)))) & data['text_mask']
        assert (special.sum(dim=1) == 2).all()  # cut captions keep both
        model.feed_data(data)
        model.optimize_parameters(iteration)
    changed = {key for key, value in model.net_t.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f'project_{part}.{kind}' for part in ('words', 'sentence') for kind in ('weight', 'bias')}
    model.save(0, 2)
    content = load_checkpoint(tmp_path / 'models' / 'net_t_2.pth')
    assert 'model' not in json.loads(content['network']) and content['max_words'] == 10

    out = tmp_path / 'tiny.safetensors'
    assert export.main([str(tmp_path), '-o', str(out)]) == 0
    restorer = Restorer.from_pretrained(out, 'cpu')
    lq, captions = torch.rand(2, 3, 32, 32), ['a brown cat with green eyes and more', '']
    model.lq, (model.ids, model.mask) = lq, encode(model.tokenizer, captions, 10)
    model.test()
    torch.testing.assert_close(restorer.restore(lq, captions), model.output.clamp(0, 1), atol=1e-5, rtol=1e-4)

    opt['path']['pretrain_network_t'] = str(tmp_path / 'models' / 'net_t_2.pth')
    opt['train']['train_network_t'] = False
    frozen = build_model(deepcopy(opt)).net_t
    assert torch.equal(frozen.project_words.weight, model.net_t.project_words.weight)
    assert not any(p.requires_grad for p in frozen.parameters())


# -------------------------------------------------------------------------------------------------------- weights file


def foreign(folders, **changes):
    """Weights of a tiny generator and BERT, of which a stranger changed something."""
    net, tokenizer = make(folders, 'bert')
    network_g = {'type': 'TGJARGenerator', 'num_feat': 8, 'num_block': 1, 'text_dim': changes.pop('text_dim', 16)}
    net_g = TGJARGenerator(**{key: value for key, value in network_g.items() if key != 'type'})
    return ExportedWeights(network_g, net_g.state_dict(), net.portable_options() | changes.pop('network_t', {}),
                           net.state_dict(), **{'tokenizer': tokenizer.to_json(), 'max_words': 12} | changes)


def test_what_does_not_fit_the_text_encoder_is_found_before_the_first_picture(folders, tmp_path, monkeypatch):
    file = tmp_path / 'w.safetensors'
    write_weights(file, foreign(folders))
    assert Restorer.from_pretrained(file, 'cpu').encode(['a cat']).words.shape == (1, 16, 12)
    for weights, said in ((foreign(folders, max_words=1000), 'captions have T = 1000 tokens'),
                          (foreign(folders, max_words=2), 'max_words 2 leaves no room for a word'),
                          (foreign(folders, text_dim=24), 'has text_dim 16, but the generator 24')):
        write_weights(file, weights)
        with pytest.raises(ValueError, match=rf'w\.safetensors does not fit the networks it names: .*{said}') as caught:
            Restorer.from_pretrained(file, 'cpu')
        assert '\n' not in str(caught.value)
    tokenizer = json.loads(foreign(folders).tokenizer)
    tokenizer['model']['vocab']['zebra'] = 99
    with pytest.raises(ValueError, match='has the id 99, but the text encoder reads'):
        write_weights(file, foreign(folders, tokenizer=json.dumps(tokenizer)))


def test_a_panic_at_a_caption_is_one_line(folders, monkeypatch):
    class Panic(BaseException):
        """As pyo3's, which is no `Exception`."""

    def panic(self, caption):
        raise Panic('index out of bounds\nat lib.rs')

    restorer = Restorer(foreign(folders), 'cpu')
    monkeypatch.setattr(HFTokenizer, 'encode', panic)
    for use in (lambda: restorer.encode(['a cat']), lambda: Restorer(foreign(folders), 'cpu')):
        with pytest.raises(ValueError, match=r'the tokenizer of the weights cannot read the caption .* \(index out of '
                                             r'bounds at lib.rs\)'):
            use()
