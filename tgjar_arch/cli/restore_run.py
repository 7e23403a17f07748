"""What `tgjar restore` does once its arguments are read: finds files, loads networks, restores one after another."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from tqdm import tqdm

from tgjar_arch.cli import restore_attention as attention_maps
from tgjar_arch.cli.restore_files import FoundImages, Job, find_images, is_picture_name, plan
from tgjar_arch.cli.screen import one_line
from tgjar_arch.pictures.captions import FoundCaption
from tgjar_arch.pictures.photo import Photo, UnsupportedPicture, read_photo
from tgjar_arch.pictures.write import FORMATS, to_srgb
from tgjar_arch.restoration.attention import check_size
from tgjar_arch.restoration.file import Better, FileReport, RestoreSettings, caption_of, restore_file
from tgjar_arch.restoration.grid import Grid
from tgjar_arch.restoration.limits import MIN_TILE
from tgjar_arch.restoration.restorer import Restorer
from tgjar_arch.text.captioner import Captioner
from tgjar_arch.text.tokenizer import kept_of_caption
from tgjar_arch.weights.shipped import find_weights, quality_limit


@dataclass(frozen=True)
class RestoreRun:
    """What `tgjar restore` was asked for.

    Attributes:
        inputs: pictures and folders.
        output: folder for the results, or the name of a single one.
        weights: see `find_weights`.
        settings: how each file is restored; `max_qf` None stands for what suits the weights, and `untraced` is set by
            `better`.
        better: what becomes of files that are not badly compressed; None: they are left, but a picture that was named
            itself and in which no compression can be found is restored.
        format: of the results in a folder, a suffix without its dot; None: png.
        attention: folder for attention maps; None: none are drawn.
        captioner: model that describes files without a caption; None: none does.
        overwrite: replace results and attention maps of an earlier run.
        self_ensemble, device: see `Restorer`.
        dtype: precision of the network, by torch's name.
        fidelity, fidelity_weights: see `Restorer.from_pretrained`.
    """

    inputs: Sequence[Path]
    output: Path
    weights: Path | None
    settings: RestoreSettings
    better: Better | None = None
    format: str | None = None
    attention: Path | None = None
    captioner: str | None = None
    overwrite: bool = False
    self_ensemble: bool = False
    device: str | None = None
    dtype: str = 'float32'
    fidelity: float = 0.
    fidelity_weights: Path | None = None


@dataclass(frozen=True)
class Started:
    """All that is found and loaded before the first file is restored.

    Attributes:
        restorer: the networks.
        jobs: the files.
        settings: how each is restored, with `max_qf`.
        better: see `RestoreRun`.
        maps: where attention maps go; empty if none are drawn.
        captioner: describes files without a caption.
        overwrite: replace what is there.
        unreadable: input or folder -> why it cannot be read.
        odd: entry of a folder that is no file -> what it is.
    """

    restorer: Restorer
    jobs: Sequence[Job]
    settings: RestoreSettings
    maps: Mapping[Job, Path]
    captioner: Captioner | None
    overwrite: bool
    better: Better | None
    unreadable: Mapping[Path, str]
    odd: Mapping[Path, str]

    def settings_of(self, job: Job) -> RestoreSettings:
        """How a file is restored."""
        return replace(self.settings, better=self.better or 'leave',
                       untraced=self.better or ('restore' if job.named else 'leave'))


@dataclass
class Outcome:
    """What became of the files.

    Attributes:
        done: restored.
        kept: results of an earlier run, not restored again. kept_maps: files in the place of attention maps.
        skipped: left as they are, because they are not badly compressed. copied: those that were copied.
        unsupported: pictures of a folder that are of a format that is not read here, or animations -> which.
        odd: entries of a folder that are no files -> what they are.
        failed: file -> what went wrong.
        no_jpeg: files whose JPEG quality cannot be read. deep: files with more than 8 bits a sample.
        grey: grey ones with a caption, which stayed grey.
        unguided: no caption. unknown: a caption without any known word. cut: a caption that is too long.
    """

    done: int = 0
    kept: int = 0
    kept_maps: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    copied: int = 0
    unsupported: dict[Path, str] = field(default_factory=dict)
    odd: dict[Path, str] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    no_jpeg: list[Path] = field(default_factory=list)
    deep: list[Path] = field(default_factory=list)
    grey: int = 0
    unguided: int = 0
    unknown: int = 0
    cut: int = 0

    def add(self, source: Path, report: FileReport, restorer: Restorer) -> None:
        """Count a file that was restored."""
        self.done += 1
        if not report.is_jpeg:
            self.no_jpeg.append(source)
        if report.is_deep:
            self.deep.append(source)
        text = report.caption.text if report.caption else ''
        self.grey += report.is_grey and bool(text)
        if not restorer.takes_text:
            self.unknown += bool(text)
            return
        known = len(restorer.tokenizer.encode(text))
        self.unguided += not text
        self.unknown += bool(text) and not known
        self.cut += known > restorer.max_words


def start(run: RestoreRun) -> Started:
    """Find the files and load the networks.

    Raises:
        ImportError, OSError, RuntimeError, ValueError: if something is missing or not as it must be.
    """
    weights = find_weights(run.weights)
    if run.fidelity_weights is not None and not run.fidelity:
        raise ValueError('--fidelity-weights has no effect without --fidelity; give 1 for these weights alone.')
    suffix = _suffix(run)
    settings = run.settings
    if settings.quality is not None and FORMATS[suffix] == 'PNG':
        raise ValueError('PNG is lossless and has no --quality; leave it out, or choose --format webp or jpg.')
    if settings.max_qf is None:
        settings = replace(settings, max_qf=quality_limit(weights))
    found, unreadable = _find_all(run)
    jobs = plan(found, run.output, suffix)
    restorer = Restorer.from_pretrained(weights, run.device, getattr(torch, run.dtype), run.self_ensemble,
                                       run.fidelity, run.fidelity_weights)
    if settings.tile and not restorer.can_tile:
        raise ValueError(f'{restorer.name} sees the whole picture and cannot restore it in seamless tiles; leave '
                         '--tile out.')
    maps = {}
    if run.attention is not None:
        attention_maps.check(restorer, run.attention, settings.text_strength)
        maps = attention_maps.plan(jobs, run.output, run.attention)
    captioner = None
    if run.captioner is not None and settings.caption is None and restorer.takes_text and settings.text_strength:
        captioner = _load_captioner(run.captioner, restorer.device)
    return Started(restorer, jobs, settings, maps, captioner, run.overwrite, run.better,
                   unreadable | {folder: why for one in found for folder, why in one.unreadable.items()},
                   {entry: what for one in found for entry, what in one.odd.items()})


def _find_all(run: RestoreRun) -> tuple[list[FoundImages], dict[Path, str]]:
    """The pictures of all inputs, and what is wrong with inputs; an error if there is no picture at all."""
    found, errors = [], {}
    for path in run.inputs:
        try:
            found.append(find_images(path, run.output))
        except (OSError, ValueError) as error:
            errors[path] = error
    if not found:
        raise next(iter(errors.values()))
    return found, {path: str(error).rstrip('.') for path, error in errors.items()}


def _suffix(run: RestoreRun) -> str:
    """Suffix of the results, after a check of the output."""
    is_file = is_picture_name(run.output)
    first = run.inputs[0]
    if is_file and (first.is_dir() or len(run.inputs) > 1):
        several = first if len(run.inputs) == 1 else f'{len(run.inputs)} inputs'
        raise ValueError(f'{run.output} is one file; name a folder for the results of {several}.')
    if run.output.exists() and not run.output.is_dir() and not is_file:
        raise ValueError(f'the output {run.output} is a file; name a folder, or a picture ({" ".join(FORMATS)}).')
    if is_file and run.output.exists() and first.exists() and run.output.samefile(first):
        raise ValueError(f'{first} would be replaced by its own restoration; name another output.')
    if not is_file:
        return f'.{run.format or "png"}'
    suffix = run.output.suffix.lower()
    if run.format and FORMATS[f'.{run.format}'] != FORMATS[suffix]:
        raise ValueError(f'--format {run.format} contradicts the name {run.output}; leave it out.')
    return suffix


def _load_captioner(model: str, device: torch.device) -> Captioner:
    try:
        return Captioner(model, device)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        reason = str(error).strip().partition('\n')[0].partition('. If you ')[0].rstrip('.')
        raise ValueError(f'cannot load the captioner {model}: {reason}. `tgjar caption FOLDER --download` fetches it; '
                         'or name a folder with --auto-caption-model.') from error


def restore_all(started: Started, quiet: bool = False, show_caption: bool = False) -> Outcome:
    """Restore all; one bad file never stops the rest.

    Args:
        started: files and networks.
        quiet: no progress bar, and no line for each file.
        show_caption: a line for each file with its caption.
    """
    outcome = Outcome(failed=dict(started.unreadable), odd=dict(started.odd))
    settings, jobs = started.settings, started.jobs
    with tqdm(jobs, unit='image', desc='restore', disable=quiet or len(jobs) < 2) as progress:
        for job in progress:
            maps = started.maps.get(job)
            if maps is not None and maps.exists() and not started.overwrite:
                outcome.kept_maps.append(maps)  # whatever it is
                maps = None
            try:
                if _is_done(started, job):
                    outcome.kept += 1
                    if maps is not None:
                        _draw_missing(started, job, maps)
                else:
                    _restore(started, job, maps, outcome, quiet, show_caption)
            except UnsupportedPicture as error:
                of_folder = not job.named and started.better != 'restore'
                reasons = outcome.unsupported if of_folder else outcome.failed
                reasons[job.source] = str(error)
            except (OSError, ValueError) as error:
                outcome.failed[job.source] = str(error) or type(error).__name__
            except (RuntimeError, MemoryError) as error:  # torch's, out of memory above all
                reason = str(error).partition('\n')[0] or type(error).__name__
                hint = f'a --tile smaller than {settings.tile}' if settings.tile else f'--tile {MIN_TILE * 4}'
                hint = hint if started.restorer.can_tile else 'a smaller picture'
                outcome.failed[job.source] = f'{reason}; if memory ran out, try {hint} or --device cpu'
                torch.cuda.empty_cache()
    return outcome


def _is_done(started: Started, job: Job) -> bool:
    """Whether an earlier run has written the result, or the copy in its place."""
    if started.overwrite:
        return False
    return job.target.exists() or (started.better == 'copy' and job.copy.exists()
                                   and not job.copy.samefile(job.source))


def _restore(started: Started, job: Job, maps: Path | None, outcome: Outcome, quiet: bool, show_caption: bool) -> None:
    restorer = started.restorer

    def check(photo: Photo) -> None:
        if started.maps:
            check_size(*photo.size)

    def draw(photo: Photo, restored: np.ndarray, caption: str, grid: Grid) -> None:
        if maps is not None:
            picture = to_srgb(np.ascontiguousarray(photo.upright(restored)), photo.icc)
            attention_maps.draw(restorer, photo, picture, caption, grid, maps)

    with tqdm(unit='tile', desc=one_line(job.source.name), leave=False, disable=quiet, delay=2) as bar:
        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = restore_file(restorer, job.source, job.target, started.settings_of(job), job.root, started.captioner,
                              progress, check, draw, job.copy)
    for note in report.notes:
        _say(f'warning: {job.source}: {note}.', sys.stderr)
    if report.caption is None:
        reason = _reason(report, started.settings.max_qf)
        if report.target is not None:
            outcome.copied += 1
            _say(f'copied: {job.source}: {report.description}: {reason} -> {report.target}', sys.stderr)
        else:
            outcome.skipped.append(job.source)
            _say(f'left as it is: {job.source}: {report.description}: {reason}; --better copy or --better restore '
                 'takes it too.', sys.stderr)
        return
    outcome.add(job.source, report, restorer)
    if not quiet:
        _say(f'{job.source}: {report.description} -> {job.target}')
    if show_caption:
        _say(f'{job.source}: {_said(report.caption)}')


def _reason(report: FileReport, max_qf: int | None) -> str:
    """Why a file was not restored."""
    harm = 'restoring may harm it: the network takes detail that is still there for artifacts'
    if report.is_jpeg:
        return f'better than --max-qf {max_qf}; {harm}'
    return f'no JPEG file, and no blocks of an earlier compression were found in it; {harm}'


def _say(line: str, file: TextIO | None = None) -> None:
    """One line above the progress bars, whatever the name of a file in it is."""
    tqdm.write(one_line(line), file=file)


def _said(caption: FoundCaption) -> str:
    return f'caption "{caption.text}", from {caption.source}' if caption.text else 'no caption'


def _draw_missing(started: Started, job: Job, maps: Path) -> None:
    photo = read_photo(job.source, started.settings.max_pixels)
    caption = caption_of(job.source, photo, started.settings, job.root, started.captioner)
    attention_maps.draw_missing(started.restorer, photo, caption.text, job.target, maps, started.settings.max_pixels)


def notes(restorer: Restorer, outcome: Outcome) -> list[str]:
    """What a user should know about files, and about captions that were not used, or not as a whole."""
    lines = []
    if outcome.no_jpeg:
        lines.append(f'{len(outcome.no_jpeg)} of {outcome.done} files are no JPEG files, and no blocks of an earlier '
                     f'compression were found in them: if they were not badly compressed, they got worse: '
                     f'{some(outcome.no_jpeg)}.')
    if outcome.deep:
        lines.append(f'{len(outcome.deep)} of {outcome.done} files have more than 8 bits a sample, of which the '
                     f'results keep 8: {some(outcome.deep)}.')
    if outcome.grey:
        lines.append(f'{outcome.grey} of {outcome.done} files have a caption, but are grey and stay so; --colourise '
                     'lets the caption colour them.')
    for count, what, entries in (
            (len(outcome.unsupported), 'pictures that cannot be read here are left out', outcome.unsupported.values()),
            (len(outcome.odd), 'entries that are no files are left out',
             [f'{entry} is {what}' for entry, what in outcome.odd.items()])):
        lines += [f'{count} {what}:'] * bool(count) + list(entries)
    if outcome.kept_maps:
        lines.append(f'{len(outcome.kept_maps)} files are where attention maps would go, and are kept (--overwrite '
                     f'replaces them): {some(outcome.kept_maps)}.')
    if not restorer.takes_text:
        if outcome.unknown:
            lines.append('These weights take no captions: the captions are not used.')
        return lines
    for count, what in (
            (outcome.unguided, 'no caption and are restored without text'),
            (outcome.unknown, 'a caption without any known word and are restored without text'),
            (outcome.cut, f'a caption that is cut to {kept_of_caption(restorer.tokenizer, restorer.max_words)}')):
        if count:
            lines.append(f'{count} of {outcome.done} files have {what}.')
    return lines


def some(files: Sequence[Path]) -> str:
    """The first names of a list."""
    return ', '.join(map(str, files[:3])) + (', ...' if len(files) > 3 else '')
