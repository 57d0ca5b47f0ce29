"""Bytes of all tensors alive at once, counted as operators make them."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.alive = 0
        self.most = 0
        self._seen = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        known = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor):
                s = t.untyped_storage()
                p = s.data_ptr()
                if p in known or p in self._seen:
                    continue
                n = s.nbytes()
                self._seen[p] = n
                self.alive += n
                self.most = max(self.most, self.alive)
                weakref.finalize(s, self._gone, p)
        return out

    def _gone(self, p):
        self.alive -= self._seen.pop(p, 0)
