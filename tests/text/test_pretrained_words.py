"""Word vectors of a pretrained text model: its token table, reduced to the width of a word embedding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from tgjar_arch.cli.main import main
from tgjar_arch.text.pretrained_words import pretrained_word_vectors
from tgjar_arch.text.word_tokenizer import WordTokenizer
from tgjar_arch.weights.file import ExportedWeights
from tgjar_arch.weights.vocabulary import with_vocabulary

WORDS = ['red', 'green', 'bird', 'dog', 'wing', 'sits', 'runs', 'door', '##s', '##ing', 'the', 'a']


def text_model(folder: Path, key: str = 'embeddings.word_embeddings.weight') -> Tensor:
    """A BERT-like model of the words above, and its table."""
    folder.mkdir(exist_ok=True)
    table = torch.randn(len(WORDS) + 1, 8, generator=torch.Generator().manual_seed(0))
    save_file({key: table, 'other.weight': torch.zeros(3)}, folder / 'model.safetensors')
    vocab = {'[UNK]': len(WORDS)} | {word: i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token='[UNK]'))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / 'tokenizer.json'))
    return table


def test_principal_components_of_the_table(tmp_path: Path) -> None:
    table = text_model(tmp_path)
    words = WORDS[:8] + ['dogs', 's', '']
    vectors, has = pretrained_word_vectors(tmp_path, words, [False] * 9 + [True, False], 4, 0.05)
    assert has.tolist() == [True] * 10 + [False] and not vectors[10].any()
    assert vectors[:10].std().item() == pytest.approx(0.05)
    # By numpy and the covariance: the same up to scale and the signs of the axes.
    rows = torch.stack([*table[:8], table[[3, 8]].mean(dim=0), table[8]]).double().numpy()
    rows = rows - rows.mean(axis=0)
    values, axes = np.linalg.eigh(rows.T @ rows)
    reduced = rows @ axes[:, np.argsort(values)[::-1][:4]]
    expected = np.abs(reduced / reduced.std(ddof=1) * 0.05)
    np.testing.assert_allclose(vectors[:10].abs().double().numpy(), expected, atol=1e-5)


def test_padding_and_unknown_tokens_of_the_model_are_no_part_of_a_word(tmp_path: Path) -> None:
    text_model(tmp_path)
    words = [*WORDS[:8], 'dogs', 's', 'xyzzy']
    wanted, has = pretrained_word_vectors(tmp_path, words, [False] * 9 + [True, False], 4, 0.05)
    assert has.tolist() == [True] * 10 + [False] and not wanted[10].any()
    tokenizer = Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
    tokenizer.enable_padding(length=128, pad_id=2, pad_token='bird')  # as that of all-MiniLM-L6-v2 has it
    tokenizer.enable_truncation(1)
    tokenizer.save(str(tmp_path / 'tokenizer.json'))
    padded, has_padded = pretrained_word_vectors(tmp_path, words, [False] * 9 + [True, False], 4, 0.05)
    assert torch.equal(padded, wanted) and torch.equal(has_padded, has)


@pytest.mark.parametrize('key', ['text_model.embeddings.token_embedding.weight', 'wte.weight'])
def test_tables_of_other_models_are_found(tmp_path: Path, key: str) -> None:
    text_model(tmp_path, key)
    assert pretrained_word_vectors(tmp_path, WORDS[:8], [False] * 8, 4, 0.05)[1].all()


def test_new_words_start_there_and_old_ones_stay(tmp_path: Path) -> None:
    text_model(tmp_path)
    old = WordTokenizer.build(['red bird'])
    state = {'encoder.weight': torch.full((3, 4), 7.0)}
    weights = ExportedWeights({'type': 'TGJARGenerator'}, {}, {'type': 'LSTMTextEncoder', 'vocab_size': 3}, state,
                              old.to_json(), 6)
    new = WordTokenizer.build(['red bird dog wing sits runs door zzz'])
    rows = [with_vocabulary(weights, new.to_json(), seed, tmp_path)[0].state_t['encoder.weight'] for seed in (0, 1)]
    for word in ('red', 'bird'):
        assert (rows[0][new.encode(word)[0]] == 7).all()
    dog = new.encode('dog')[0]
    assert torch.equal(rows[0][dog], rows[1][dog])


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def vectors(words: list[str], dim: int = 4) -> None:
        pretrained_word_vectors(tmp_path / 'm', words, [False] * len(words), dim, 0.05)

    with pytest.raises(FileNotFoundError, match=r'no file .*model\.safetensors'):
        vectors(WORDS)
    text_model(tmp_path / 'm')
    with pytest.raises(ValueError, match='vectors of 8 numbers, but the word embedding wants 9'):
        vectors(WORDS, 9)
    with pytest.raises(ValueError, match='2 words are too few'):
        vectors(WORDS[:2])
    text_model(tmp_path / 'm', 'nothing')
    with pytest.raises(ValueError, match='no token table'):
        vectors(WORDS)
    (tmp_path / 'm' / 'model.safetensors').write_bytes(b'broken')
    with pytest.raises(ValueError, match='no safetensors file'):
        vectors(WORDS)
    (tmp_path / 'm' / 'tokenizer.json').write_text('{}')
    with pytest.raises(ValueError, match=r'no tokenizer\.json'):
        vectors(WORDS)
    with pytest.raises(SystemExit):
        main(['unpack', 'x', '--text-model', str(tmp_path / 'm'), '-o', str(tmp_path / 'o')])
    assert '--text-model is for the new words of --vocab' in capsys.readouterr().err
