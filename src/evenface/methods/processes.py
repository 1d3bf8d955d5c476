"""What methods remember must be the same in all processes: what each of them holds, joined."""

import torch
from torch import Tensor, distributed


def everywhere(values: Tensor) -> Tensor:
    """Join what each process holds, in the order of their ranks; alone, give ``values`` back."""
    if not _several():
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def own_place(rows: int) -> slice:
    """Say where this process's rows stand in what :func:`everywhere` joins, all having equally many."""
    start = distributed.get_rank() * rows if _several() else 0
    return slice(start, start + rows)


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
