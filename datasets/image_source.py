"""Image files by name: a folder in any depth, or an lmdb."""

import os
from pathlib import Path

from basicsr.utils import FileClient, get_root_logger

from tgjar_arch.pictures.files import IMAGE_SUFFIXES, image_name, list_images

_lmdb_clients: dict[str, tuple[int, FileClient]] = {}


def _lmdb_client(root: str) -> FileClient:
    """Return the client of an lmdb in this process; opened where it is used, as it must not cross a fork."""
    if root not in _lmdb_clients or _lmdb_clients[root][0] != os.getpid():
        # An lmdb can be open only once in a process, and a fork inherits that: close what the parent left.
        _lmdb_clients.pop(root, None)
        _lmdb_clients[root] = os.getpid(), FileClient('lmdb', db_paths=[root])
    return _lmdb_clients[root][1]


class ImageSource:
    """The image files under one root.

    A name is the path from the root, with '/' and without the image suffix: `004.Groove_billed_Ani/x`. It is what
    images, compressed images and captions are matched by. Hidden files and folders are left out, links are followed.

    Args:
        root: a folder with images in any depth, or a folder `*.lmdb` written by BasicSR's `LmdbMaker` (recognised by
            its name), whose keys are the names.
        key: the option that `root` comes from, for the messages.

    Attributes:
        files: name -> path of the file, in the order of the names; in an lmdb the path the file would have.

    Raises:
        FileNotFoundError: when `root` is no folder, or an lmdb without `meta_info.txt`.
        ValueError: when there is no image, or two images differ in their suffix only.
    """

    def __init__(self, root: str | os.PathLike, key: str = 'dataroot_gt') -> None:
        self.root = Path(root).expanduser()
        self._key = key
        self.is_lmdb = self.root.suffix == '.lmdb'
        if not self.root.is_dir():
            raise FileNotFoundError(f'{key}: there is no folder {self.root}.')
        unreadable: list[OSError] = []
        found = self._lmdb_files() if self.is_lmdb else list_images(
            self.root, unreadable.append, on_odd=self._pass_over)
        for error in unreadable:
            get_root_logger().warning(f'{key}: the folder {error.filename} cannot be read ({error.strerror}); its '
                                      'images are left out.')
        if not found:
            raise ValueError(f'{key}: there is no image in {self.root} ({" ".join(IMAGE_SUFFIXES)}).')
        self.files: dict[str, str] = {}
        for name, path in sorted((image_name(path), os.path.join(self.root, path)) for path in found):
            if name in self.files:
                raise ValueError(f'{key}: {self.files[name]} and {path} have one name; images are told apart without '
                                 'their suffix, so move or rename one.')
            self.files[name] = path
        self._disk = FileClient('disk')

    def _pass_over(self, path: Path, what: str) -> None:
        get_root_logger().warning(f'{self._key}: {path} is {what}; it is left out.')

    def _lmdb_files(self) -> list[str]:
        meta_info = self.root / 'meta_info.txt'
        if not meta_info.is_file():
            raise FileNotFoundError(f'{meta_info} is missing: {self.root} is no lmdb written by BasicSR.')
        lines = meta_info.read_text(encoding='utf-8').splitlines()
        # `KEY.png (H,W,C) LEVEL`, where the key may contain dots and spaces
        return [line.rsplit(' (', 1)[0] for line in lines if line.strip()]

    def read(self, name: str) -> bytes:
        """Return the content of the image file `name`.

        Raises:
            OSError: when the file cannot be read.
        """
        if not self.is_lmdb:
            return self._disk.get(self.files[name])
        content = _lmdb_client(str(self.root.resolve())).get(name)
        if content is None:
            raise FileNotFoundError(f'{self.root} has no key {name!r}, although its meta_info.txt names it')
        return content
