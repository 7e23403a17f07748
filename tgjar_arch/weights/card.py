"""The card of weights in a folder or a repository: README.md with the YAML header that the Hugging Face Hub reads."""

from __future__ import annotations

from typing import Any

import yaml

from tgjar_arch.text.escaping import as_markdown
from tgjar_arch.weights.file import ExportedWeights

_TAGS = ('image-restoration', 'jpeg-artifacts-removal', 'text-guided')


def model_card(weights: ExportedWeights, name: str, license: str | None = None) -> str:
    """The text of README.md.

    Args:
        weights: what is said of: the networks, up to which JPEG quality they gain, and how they were made.
        name: of the repository, 'org/name', or of the folder.
        license: identifier as the Hub has them ('apache-2.0'); None leaves the field out.
    """
    header: dict[str, Any] = {'license': license} if license else {}
    header |= {'library_name': 'tgjar', 'pipeline_tag': 'image-to-image', 'tags': list(_TAGS)}
    takes_text = weights.network_t is not None
    call = "restorer(Image.open('bird.jpg'), 'a small yellow bird')" if takes_text else \
        "restorer(Image.open('bird.jpg'))"
    caption = ' --caption "a small yellow bird"' if takes_text else ''
    facts = [f'generator: `{weights.network_g["type"]}`']
    facts += [f'text encoder: `{weights.network_t["type"]}`'] if weights.network_t else ['no captions']
    facts += [f'for JPEG quality up to {weights.max_qf}'] if weights.max_qf is not None else []
    facts += [f'made: {as_markdown(weights.source)}'] if weights.source else []
    lines = '\n'.join(f'- {fact}' for fact in facts)
    return f"""---
{yaml.safe_dump(header, sort_keys=False).strip()}
---

# {as_markdown(name)}

Weights of TGJAR, {'text-guided ' if takes_text else ''}removal of JPEG artifacts
(*Multi-Modality Deep Network for JPEG Artifacts Reduction*, IJCAI 2023).

{lines}

```bash
tgjar restore bird.jpg -o bird.png --weights {name}{caption}
```

```python
from PIL import Image
from tgjar_arch import Restorer

restorer = Restorer.from_pretrained({name!r})
{call}.save('bird.png')
```

What JPEG lost is invented or stays lost: a restored picture is no evidence.
"""
