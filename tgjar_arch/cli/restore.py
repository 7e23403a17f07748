"""`tgjar restore`: restores JPEG files with the help of captions."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from tqdm import tqdm

from tgjar_arch.datasets.captions import METADATA, read_caption_file, read_metadata
from tgjar_arch.datasets.image_source import image_name
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
    restored = ImageOps.exif_transpose(restored)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    temporary = job.target.with_name(f'.{job.target.name}.{os.getpid()}.tmp')
    try:
        restored.save(temporary, format='PNG')
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
    if restorer.takes_text and (without := sum(not job.caption for job in jobs)):
        print(f'{without} of {len(jobs)} files have no caption and are restored without text.', file=sys.stderr)
    done, kept, failed = run(restorer, jobs, args.overwrite, args.quiet)
    for file, reason in failed.items():
        print(f'failed: {file}: {reason}', file=sys.stderr)
    already = f', {kept} already there (--overwrite restores them again)' if kept else ''
    print(f'{done} restored to {args.output}{already}, {len(failed)} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
