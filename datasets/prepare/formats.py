"""File formats of prepared images; nothing is imported here, so that the help of `tgjar prepare` comes at once."""

FORMATS = {'png': 'PNG', 'webp': 'WEBP', 'jpg': 'JPEG'}  # suffix: Pillow's name
