"""The caption of an image file: given, its own, from a text file beside it, or from metadata."""

from __future__ import annotations

import codecs
import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin, PngImagePlugin

from tgjar_arch.pictures.caption_names import folded, match_sidecars, sidecar_stem
from tgjar_arch.pictures.files import image_name, list_images
from tgjar_arch.pictures.limits import MAX_PIXELS
from tgjar_arch.pictures.photo import load, open_image, xmp_of
from tgjar_arch.text.caption_files import (
    Misfit,
    Tell,
    is_sidecar,
    metadata_rank,
    read_caption_file,
    read_metadata,
    unread,
)
from tgjar_arch.text.cleaning import clean
from tgjar_arch.text.encodings import decode_utf_16
from tgjar_arch.text.escaping import one_line
from tgjar_arch.text.limits import MAX_CAPTION

MAX_XMP_BYTES = 1_000_000
_MOST_BYTES = 4 * (MAX_CAPTION + 1)  # in any encoding one character more than is kept, or more
_PNG_KEYS = ('description', 'caption', 'comment')  # of PNG's text chunks, in this order; case does not count
# What programs and cameras write where a caption belongs; as a whole, so that "a DIGITAL CAMERA on a table" is kept.
_BOILERPLATE = re.compile('|'.join([
    r'(OLYMPUS|MINOLTA|KONICA MINOLTA|SAMSUNG|KODAK|PENTAX|CASIO|VIVITAR|SANYO|HP|GE|BENQ)? ?DIGITAL (STILL )?CAMERA',
    r'KODAK Digital Still Camera', r'SAMSUNG CAMERA PICTURES', r'SONY DSC', r'DCF1\.0', r'Exif[_ ]JPEG([_ ].*)?',
    r'DCIM[\\/].*',
    # names of files, as cameras and phones give them
    r'\S+\.(?i:jpe?g|png|webp|tiff?|bmp|gif|heic|dng|psd)',
    r'(?i:_?(DSC[NF_]?|IMG|IMGP|PICT|GOPR|DJI|PXL|SAM|P|MVI|WP)[-_ ]?\d{3}[-_ \d]*)',
    r'(?i:screen ?shot([-_ ]?\(?\d[-_ .:\d]*( at [\d.:]+)?\)?)?)', r'(?i:untitled([-_ ]?\d+)?)',
    # modes of phones' cameras
    r'oplus_\d+', r'(sdr|hdr)_\w+', r'(cof|rbt|edf|fpt|sdr|hdr|rhdr|fhdr|hdrpl|mde|nfm|ptr|bty|btf|dav|oznor)',
    r'(?i:gimp( [\d.]+)?|picasa( [\d.]+)?|paint\.net( v?[\d.]+)?)',
    r'Adobe (Photoshop|Lightroom|ImageReady|Illustrator)( (CC|CS\d?|Classic|Elements|Express|[\d.]+|\([^()]*\)))*',
    r'(?i:created with (the )?gimp( .*)?)', r'(?i:created (with|by|using) \S+( v?[\d.]+)?)',
    r'CREATOR: gd-jpeg .*', r'Lavc[\d.]*', r'AppleMark', r'Intel\(R\) JPEG Library.*', r'LEAD Technologies.*',
    r'File written by Adobe Photoshop.*', r'Optimized (by|with) \S+.*', r'Compressed by \S+', r'Handmade Software.*',
    r'Processed By eBay with ImageMagick.*', r'JPEG Encoder Copyright.*', r'(XV|xv) Version .*', r'U-Lead Systems.*',
    r'ACD Systems Digital Imaging', r'ASCII', r'(?i:binary comment)', r'(?i:(charset|lang)=.*)',
    # Facebook's, and any other hash or key: long, without a mark between words, in letters of both cases and numbers
    r'FBMD[\da-f]+', r'[\da-fA-F]{32,}', r'[\da-fA-F]{8}(-[\da-fA-F]{4}){3}-[\da-fA-F]{12}',
    r'(?=\S*\d)(?=\S*[a-z])(?=\S*[A-Z])[A-Za-z\d+/=]{40,}', r'([A-Za-z]:)?([\\/][^\\/\s]+){2,}',
]))
# What cameras write into EXIF and XMP alone (DJI); as a comment it is somebody's word.
_CAMERA_DEFAULTS = ('default',)

_DC = 'http://purl.org/dc/elements/1.1/ description'
_RDF_LI = 'http://www.w3.org/1999/02/22-rdf-syntax-ns# li'
_LANGUAGE = 'http://www.w3.org/XML/1998/namespace lang'

# Record and data set numbers of IPTC-IIM 4.2
_IPTC_CHARACTERS, _IPTC_CAPTION = (1, 90), (2, 120)
_IPTC_TITLES = {(2, 105): 'IPTC headline', (2, 5): 'IPTC title'}
_IPTC_UTF_8 = b'\x1b%G'

