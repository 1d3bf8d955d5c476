"""A plain PyTorch training script, as practitioners write it: the baseline of evenface's training speed.

Images are opened one by one in two worker processes, augmented by torchvision's transforms and trained on with
PyTorch's defaults. The augmentations are those that evenface applies to whole batches.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

import evenface  # noqa: F401, needed to import torchvision where its wheel does not match torch

# isort: split
import timm
from torchvision import transforms
from torchvision.datasets import ImageFolder


def plain_steps(folder: Path, size: int, network: str, batch_size: int, precision: str) -> Iterator[None]:
    """Train endlessly, one step per iteration."""
    augmentation = transforms.Compose(
        [
            transforms.Grayscale(),
            transforms.Resize((size, size)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(
                10, translate=(0.08, 0.08), scale=(0.9, 1.1), interpolation=transforms.InterpolationMode.BILINEAR
            ),
            transforms.ColorJitter(brightness=0.2, contrast=0.2),
            transforms.ToTensor(),
            transforms.Normalize(0.5, 0.5),
            transforms.RandomErasing(0.25, scale=(0.02, 0.25)),
        ]
    )
    faces = ImageFolder(str(folder), augmentation)
    loader = DataLoader(faces, batch_size=batch_size, shuffle=True, num_workers=2, drop_last=True)
    model = timm.create_model(network, in_chans=1, num_classes=len(faces.classes))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    model.train()
    while True:
        for images, targets in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield
