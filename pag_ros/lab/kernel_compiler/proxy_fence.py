"""Whether tensor cores may read what threads have not yet made visible to them.

The tensor cores of Hopper and Thor read shared memory through a proxy of their own, the async one.
What threads have stored or copied there before is in order for them only after a
`fence.proxy.async` (PTX ISA, "Async proxy"); a barrier does not do.
"""

from __future__ import annotations

import re

_COMMENT = re.compile(r"//.*")
_PRODUCT = re.compile(r"\b(?:wgmma\.mma_async|tcgen05\.mma)\b")
_WRITE = re.compile(r"\b(?:st\.(?:[\w:]+\.)*shared|stmatrix|cp\.async\.c[ag]\.shared)\b")
"""By threads. The bulk copies, which belong to the async proxy, are called cp.async.bulk."""
_FENCE = re.compile(r"\bfence\.proxy\.async\b(?!\.global)")


def lacks_fence(ptx: str) -> bool:
    """Whether a kernel has products in the async proxy and threads that write to shared memory, and
    nothing that orders the two.

    Where in the code a fence stands is not looked at.
    """
    code = _COMMENT.sub("", ptx)
    return bool(_PRODUCT.search(code) and _WRITE.search(code) and not _FENCE.search(code))
