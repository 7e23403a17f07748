"""`tgjar caption`: describes images with an image-captioning model, in text files beside them."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from tgjar_arch.atomic_file import atomic
from tgjar_arch.datasets.captions import read_captions
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.pictures.files import image_name
from tgjar_arch.text.caption_files import METADATA, read_metadata
from tgjar_arch.text.captioner import DEFAULT_MODEL, Captioner


def find_work(folder: Path, overwrite: bool = False) -> tuple[list[Path], int]:
    """Return the images to describe, and how many have captions already (sidecars, or lines of `metadata.jsonl`).

    Args:
        folder: images in any depth.
        overwrite: describe those with a sidecar too. Those in a `metadata.jsonl` never: it goes before sidecars.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when it has no image, or two that would share one text file.
    """
    source = ImageSource(folder, 'FOLDER')
    if source.is_lmdb:
        raise ValueError(f'{folder} is an lmdb; describe the folder of images that it was made from.')
    images, _ = read_captions(source)
    captioned = {image.name for image in images if image.captions}
    if overwrite:
        captioned = set(_names_with_metadata(folder))
    work = [Path(path) for name, path in source.files.items() if name not in captioned]
    return work, len(source.files) - len(work)


def _names_with_metadata(folder: Path) -> Iterator[str]:
    for path in folder.rglob(METADATA):
        prefix = path.parent.relative_to(folder)
        for file_name, captions, _ in read_metadata(path):
            if captions:
                yield image_name((prefix / file_name).as_posix())


def load(path: Path) -> Image.Image:
    """Return an image as people see it: RGB, turned as its EXIF data say."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert('RGB')


def write_sidecar(image: Path, caption: str) -> None:
    """Write the caption into `x.txt` beside the image `x.jpg`; the file appears whole or not at all."""
    with atomic(image.with_name(f'{image_name(image.name)}.txt')) as temporary:
        temporary.write_text(caption + '\n', encoding='utf-8')


def run(captioner: Captioner, files: list[Path], batch: int, quiet: bool = False) -> tuple[int, dict[Path, str]]:
    """Describe images; one bad file never stops the rest.

    Returns:
        Number of captions written, and what failed: file -> why.
    """
    done, failed = 0, {}
    with tqdm(total=len(files), unit='image', desc='caption', disable=quiet) as progress:
        for start in range(0, len(files), batch):
            loaded = {}
            for path in files[start:start + batch]:
                try:
                    loaded[path] = load(path)
                # Pillow raises these for what is no image, broken or a decompression bomb.
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                    failed[path] = f'{type(error).__name__}: {error}'
            captions = captioner(list(loaded.values())) if loaded else []
            for path, caption in zip(loaded, captions, strict=True):
                if not caption:
                    failed[path] = 'the model found no word for it'
                    continue
                try:
                    write_sidecar(path, caption)
                except OSError as error:
                    failed[path] = f'its text file cannot be written: {error}'
                else:
                    done += 1
            progress.update(len(files[start:start + batch]))
    return done, failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tgjar caption',
        description='Describe the images of a folder with an image-captioning model, each in a text file beside it '
        '(bird.jpg, bird.txt), where `tgjar restore` and the data sets find it. Describe originals: compressed images '
        'are described worse.',
        epilog='The paper describes Kodak with OFA, which is not in the transformers library; its captions come with '
        '`tgjar prepare kodak`. Exit code: 0 all described, 1 some failed, 2 nothing could be started. '
        'Example: tgjar caption photos --download')
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='images in any depth')
    parser.add_argument('--model', default=DEFAULT_MODEL, metavar='NAME_OR_FOLDER',
                        help='an image-to-text model that transformers loads (default: %(default)s)')
    parser.add_argument('--download', action='store_true', help='fetch the model if it is not on this machine yet')
    parser.add_argument('--batch', type=int, default=8, metavar='N', help='images at a time (default: %(default)s)')
    parser.add_argument('--beams', type=int, default=3, metavar='N', help='beams of the search (default: %(default)s)')
    parser.add_argument('--max-tokens', type=int, default=30, metavar='N',
                        help='longest caption, in tokens of the model (default: %(default)s)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the GPU if there is one')
    parser.add_argument('--overwrite', action='store_true', help='write text files anew; otherwise they are kept')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser


def _device(name: str | None) -> torch.device:
    """The device of that name, or by default the GPU if there is one.

    Raises:
        ValueError: when it is none, or not on this machine.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'--device {name} cannot be used here: {str(error).splitlines()[0]}') from error
    return device


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tgjar caption`.

    Returns:
        Exit code: 0, 1 when some images failed, 2 when nothing could be started.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    for option, value in (('--batch', args.batch), ('--beams', args.beams), ('--max-tokens', args.max_tokens)):
        if value < 1:
            parser.error(f'{option} must be 1 or more, but is {value}')
    try:
        device = _device(args.device)
        files, kept = find_work(args.folder, args.overwrite)
    except (OSError, ValueError) as error:
        print(f'tgjar caption: {error}', file=sys.stderr)
        return 2
    done = 0
    failed: dict[Path, str] = {}
    if files:
        try:
            captioner = Captioner(args.model, device, args.download, args.beams, args.max_tokens)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            reason = str(error).strip().partition('\n')[0].partition('. If you ')[0].rstrip('.')
            hint = '' if args.download or Path(args.model).is_dir() else (
                ' If it is not on this machine yet, --download fetches it; or name a folder with --model.')
            print(f'tgjar caption: cannot load the model {args.model}: {reason}.{hint}', file=sys.stderr)
            return 2
        try:
            done, failed = run(captioner, files, args.batch, args.quiet)
        except torch.OutOfMemoryError:
            print(f'tgjar caption: out of memory; run it again with a smaller --batch than {args.batch}. What is '
                  'described already is kept.', file=sys.stderr)
            return 1
    for path, reason in failed.items():
        print(f'failed: {path}: {reason}', file=sys.stderr)
    already = f', {kept} have captions already' if kept else ''
    print(f'{args.folder}: {done} described{already}, {len(failed)} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
