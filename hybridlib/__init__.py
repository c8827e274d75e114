"""hybridlib: train and evaluate dual encoders on batches that are monolingual or cross-lingual (arXiv 2408.10536).

    params -> corpus -> sampler -> encoder + loss -> ranks -> measures -> results -> figures

Each word has a folder, which hands a plain value to the next. These names are all that most users need; everything else
is imported from its folder. A name is imported when it is first used, so that reading parameters does not wait for what
computes. `__init__.pyi` lists them.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