_logger = logging.getLogger(__name__)


class FoundCaption(NamedTuple):
    """A caption ('' for none) and where it is from, in words: '--caption', 'JPEG comment', 'bird.txt', 'none', ..."""

    text: str
    source: str


def is_caption(text: str) -> bool:
    """Whether a cleaned text says something about a picture: no punctuation alone, no boiler-plate of a program."""
    says_something = any(unicodedata.category(character)[0] not in 'PZC' for character in text)
    return says_something and not _BOILERPLATE.fullmatch(text)


def decode(content: bytes) -> str:
    """Return the text of bytes in UTF-16, UTF-8, else Windows-1252, which has Latin-1's letters; '' for no text."""
    if len(content) > _MOST_BYTES:
        content = content[:_MOST_BYTES]
        with suppress(UnicodeDecodeError):  # without the beginning of a character at the end
            content = content[:codecs.utf_8_decode(content, 'strict', False)[1]]
    if (wide := decode_utf_16(content)) is not None:
        content = wide.strip('\0').encode('utf-8', 'replace')
    content = content.strip(b'\0')
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError:
        text = content.decode('cp1252', 'replace').replace('\ufffd', '\0')  # some bytes have no character in it
    binary = any(unicodedata.category(character) == 'Cc' and not character.isspace() for character in text)
    return '' if binary else text


def own_captions(path: str | os.PathLike, max_pixels: int = MAX_PIXELS,
                 tell: Tell = lambda misfit: None) -> Iterator[FoundCaption]:
    """Yield the captions in an image file, those that count first before others.

    JPEG comments, XMP dc:description, EXIF ImageDescription and XPComment (of Windows), IPTC Caption-Abstract, PNG
    texts; only after all these, and no caption as such (`is_title`), IPTC Headline and Object Name.

    Args:
        path: JPEG, PNG, WebP or TIFF file.
        max_pixels: refuse an image with more, as `read_photo`: PNG's texts may stand behind the pixels.
        tell: called with a text that is longer than `tgjar_arch.text.limits` says, and is cut.

    Raises:
        OSError: when there is no such file, or it cannot be read.
        ValueError: when it is no image, broken or too large.
    """
    with open_image(path, max_pixels) as image:
        if image.format == 'PNG':
            image = load(image, path)
        for text, source in _texts(image):
            if len(text) > MAX_CAPTION:
                tell(Misfit(Path(path), f'its {source} is cut after {MAX_CAPTION:,} characters'))
            text = clean(text[:MAX_CAPTION])
            written = source not in ('EXIF description', 'XMP description') or text not in _CAMERA_DEFAULTS
            if written and is_caption(text):
                yield FoundCaption(text, source)


def is_title(found: FoundCaption) -> bool:
    """Whether a caption of a file is only a title, which counts where neither the file nor one beside it has more."""
    return found.source in _IPTC_TITLES.values()


def _texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    for marker, content in getattr(image, 'applist', ()):
        if marker == 'COM':
            yield decode(content), 'JPEG comment'
    xmp = xmp_of(image)
    if xmp:
        yield xmp_description(xmp), 'XMP description'
    description, comment = (_exif_tag(image, tag) for tag in (ExifTags.Base.ImageDescription, ExifTags.Base.XPComment))
    if isinstance(description, str):
        description = description[:_MOST_BYTES + 1].encode('latin-1', 'replace')  # which Pillow has decoded it from
    if isinstance(description, bytes):
        yield decode(description), 'EXIF description'
    if isinstance(comment, bytes):
        yield comment[:2 * (MAX_CAPTION + 1)].decode('utf-16-le', 'replace').strip('\0'), 'EXIF XPComment'
    iptc = _iptc(image)
    if _IPTC_CAPTION in iptc:
        yield iptc[_IPTC_CAPTION], 'IPTC caption'
    if isinstance(image, PngImagePlugin.PngImageFile):
        for wanted in _PNG_KEYS:
            for key, text in image.text.items():
                if key.lower() == wanted:
                    # tEXt is Latin-1 by the standard, but many programs write UTF-8; iTXt is always UTF-8.
                    yield (text if isinstance(text, PngImagePlugin.iTXt) else decode(text.encode('latin-1', 'replace')),
                           f'PNG text "{key}"')
    for data_set, source in _IPTC_TITLES.items():
        if data_set in iptc:
            yield iptc[data_set], source


def _exif_tag(image: Image.Image, tag: int) -> object:
    try:
        return image.getexif().get(tag)
    except Exception:  # broken metadata must not stop a whole picture
        return None


