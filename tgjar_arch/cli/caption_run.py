"""What `tgjar caption` does once its arguments are read: describes images in text files beside them."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps
from tqdm import tqdm

from tgjar_arch.atomic_file import atomic
from tgjar_arch.datasets.captions import read_captions
from tgjar_arch.datasets.image_source import ImageSource
from tgjar_arch.pictures.files import image_name
from tgjar_arch.text.caption_files import METADATA, read_metadata
from tgjar_arch.text.captioner import Captioner


def find_work(folder: Path, overwrite: bool = False) -> tuple[list[Path], int]:
    """Return the images to describe, and how many have captions already (sidecars, or lines of `metadata.jsonl`).

    Args:
        folder: images in any depth.
        overwrite: describe those with a sidecar too. Those in a `metadata.jsonl` never: it goes before sidecars.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no image, or two that would share one text file.
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


def describe_all(captioner: Captioner, files: list[Path], batch: int,
                 quiet: bool = False) -> tuple[int, dict[Path, str]]:
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
