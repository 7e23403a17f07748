"""What the methods share that make pictures of the test set here: each is kept, and used again while it holds."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tgjar_arch.evaluation.kept_pictures import folder_name, is_made_from, restored_path, save_png
from tgjar_arch.evaluation.test_set import EvaluationSet, decode_image
from tgjar_arch.pictures.files import list_images

_NONE: Mapping[str, str] = MappingProxyType({})


class KeptMethod:
    """A row whose pictures are made here.

    A PNG file says in its text chunk `tgjar` what it was made from; it is made again when that has changed.

    Args:
        label: the row.
        qfs: the quality factors it is for.
        images: the test set.
        out: folder of the results.
        overwrite: make again what is there.
    """

    def __init__(self, label: str, qfs: tuple[int, ...], images: EvaluationSet, out: str | os.PathLike,
                 overwrite: bool) -> None:
        self.label, self.folder, self.qfs = label, folder_name(label), qfs
        self._images, self._out, self._overwrite = images, out, overwrite

    def _keep(self, qf: int, names: Iterable[str], by: str, restore: Callable[[bytes, str, str], np.ndarray],
              captions: Mapping[str, str] = _NONE) -> dict[str, str]:
        """Make what is missing.

        Args:
            qf: quality factor.
            names: the images.
            by: says all that the pictures depend on besides file and caption.
            restore: JPEG file, caption and name -> (H, W, 3) uint8, BGR.
            captions: image -> caption; '' where there is none.

        Returns:
            What failed: image -> reason.
        """
        failed = {}
        for name in names:
            content = self._images.jpeg(name, qf)
            caption = captions.get(name, '')
            made_from = hashlib.sha256(b'\0'.join([by.encode(), caption.encode(), content])).hexdigest()
            target = restored_path(self._out, self.label, qf, name)
            if not self._overwrite and is_made_from(target, made_from):
                continue
            try:
                picture = restore(content, caption, name)
            except (RuntimeError, MemoryError, ValueError) as error:  # out of memory, or too small for the network
                reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip('.')
                hint = '' if isinstance(error, ValueError) else '; try --crop 256 or --device cpu'
                failed[name] = f'{self.label} could not restore it ({reason}){hint}.'
                continue
            save_png(picture, target, {'tgjar': made_from, 'caption': caption})
        return failed

    def image(self, name: str, qf: int) -> np.ndarray:
        """One picture, (H, W, 3) uint8 BGR."""
        path = restored_path(self._out, self.label, qf, name)
        return decode_image(path.read_bytes(), str(path))

    def leftovers(self, qf: int) -> tuple[Path, int]:
        """The folder of its pictures, and how many of them earlier runs made of images that are not compared now."""
        folder = restored_path(self._out, self.label, qf, 'x').parent
        return folder, len(set(list_images(folder)) - {f'{name}.png' for name in self._images.names})
