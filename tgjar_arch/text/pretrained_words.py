"""Word vectors from the token table of a pretrained text model, reduced to the width of a word embedding."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from tgjar_arch.text.tokenizer_check import native_errors

# Where BERT and its kin, CLIP, GPT-2, LLaMA's kin and T5 have the table.
_TABLES = ('word_embeddings.weight', 'token_embedding.weight', 'wte.weight', 'embed_tokens.weight', 'shared.weight')
_CONTINUES = '##'  # before a piece that goes on a word, of WordPiece (BERT)


def pretrained_word_vectors(folder: Path, words: Sequence[str], going_on: Sequence[bool], dim: int,
                            scale: float) -> tuple[Tensor, Tensor]:
    """Vectors of words by the token table of a pretrained text model, by principal components.

    The vector of a word is the mean of those of its tokens. All are centred and rotated to their principal components,
    of which the first `dim` stay, and brought to one scale. What is alike in the model stays near: colours, animals.

    Args:
        folder: the model, as `save_pretrained` of the transformers library writes it: `model.safetensors` and
            `tokenizer.json`.
        words: words, or pieces of them; an empty one has no vector.
        going_on: which of them go on a word.
        dim: width of the vectors.
        scale: their standard deviation over all numbers.

    Returns:
        Vectors (len(words), dim) float32, and (len(words),) bool, False where there is none, as the model does not know
        the word, and the vector is 0.

    Raises:
        FileNotFoundError: when a file of the model is missing.
        ValueError: when one is broken or has no token table, or `dim` is more than the table has.
    """
    table, tokenizer = _read(folder)
    if dim > table.shape[1]:
        raise ValueError(f'{folder} has vectors of {table.shape[1]} numbers, but the word embedding wants {dim}; take '
                         'a larger text model, or a smaller embed_dim.')
    unknown = _id_of_unknown(tokenizer)
    vectors, has = torch.zeros(len(words), table.shape[1]), torch.zeros(len(words), dtype=torch.bool)
    for row, (word, goes_on) in enumerate(zip(words, going_on, strict=True)):
        whole = tokenizer.token_to_id(_CONTINUES + word) if goes_on and word else None
        ids = [whole] if whole is not None else tokenizer.encode(word, add_special_tokens=False).ids
        ids = [index for index in ids if index != unknown]  # whose vector says nothing about a word
        if ids and max(ids) < len(table):
            vectors[row], has[row] = table[ids].mean(dim=0), True
    if has.sum() <= dim:
        raise ValueError(f'{int(has.sum())} words are too few for {dim} principal components; take a larger '
                         'vocabulary.')
    known = vectors[has] - vectors[has].mean(dim=0)
    reduced = known @ torch.linalg.svd(known, full_matrices=False).Vh[:dim].T
    result = torch.zeros(len(words), dim)
    result[has] = reduced / reduced.std() * scale
    return result, has


def _id_of_unknown(tokenizer: Tokenizer) -> int | None:
    token = getattr(tokenizer.model, 'unk_token', None)  # models that can spell any word have none
    return None if token is None else tokenizer.token_to_id(token)


def _read(folder: Path) -> tuple[Tensor, Tokenizer]:
    weights, text = folder / 'model.safetensors', folder / 'tokenizer.json'
    for file in (weights, text):
        if not file.is_file():
            raise FileNotFoundError(f'text model: there is no file {file}; take the folder that save_pretrained of the '
                                    'transformers library wrote, with its fast tokenizer.')
    with native_errors(f'{text} is no tokenizer.json'):
        tokenizer = Tokenizer.from_file(str(text))
    # A file of a sentence encoder pads every text to 128 tokens, and the padding would count as the word's tokens.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    try:
        with safe_open(weights, framework='pt') as file:
            name = next((name for end in _TABLES for name in file.keys() if name.endswith(end)), None)  # noqa: SIM118
            table = None if name is None else file.get_tensor(name).float()
    except SafetensorError as error:
        raise ValueError(f'{weights} is no safetensors file ({error}).') from error
    if table is None or table.ndim != 2:
        raise ValueError(f'{weights} has no token table; known names end with {", ".join(_TABLES)}.')
    return table, tokenizer