def _iptc(image: Image.Image) -> dict[tuple[int, int], str]:
    """Return the texts of IPTC-IIM data sets (of Photoshop's APP13 segment, or of a TIFF tag), the first of each."""
    if not isinstance(image, ImageFile.ImageFile):
        return {}
    try:
        found = IptcImagePlugin.getiptcinfo(image) or {}
    except Exception:  # broken metadata must not stop a whole picture
        return {}
    contents = {key: content[0] if isinstance(content, list) else content for key, content in found.items()}
    # A text is cut at 2,000 bytes, also within a character. Many programs write UTF-8 without saying so.
    is_utf_8 = contents.get(_IPTC_CHARACTERS) == _IPTC_UTF_8
    return {key: content.decode('utf-8', 'replace') if is_utf_8 else decode(content)
            for key, content in contents.items() if isinstance(content, bytes) and key != _IPTC_CHARACTERS}


class _Description:
    """Collects dc:description while expat reads: language -> text."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._language: str | None = None  # of the text that is being read
        self._depth = 0  # of dc:description; 0 outside
        self._done = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._done:  # what follows is about pictures that this one is made of
            return
        if _DC in attributes:  # the short form: an attribute of rdf:Description
            self.texts.setdefault('x-default', attributes[_DC])
        if name == _DC or self._depth:
            self._depth += 1
        if name == _DC or name == _RDF_LI and self._depth:
            # A text that stands in dc:description itself counts only when there are no alternatives.
            self._language = attributes.get(_LANGUAGE, 'x-default' if name == _RDF_LI else '').lower()

    def end(self, name: str) -> None:
        if self._depth:
            self._depth -= 1
            self._language = None
            self._done = not self._depth

    def text(self, content: str) -> None:
        if self._language is not None:
            self.texts[self._language] = self.texts.get(self._language, '') + content

    def refuse(self, *declaration: object) -> None:
        raise ValueError('a document type declaration')


def xmp_description(packet: bytes) -> str:
    """Return dc:description of an XMP packet, x-default before English before other languages; '' if there is none.

    A packet that is malformed, longer than 1 MB or has a document type (which entity expansion needs, and XMP never
    has: ISO 16684-1, section 7.3.3) counts as none.

    Args:
        packet: XML in any encoding that it declares.
    """
    if len(packet) > MAX_XMP_BYTES:
        return ''
    found = _Description()
    parser = expat.ParserCreate(namespace_separator=' ')
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.text
    parser.StartDoctypeDeclHandler = found.refuse
    try:
        # Some programs pad with zeros, which in UTF-16 belong to the text.
        parser.Parse(packet if packet[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else packet.strip(b'\0'), True)
    except (expat.ExpatError, ValueError, LookupError):  # the last for an unknown encoding
        return ''
    texts = {language: text.strip() for language, text in found.texts.items() if text.strip()}
    order = sorted(texts, key=lambda language: (language != 'x-default', not language.startswith('en')))
    return texts[order[0]] if order else ''


@lru_cache(maxsize=1000)
def _log(misfit: Misfit) -> None:
    """Say each once."""
    _logger.warning('%s', one_line(str(misfit)))


@lru_cache(maxsize=16)
def _metadata_captions(path: Path, stamp: tuple[int, int],
                       every: bool) -> tuple[dict[str, tuple[str, ...]], tuple[Misfit, ...]]:
    """First caption of each image, or every one, by its name and its folded name; a new `stamp` makes a new file."""
    misfits: list[Misfit] = []
    captions: dict[str, tuple[str, ...]] = {}
    names: list[str] = []
    for file_name, found, _ in read_metadata(path, misfits.append, strict=False):
        names.append(folded(image_name(file_name)))
        if found:
            name = image_name(os.path.normpath(file_name).replace(os.sep, '/'))
            if every:
                captions[name] = captions.get(name, ()) + tuple(found)
            else:
                captions.setdefault(name, (found[0],))
    for name in list(captions):
        captions.setdefault(folded(name), captions[name])
    if names and not {folded(image_name(name)) for name in list_images(path.parent)}.intersection(names):
        misfits.append(Misfit(path, f'names no picture of its folder; the first that it names is {names[0][:100]}'))
    return captions, tuple(misfits)


def find_caption(path: str | os.PathLike, caption: str | None = None, root: str | os.PathLike | None = None,
                 auto: Callable[[Path], str] | None = None, max_pixels: int = MAX_PIXELS,
                 tell: Tell = _log) -> FoundCaption:
    """Return the caption of an image file and where it is from.

    The first of: the given one (also '', which means no text), the file's own, the first line of the text file beside
    it (`bird.jpg`: `bird.txt`, else `bird.jpg.txt`), the first caption in `metadata.jsonl`, else in `metadata.csv`, a
    title in the file (`is_title`), what `auto` says, none. A file that cannot be read has no caption of its own;
    `read_photo` says what is wrong with it.

    Args:
        path: the image file.
        caption: what the user says about it.
        root: the last folder above the file where metadata, whose file names count from its own folder, is looked for;
            by default the file's own folder. The nearest that names the file counts.
        auto: describes an image file, where nothing else does.
        max_pixels: as of `read_photo`.
        tell: called with each caption file that is found and does not fit, such as a malformed line of
            `metadata.jsonl`; by default it goes to the log, once.
    """
    path = Path(path)
    if caption is not None:
        return FoundCaption(clean(caption[:MAX_CAPTION]), '--caption')
    try:
        own = next(own_captions(path, max_pixels, tell), FoundCaption('', 'none'))
    except (OSError, ValueError):
        own = FoundCaption('', 'none')
    if own.text and not is_title(own):
        return own
    beside = _beside(path, tell) or _in_metadata(path, root, tell)
    if beside or own.text:
        return beside[0] if beside else own
    if auto is not None and (text := clean(auto(path)[:MAX_CAPTION])):
        return FoundCaption(text, 'captioner')
    return FoundCaption('', 'none')


def find_captions(path: str | os.PathLike, root: str | os.PathLike | None = None, max_pixels: int = MAX_PIXELS,
                  tell: Tell = _log) -> list[FoundCaption]:
    """Return every caption of an image file, of which `find_caption` takes the first; equal ones once.

    All that the file itself says, every line of the text file beside it, every caption in the nearest metadata that
    name the file, and titles in the file.

    Args:
        path, root, max_pixels, tell: as of `find_caption`.
    """
    path = Path(path)
    own: list[FoundCaption] = []
    with suppress(OSError, ValueError):
        own.extend(own_captions(path, max_pixels, tell))
    found = [one for one in own if not is_title(one)]
    found += _beside(path, tell, every=True) + _in_metadata(path, root, tell, every=True)
    found += [one for one in own if is_title(one)]
    texts: dict[str, FoundCaption] = {}
    for one in found:
        texts.setdefault(one.text, one)
    return list(texts.values())


def _files_of(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
    except OSError:
        return []


def _beside(path: Path, tell: Tell, every: bool = False) -> list[FoundCaption]:
    """The first caption in a text file beside an image, or every one; tells of files whose name comes near."""
    name, files = image_name(path.name), _files_of(path.parent)
    # `x.jpg.txt` belongs to x.jpg, not to an x.png that lies there too.
    texts = [file for file in files if is_sidecar(file)
             and (sidecar_stem(file) == path.name or sidecar_stem(file) not in files)]
    for file in match_sidecars([name], texts).get(name, []):
        lines = [text for line in read_caption_file(path.with_name(file), tell) if (text := clean(line))]
        if lines:
            return [FoundCaption(line, file) for line in (lines if every else lines[:1])]
    pictures = {image_name(file) for file in files if image_name(file) != file}
    for file in files:
        if is_sidecar(file) and _differs_in_case(sidecar_stem(file), name):
            tell(Misfit(path.with_name(file), f'not read; its name differs from {path.name} in upper and lower case'))
        elif file.lower().endswith('.caption') and folded(Path(file).stem) not in (folded(name), folded(path.name)):
            continue  # of another picture, which may have a text file as well
        elif (not is_sidecar(file) or sidecar_stem(file) not in pictures) and (misfit := unread(path.parent, file)):
            tell(misfit)
    return []


def _differs_in_case(stem: str, name: str) -> bool:
    stem, name = folded(image_name(stem)), folded(name)
    return stem != name and stem.casefold() == name.casefold()


def _in_metadata(path: Path, root: str | os.PathLike | None, tell: Tell, every: bool = False) -> list[FoundCaption]:
    """The first caption, or every one, in the nearest `metadata.jsonl` or `metadata.csv` that has one."""
    whole = Path(os.path.abspath(path))  # not resolved: names are those of links
    top = whole.parent if root is None else Path(os.path.abspath(root))
    for folder in whole.parents if whole.is_relative_to(top) else ():
        ranked = [(rank, file) for file in _files_of(folder) if (rank := metadata_rank(file)) is not None]
        for _, file in sorted(ranked):
            metadata = folder / file
            status = metadata.stat()
            captions, misfits = _metadata_captions(metadata, (status.st_mtime_ns, status.st_size), every)
            for misfit in misfits:
                tell(misfit)
            name = image_name(whole.relative_to(folder).as_posix())
            found = [FoundCaption(text, file) for caption in captions.get(name, captions.get(folded(name), ()))
                     if (text := clean(caption))]
            if found:
                return found
        if folder == top:
            break
    return []
