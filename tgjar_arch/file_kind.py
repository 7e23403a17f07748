"""What an entry of a folder is: a file, or something that cannot be read as one."""

import errno
import os
import stat


def oddity(path: str | os.PathLike[str]) -> str | None:
    """What an entry of a folder is in words, such as 'a named pipe', if it is no regular file, else None.

    A link is what it leads to. Reading one of these may wait for ever, or never end.

    Raises:
        OSError: if it is missing, or cannot be looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return 'a link to itself'
        if error.errno == errno.ENOENT and os.path.islink(path):
            return f'a link to {os.readlink(os.fspath(path))}, which does not exist'
        raise
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a named pipe', stat.S_IFSOCK: 'a socket',
             stat.S_IFCHR: 'a device', stat.S_IFBLK: 'a device'}
    return kinds.get(stat.S_IFMT(mode), 'no regular file')
