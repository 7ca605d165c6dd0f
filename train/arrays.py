"""Files of numpy's that come from elsewhere."""

import tokenize
import zipfile
import zlib

# What numpy.load of 2.4 raises for cut, changed and foreign files, and astype for foreign contents: found with random ones.
DAMAGED = (
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
