"""For the site: links to files outside docs/, such as `../options/README.md`, become plain names.

They lead somewhere in the checkout, where the pages are read as well, but a site has those files nowhere.
"""

import re
from typing import Any

OUTSIDE = re.compile(r'\[([^\]]+)\]\((?:\.\./)+(?:options|tgjar_arch|losses|datasets|tests|benchmarks)(?:/[^)\s]*)?\)')


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """MkDocs' event: the text of a page before it is rendered."""
    return OUTSIDE.sub(r'\1', markdown)
