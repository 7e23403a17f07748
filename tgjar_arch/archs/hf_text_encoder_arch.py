"""Text encoders of the `transformers` library: CLIP's text tower, BERT, MiniLM and their kind."""

import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tgjar_arch.text.features import TextFeatures

_POOLINGS = ('mean', 'last', 'first')


class HFTextEncoder(nn.Module):
    """A pretrained text model of `transformers` in the place of the paper's LSTM, projected to D::

        ids (N, T) -- backbone -- last hidden states (N, T, H) --+-- FC at every word ------- words (N, D, T)
                                                                 +-- pool -- FC ------------- sentence (N, D)

    The model's own tokenizer goes with it: the datasets' key `tokenizer` names the model's folder, or its
    `tokenizer.json` (`tgjar_arch.text.subword_tokenizer.HFTokenizer`). The backbone reads the special tokens that it
    expects around a caption, but they are no words: their columns are 0 and masked out of the features.

    Args:
        model: the pretrained model, a local folder or a name on the Hugging Face hub (`openai/clip-vit-base-patch32`);
            of a model with several towers the text tower is taken. None needs `config`.
        text_dim: D.
        train_backbone: also train the backbone; otherwise it is frozen, dropout included.
        download: let a `model` that is a name be downloaded; otherwise it must be in the local cache already.
        pooling: sentence from the hidden states of all tokens, special ones included: `mean`, or the `last` or the
            `first` of them. None takes `last` for CLIP (its end token, CLIP's own choice) and `mean` for others (as
            sentence transformers, MiniLM among them, do).
        special_ids: ids that are no words; filled in from the datasets' tokenizer.
        vocab_size: number of ids of that tokenizer, to be compared with the model's; filled in as well.
        config: the backbone's configuration, `config.json` as a dict, to build it with random weights. Checkpoints and
            exported files store it in place of `model`, since they hold the weights.

    Raises:
        ValueError: when the model is not found, is no text model, lacks weights or has fewer ids than the tokenizer, or
            when not exactly one of `model` and `config` is given.
    """

    special_ids: Tensor

    def __init__(self, model: str | None = None, text_dim: int = 256, train_backbone: bool = False,
                 download: bool = False, pooling: str | None = None, special_ids: Sequence[int] = (),
                 vocab_size: int | None = None, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        if (model is None) == (config is None):
            raise ValueError('HFTextEncoder needs either model, the folder or name of a pretrained text model, or '
                             'config, to build one without weights.')
        if pooling not in (None, *_POOLINGS):
            raise ValueError(f'HFTextEncoder: pooling is {pooling!r}; it must be one of {", ".join(_POOLINGS)} or ~.')
        if model is not None:
            self.backbone = _from_pretrained(model, download)
        elif config is not None:
            self.backbone = _from_config(config)
        if getattr(self.backbone, 'pooler', None) is not None:
            self.backbone.register_module('pooler', None)  # unused, and often missing in the files
        self.train_backbone = train_backbone
        if not train_backbone:
            self.backbone.requires_grad_(False)

        hf_config: Any = self.backbone.config  # each kind of model has a class of its own
        if vocab_size is not None and vocab_size > hf_config.vocab_size:
            raise ValueError(f'the tokenizer of the datasets has {vocab_size} ids, but {model or "the text model"} has '
                             f'{hf_config.vocab_size}; name the tokenizer.json of this model.')
        self.text_dim = text_dim
        self.pooling = pooling or ('last' if 'clip' in hf_config.model_type else 'mean')
        self.max_tokens = getattr(hf_config, 'max_position_embeddings', None)
        self.pad_id = getattr(hf_config, 'pad_token_id', None) or 0
        self._options = {'text_dim': text_dim, 'train_backbone': train_backbone, 'pooling': self.pooling,
                         'special_ids': sorted(special_ids), 'config': json.loads(hf_config.to_json_string())}
        self.register_buffer('special_ids', torch.tensor(sorted(special_ids), dtype=torch.int64), persistent=False)
        self.project_words = nn.Linear(hf_config.hidden_size, text_dim)
        self.project_sentence = nn.Linear(hf_config.hidden_size, text_dim)
        self.train()

    def portable_options(self) -> dict[str, Any]:
        """Options that build this network again, without its weights, where the pretrained model is not at hand."""
        return {'type': type(self).__name__} | self._options

    @property
    def num_ids(self) -> int:
        """How many ids it can read: rows of the embedding."""
        backbone: Any = self.backbone
        return backbone.get_input_embeddings().weight.shape[0]

    def train(self, mode: bool = True) -> 'HFTextEncoder':
        super().train(mode)
        if not self.train_backbone:
            self.backbone.eval()
        return self

    def forward(self, ids: Tensor, mask: Tensor) -> TextFeatures:
        """Encode captions.

        Args:
            ids: (N, T) int64 ids of the model's tokenizer, special ones included.
            mask: (N, T) bool, True at a token; tokens stand first. A row without any is no caption: its features are 0.
                It may stay on the CPU when `ids` are on a GPU.

        Returns:
            Features with D = text_dim and T as given; their mask is False also at special tokens, and words are 0
            where it is False. A row of special tokens only is no caption either.

        Raises:
            ValueError: when the shapes differ, or T is longer than the model can read.
        """
        if ids.ndim != 2 or ids.shape != mask.shape:
            raise ValueError(f'HFTextEncoder expects ids and mask as (N, T), but got {tuple(ids.shape)} and '
                             f'{tuple(mask.shape)}.')
        if self.max_tokens is not None and ids.shape[1] > self.max_tokens:
            raise ValueError(f'captions have T = {ids.shape[1]} tokens, but the text model reads {self.max_tokens}; '
                             'lower max_words of the datasets.')
        mask = mask.to(ids.device, non_blocking=True)
        special = (ids[:, :, None] == self.special_ids).any(dim=2)  # torch.isin does not become ONNX
        word_mask = mask & ~special
        # A row without any token would make the softmax NaN: it reads one padding token, and is zeroed below.
        read = mask.clone()
        read[:, 0] |= ~mask.any(dim=1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_backbone):
            # The padding is the model's own, since some models (RoBERTa) count positions by it.
            hidden = self.backbone(input_ids=ids.masked_fill(~mask, self.pad_id),
                                   attention_mask=read.long()).last_hidden_state  # (N, T, H)
        words = self.project_words(hidden).transpose(1, 2).masked_fill(~word_mask[:, None], 0)  # (N, D, T)
        sentence = self.project_sentence(self._pool(hidden, read))  # (N, D)
        sentence = sentence.masked_fill(~word_mask.any(dim=1, keepdim=True), 0)
        return TextFeatures(words, sentence, word_mask)

    def _pool(self, hidden: Tensor, read: Tensor) -> Tensor:
        """(N, T, H) -> (N, H)."""
        if self.pooling == 'first':
            return hidden[:, 0]
        if self.pooling == 'last':
            return hidden[torch.arange(hidden.shape[0], device=hidden.device), read.sum(dim=1) - 1]
        return hidden.masked_fill(~read[:, :, None], 0).sum(dim=1) / read.sum(dim=1, keepdim=True)


def _text_class(config: Any) -> Any:
    """The class of `transformers` that loads the encoder alone."""
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoModel, AutoModelForTextEncoding

    # The list for text encoders has T5 without its decoder, but not every model.
    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def _from_pretrained(model: str, download: bool) -> nn.Module:
    # Imported here: it takes seconds, and whoever uses the LSTM needs nothing of it.
    from transformers import AutoConfig

    name = os.path.expanduser(model)
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=not download)
        config = getattr(config, 'text_config', None) or config  # CLIP and its kind: the text tower
        backbone, info = _text_class(config).from_pretrained(name, config=config, local_files_only=not download,
                                                             output_loading_info=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f'text model {model!r} cannot be loaded ({reason}). It must be the folder of a text model of '
                         'transformers, or a name on the Hugging Face hub that is in the local cache; '
                         '`download: true` fetches it.') from error
    missing = sorted(key for key in info['missing_keys'] if 'pooler' not in key)
    if missing:  # they would stay random unnoticed
        raise ValueError(f'text model {model!r} lacks {len(missing)} tensors of {type(backbone).__name__}, e.g. '
                         f'{missing[:3]}.')
    return backbone.float()


def _from_config(config: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig

    options = dict(config)
    if 'model_type' not in options:
        raise ValueError("HFTextEncoder: config has no model_type; give the content of the model's config.json.")
    hf_config = AutoConfig.for_model(options.pop('model_type'), **options)
    hf_config = getattr(hf_config, 'text_config', None) or hf_config
    return _text_class(hf_config).from_config(hf_config).float()
