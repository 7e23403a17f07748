"""BasicSR's lmdb of a prepared split: one file instead of thousands, for slow or shared disks."""

import os
import shutil
from pathlib import Path

from basicsr.utils.lmdb_util import LmdbMaker
from PIL import Image
from tqdm import tqdm

from tgjar_arch.atomic_file import sweep, temporary_path
from tgjar_arch.pictures.files import image_name
from tgjar_arch.text.caption_files import METADATA, read_metadata

PAGE = 4096  # bytes; a value begins on a page of its own


def write_lmdb(folder: Path, quiet: bool = False) -> Path | None:
    """Copy the images that `metadata.jsonl` names into `<folder>.lmdb`, with `metadata.jsonl` inside.

    The files go in as they are, by their path from the folder without suffix, which is how `ImageSource` asks for them.
    An lmdb of the same `metadata.jsonl` that is newer than all images is kept, any other replaced; it appears whole or
    not at all.

    Args:
        folder: a prepared split.
        quiet: no progress bar.

    Returns:
        Path of the lmdb, or None when the folder has no image.
    """
    target, metadata = folder.with_name(f'{folder.name}.lmdb'), folder / METADATA
    if not metadata.is_file():
        return None
    files = [name for name, _, _ in read_metadata(metadata)]
    copy = target / METADATA
    if copy.is_file() and copy.read_bytes() == metadata.read_bytes():
        written = copy.stat().st_mtime_ns
        if all((folder / name).stat().st_mtime_ns <= written for name in files):
            return target
    # BasicSR's default of 1 TB is more than some file systems allow even for a sparse file.
    pages = sum((folder / name).stat().st_size // PAGE + 3 for name in files)
    sweep(folder.parent)
    temporary = temporary_path(folder, '.lmdb')
    try:
        maker = LmdbMaker(str(temporary), map_size=2 * PAGE * pages + 2**24)
        for name in tqdm(files, unit='image', desc=target.name, disable=quiet):
            with Image.open(folder / name) as image:
                shape = (image.height, image.width, 3)
            maker.put((folder / name).read_bytes(), image_name(name), shape)
        maker.close()
        shutil.copyfile(metadata, temporary / METADATA)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
