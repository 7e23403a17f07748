"""`tgjar restore`: restores JPEG files with the help of captions."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from tgjar_arch.datasets.captions import METADATA, read_caption_file, read_metadata
from tgjar_arch.datasets.image_source import IMAGE_SUFFIXES, image_name
from tgjar_arch.restorer import Restorer

JPEG_SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif')


@dataclass(frozen=True)
class Job:
    """One file to restore: where it is, where the result goes, and its caption ('' for none)."""

    source: Path
    target: Path
    caption: str


def find_images(path: Path) -> tuple[Path, list[Path]]:
    """The folder that names count from, and the JPEG files: `path` itself, or all below it in any depth.

    Raises:
        FileNotFoundError: when `path` does not exist.
        ValueError: when the folder has no JPEG file.
    """
    if path.is_file():
        return path.parent, [path]
    if not path.is_dir():
        raise FileNotFoundError(f'{path} does not exist.')
    files = sorted(file for file in path.rglob('*') if file.suffix.lower() in JPEG_SUFFIXES and file.is_file()
                   and not any(part.startswith('.') for part in file.relative_to(path).parts))
    if not files:
        raise ValueError(f'{path} has no JPEG file ({" ".join(JPEG_SUFFIXES)}).')
    return path, files


def find_captions(root: Path, files: Iterable[Path], caption: str | None = None) -> dict[Path, str]:
    """Captions of files: the given one for all; else a sidecar `.txt`, else the `metadata.jsonl` of the root; else ''.

    Of several captions the first is taken, as in validation.
    """
    if caption is not None:
        return dict.fromkeys(files, caption.strip())
    metadata: dict[str, str] = {}
    if (root / METADATA).is_file():
        metadata = {image_name(name): found[0] for name, found, _ in read_metadata(root / METADATA) if found}
    captions = {}
    for file in files:
        sidecar = file.with_suffix('.txt')
        beside = read_caption_file(sidecar)[:1] if sidecar.is_file() else []
        captions[file] = beside[0] if beside else metadata.get(image_name(file.relative_to(root).as_posix()), '')
    return captions


def plan(root: Path, captions: dict[Path, str], output: Path) -> list[Job]:
    """Where each result goes: the same place below `output`, as PNG.

    `a.jpg` and `a.jpeg` keep their suffix in the name.
    """
    def name(file: Path) -> Path:
        return file.relative_to(root).with_suffix('.png')

    counts = Counter(name(file) for file in captions)
    jobs = []
    for file, caption in captions.items():
        target = name(file) if counts[name(file)] == 1 else file.relative_to(root).with_name(f'{file.name}.png')
        jobs.append(Job(file, output / target, caption))
    return jobs


def remarks(restorer: Restorer, root: Path, source: Path, jobs: list[Job]) -> list[str]:
    """What a user should know before the restoration: files left out, captions that are not read, or not whole."""
    lines = []
    if source.is_dir():
        others = sum(file.suffix.lower() in IMAGE_SUFFIXES for file in root.rglob('*') if file.is_file())
        others -= sum(job.source.suffix.lower() in IMAGE_SUFFIXES for job in jobs)
        if others > 0:
            lines.append(f'{others} images that are no JPEG files are left out; name one by itself to restore it.')
    if not restorer.takes_text:
        if any(job.caption for job in jobs):
            lines.append('These weights take no captions: the captions are not used.')
        return lines
    known = [len(restorer.tokenizer.encode(job.caption)) for job in jobs]
    for count, what in (
        (sum(not job.caption for job in jobs), 'no caption and are restored without text'),
        (sum(bool(job.caption) and not n for job, n in zip(jobs, known, strict=True)),
         'a caption without any known word and are restored without text'),
        (sum(n > restorer.max_words for n in known),
         f'a caption that is cut to its first {restorer.max_words} known words'),
    ):
        if count:
            lines.append(f'{count} of {len(jobs)} files have {what}.')
    return lines


def restore_file(restorer: Restorer, job: Job) -> None:
    """Restore one file; the result appears whole or not at all.

    Raises:
        OSError: when the file cannot be read (broken, truncated, no image) or the result not written.
        ValueError: when the image is too small for the network.
    """
    with Image.open(job.source) as image:
        image.load()
        orientation = image.getexif().get(0x0112, 1)
        restored = restorer(image, job.caption)
    # The blocks lie on the grid of the pixels as stored, so a turned photo is turned after the restoration.
    restored.getexif()[0x0112] = orientation
    # A profile of another colour space (CMYK, grey) would be wrong for the RGB result.
    profile = image.info.get('icc_profile') if image.mode == 'RGB' else None
    restored = ImageOps.exif_transpose(restored)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    temporary = job.target.with_name(f'.{job.target.name}.{os.getpid()}.tmp')
    try:
        restored.save(temporary, format='PNG', icc_profile=profile)
        os.replace(temporary, job.target)
    finally:
        temporary.unlink(missing_ok=True)


def run(restorer: Restorer, jobs: list[Job], overwrite: bool = False,
        quiet: bool = False) -> tuple[int, int, dict[Path, str]]:
    """Restore all; one bad file never stops the rest.

    Returns:
        Number of restored files, number of kept results of an earlier run, and what failed: file -> reason.
    """
    done, kept, failed = 0, 0, {}
    with tqdm(jobs, unit='image', desc='restore', disable=quiet) as progress:
        for job in progress:
            if job.target.exists() and not overwrite:
                kept += 1
                continue
            try:
                restore_file(restorer, job)
            # Pillow raises these for what is no image, broken or a decompression bomb.
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                failed[job.source] = f'{type(error).__name__}: {error}'
            except (RuntimeError, MemoryError) as error:  # torch's, out of memory above all
                reason = str(error).partition('\n')[0]
                failed[job.source] = (f'{type(error).__name__}: {reason}. A picture needs about 1.2 GB a megapixel; '
                                      'reduce it, or try --device cpu.')
                torch.cuda.empty_cache()
            else:
                done += 1
    return done, kept, failed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='tgjar restore', description=__doc__,
        epilog='Captions: --caption, else a text file beside the image (bird.jpg, bird.txt), else metadata.jsonl in '
               'the input folder, else none. Exit code: 0 all restored, 1 some failed, 2 nothing could be started.')
    parser.add_argument('-i', '--input', type=Path, required=True, help='JPEG file, or folder (any depth)')
    parser.add_argument('-o', '--output', type=Path, required=True, help='folder for the results (PNG)')
    parser.add_argument('--weights', type=Path, required=True, help='.safetensors file of `tgjar export`')
    parser.add_argument('--caption', help='what the picture shows; for every file of the input')
    parser.add_argument('--overwrite', action='store_true', help='restore again what the output folder already has')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the GPU if there is one')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    args = parser.parse_args(argv)
    try:
        if args.output.exists() and not args.output.is_dir():
            raise ValueError(f'the output {args.output} is a file; name a folder.')
        root, files = find_images(args.input)
        if args.output.is_dir() and args.output.resolve() == root.resolve():
            raise ValueError(f'input and output are the same folder {root}; name another for the results.')
        jobs = plan(root, find_captions(root, files, args.caption), args.output)
        restorer = Restorer.from_pretrained(args.weights, args.device)
    except (OSError, ValueError, RuntimeError) as error:
        print(f'tgjar restore: {error}', file=sys.stderr)
        return 2
    for line in remarks(restorer, root, args.input, jobs):
        print(line, file=sys.stderr)
    done, kept, failed = run(restorer, jobs, args.overwrite, args.quiet)
    for file, reason in failed.items():
        print(f'failed: {file}: {reason}', file=sys.stderr)
    already = f', {kept} already there (--overwrite restores them again)' if kept else ''
    print(f'{done} restored to {args.output}{already}, {len(failed)} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
