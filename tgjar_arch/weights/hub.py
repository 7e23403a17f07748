"""Weights in repositories of the Hugging Face Hub: fetched into its cache, and pushed.

https://huggingface.co/docs/huggingface_hub. A repository has the files of `tgjar_arch.weights.folder`; only these are
fetched, and nothing in them is executed or unpickled. The variables of huggingface_hub are in force, HF_HUB_OFFLINE,
HF_ENDPOINT, HF_TOKEN and HF_HOME above all.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from tgjar_arch.version import VERSION
from tgjar_arch.weights.card import model_card
from tgjar_arch.weights.file import ExportedWeights, write_folder
from tgjar_arch.weights.folder import CARD, CONFIG, MODEL, TOKENIZER

INSTALL = "pip install 'tgjar[hub]'"
_NAME = r'[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?'
_REPOSITORY = re.compile(rf'(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>[^@\s]+))?')
# Endings of files that somebody has misspelt rather than of a repository.
_FILES = re.compile(r'\.(safetensors|pth|pt|ckpt|bin|onnx|ya?ml|json)', re.IGNORECASE)


class HubError(OSError):
    """A repository cannot be fetched or pushed to; the message, one line, says why and what to do."""


def repository(name: str) -> tuple[str, str | None] | None:
    """Repository and revision that 'org/name' or 'org/name@revision' means; None where it has not that form."""
    match = _REPOSITORY.fullmatch(name)
    if match is None or _FILES.fullmatch(Path(match['repo']).suffix):
        return None
    return match['repo'], match['revision']


def download(repo: str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The folder of a repository's weights in the cache, fetched where they are not there or not up to date.

    Args:
        repo: 'org/name'.
        revision: branch, tag or commit; None for the main branch.
        token: for private repositories; None takes HF_TOKEN or what `hf auth login` has stored, False none.

    Raises:
        HubError: when it cannot be had.
    """
    hub = _library(f'to look for {repo} on the Hugging Face Hub')
    try:
        folder = hub.snapshot_download(repo, revision=revision, token=token, allow_patterns=[CONFIG, MODEL, TOKENIZER],
                                       library_name='tgjar', library_version=VERSION)
    except Exception as error:  # of the library, and of the HTTP client beneath it, another one in each major version
        raise HubError(_reason(error, repo, revision)) from error
    for name in (CONFIG, MODEL):
        if not (Path(folder) / name).is_file():
            raise HubError(f'the repository {repo} of the Hugging Face Hub has no {name}, so that it holds no weights '
                           'of TGJAR; they are written by `push_to_hub`.')
    return Path(folder)


def push(weights: ExportedWeights, repo: str, revision: str | None = None, token: str | bool | None = None,
         private: bool | None = None, message: str | None = None, half: bool = False,
         license: str | None = None) -> str:
    """Push weights to a repository, which is made where it is not there.

    Args:
        weights: what to push.
        repo: 'org/name'.
        revision: branch, which is made where it is not there; None for the main branch.
        token: see `download`; it must allow writing.
        private: of a repository that is made; None as the organisation has it.
        message: of the commit.
        half: see `tgjar_arch.weights.file.write_weights`.
        license: for the card, 'apache-2.0'. A card that is there already is left as it is.

    Returns:
        The address of the commit.

    Raises:
        ValueError: when the name has not this form, or the weights cannot be written.
        HubError: when the Hub cannot be reached or refuses.
    """
    if repository(repo) != (repo, None):
        raise ValueError(f"a repository of the Hugging Face Hub is called 'org/name', but {repo!r} was given.")
    hub = _library(f'to push to {repo} on the Hugging Face Hub')
    with tempfile.TemporaryDirectory(prefix='tgjar-') as folder:
        write_folder(folder, weights, half, model_card(weights, repo, license))
        try:
            api = hub.HfApi(token=token, library_name='tgjar', library_version=VERSION)
            api.create_repo(repo, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo, branch=revision, exist_ok=True)
            if api.file_exists(repo, CARD, revision=revision):
                (Path(folder) / CARD).unlink()
            done = api.upload_folder(repo_id=repo, folder_path=folder, revision=revision,
                                     commit_message=message or f'Weights of {weights.network_g["type"]}')
        except Exception as error:  # see `download`
            raise HubError(_reason(error, repo, revision)) from error
    return str(done.commit_url)


def _library(purpose: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError(f'{purpose}, huggingface_hub is needed ({error}): {INSTALL}.') from error
    return huggingface_hub


def _reason(error: Exception, repo: str, revision: str | None) -> str:
    """Why the Hub did not give or take, in one line."""
    from huggingface_hub import errors

    status = getattr(getattr(error, 'response', None), 'status_code', None)
    if isinstance(error, _known(errors, 'GatedRepoError')):
        return (f'access to {repo} must be asked for on the Hugging Face Hub; then log in (`hf auth login`) or give a '
                'token (HF_TOKEN).')
    if isinstance(error, _known(errors, 'RevisionNotFoundError')):
        return f'the repository {repo} of the Hugging Face Hub has no revision {revision or "main"}.'
    if isinstance(error, _known(errors, 'RepositoryNotFoundError')):
        return (f'the Hugging Face Hub has no repository {repo}, or it is private: then log in (`hf auth login`) or '
                'give a token (HF_TOKEN).')
    if isinstance(error, _known(errors, 'IncompleteSnapshotError')):
        return (f'the copy of {repo} in the cache is incomplete, and the Hugging Face Hub cannot be reached; try again '
                'with a network.')
    cause = error.__cause__ if isinstance(error, _known(errors, 'LocalEntryNotFoundError')) else error
    if isinstance(cause, _known(errors, 'OfflineModeIsEnabled')) or (cause is None and status is None):
        before = '' if cause is error else ', and it has not been downloaded before'
        return f'HF_HUB_OFFLINE keeps the Hugging Face Hub from being asked about {repo}{before}.'
    status = status or getattr(getattr(cause, 'response', None), 'status_code', None)
    if status in (401, 403):
        return (f'the Hugging Face Hub refuses this for {repo} (status {status}): log in (`hf auth login`) or give a '
                'token (HF_TOKEN) that may do it.')
    said = ' '.join(str(cause).split())[:300] or type(cause).__name__
    if status is not None:
        return f'the Hugging Face Hub answers with an error about {repo} (status {status}: {said}); try again later.'
    if isinstance(error, _known(errors, 'LocalEntryNotFoundError')):
        return f'{repo} has not been downloaded before, and the Hugging Face Hub cannot be reached: {said}.'
    return f'the transfer of {repo} from or to the Hugging Face Hub has failed: {said}; try again.'


def _known(errors: ModuleType, name: str) -> type[Exception] | tuple[()]:
    """A class of error of the library; nothing where this version of it has none of that name."""
    return getattr(errors, name, ())
