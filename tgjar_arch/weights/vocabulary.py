"""Weights with another vocabulary: the text encoder keeps what it learnt of the words that both vocabularies have."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from tgjar_arch.text.piece_tokenizer import PieceTokenizer
from tgjar_arch.text.pretrained_words import pretrained_word_vectors
from tgjar_arch.text.tokenizer import tokenizer_from_json
from tgjar_arch.text.word_tokenizer import END, END_ID, WordTokenizer
from tgjar_arch.weights.file import ExportedWeights

_TABLE = 'encoder.weight'  # of LSTMTextEncoder
_INITIAL = 0.1  # rows are drawn from [-0.1, 0.1], as LSTMTextEncoder's are


def with_vocabulary(weights: ExportedWeights, vocabulary: str, seed: int = 0,
                    text_model: Path | None = None) -> tuple[ExportedWeights, int]:
    """The same networks for the ids of another tokenizer, to train on from.

    A row of the new embedding is that of the same word in the old one, or the mean of its pieces there. A word that the
    old vocabulary does not know, and a piece that only goes on a word, starts at random as in a new text encoder, or at
    its vector of a pretrained text model. So captions of words that are one id in both are read as before, to the bit.

    Args:
        weights: with an `LSTMTextEncoder`.
        vocabulary: text of the new `tokenizer.json`, of `tgjar vocab`.
        seed: of the new rows.
        text_model: folder of a pretrained text model, whose token table the new rows come from
            (`pretrained_word_vectors`), as far as it has them; None for random ones.

    Returns:
        The weights, and how many rows were taken over, `<end>` included.

    Raises:
        FileNotFoundError: when a file of `text_model` is missing.
        ValueError: when the weights take no captions or have another text encoder, when the tokenizer is not one of
            `tgjar vocab`, or when `text_model` does not fit.
    """
    if weights.network_t is None or weights.tokenizer is None or _TABLE not in weights.state_t:
        encoder = 'no text encoder' if weights.network_t is None else f"a {weights.network_t['type']}"
        raise ValueError(f'another vocabulary needs weights with an LSTMTextEncoder, but these have {encoder}.')
    old, new = (tokenizer_from_json(text, source) for text, source in
                ((weights.tokenizer, 'the tokenizer of the weights'), (vocabulary, 'the new tokenizer')))
    if not isinstance(old, WordTokenizer | PieceTokenizer) or not isinstance(new, WordTokenizer | PieceTokenizer):
        raise ValueError('another vocabulary must be one of `tgjar vocab`, not that of a pretrained text model.')
    table = weights.state_t[_TABLE]
    rows = torch.empty((new.vocab_size, table.shape[1]))
    rows.uniform_(-_INITIAL, _INITIAL, generator=torch.Generator().manual_seed(seed))
    rows = rows.to(table)
    ids_of = json.loads(vocabulary)['model']['vocab']
    words = {index: new.decode([index])[0] for token, index in ids_of.items() if token != END}
    whole = {index: new.encode(word) == [index] for index, word in words.items()}  # else it only goes on a word
    if text_model is not None:
        vectors, has = pretrained_word_vectors(text_model, list(words.values()),
                                               [not whole[index] for index in words], table.shape[1],
                                               _INITIAL / 3 ** 0.5)  # as uniform numbers from [-0.1, 0.1] spread
        rows[torch.tensor(list(words))[has]] = vectors[has].to(table)
    old_ids = json.loads(weights.tokenizer)['model']['vocab']
    both_pieces = isinstance(old, PieceTokenizer) and isinstance(new, PieceTokenizer)
    taken = 0
    for token, index in ids_of.items():
        if token == END:
            ids = [END_ID]
        elif both_pieces and token in old_ids:
            ids = [old_ids[token]]
        else:
            ids = old.encode(words[index]) if whole[index] and not old.unknown(words[index]) else []
        if ids:
            rows[index] = table[ids].mean(dim=0) if len(ids) > 1 else table[ids[0]]
            taken += 1
    return replace(weights, network_t=weights.network_t | {'vocab_size': new.vocab_size}, tokenizer=new.to_json(),
                   state_t=weights.state_t | {_TABLE: rows}), taken
