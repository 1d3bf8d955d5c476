"""Compact VGG networks for faces of 48 pixels."""

from typing import Any, cast

from timm.models import register_model
from torch import Tensor, nn


class CompactVGG(nn.Module):
    """Four pairs of 3 x 3 convolutions with batch norm, each pair at half the side and twice the width of the last.

    Networks for images of 224 pixels reduce them to a quarter of the side in their first two layers; of a face of
    48 pixels that leaves too little. Here the first pair works at full size, or at half of it with ``stride`` 2, which
    trains four times as fast.
    """

    def __init__(self, width: int, in_chans: int = 3, num_classes: int = 0, *, stride: int = 1) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        layers: list[nn.Module] = []
        channels = in_chans
        for stage, out in enumerate(widths):
            if stage:
                layers.append(nn.MaxPool2d(2))
            layers += [*_convolution(channels, out, 1 if stage else stride), *_convolution(out, out)]
            channels = out
        self.layers = nn.Sequential(*layers)
        # As timm lists the last layers of stages: seven layers each, with the pooling before the next.
        self.feature_info = [
            {"num_chs": width, "reduction": stride * 2**stage, "module": f"layers.{7 * stage + 5}"}
            for stage, width in enumerate(widths)
        ]
        self.num_features = self.head_hidden_size = channels
        self.head = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last maps, (B, 8 * width, H / (8 * stride), W / (8 * stride))."""
        return cast(Tensor, self.layers(images))

    def forward_head(self, maps: Tensor) -> Tensor:
        """Pool the maps."""
        return cast(Tensor, self.head(maps.mean(dim=(2, 3))))

    def forward(self, images: Tensor) -> Tensor:
        """Return pooled features, or logits where there are classes."""
        return self.forward_head(self.forward_features(images))


def _convolution(channels: int, out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True)


@register_model
def compact_vgg_16(pretrained: bool = False, **options: Any) -> CompactVGG:
    """Return the network with 16 channels in its first pair: 0.3 million parameters."""
    return _built(16, pretrained, **options)


@register_model
def compact_vgg_16_half(pretrained: bool = False, **options: Any) -> CompactVGG:
    """Return the network with 16 channels in its first pair, which works at half the side: 0.3 million parameters."""
    return _built(16, pretrained, stride=2, **options)


@register_model
def compact_vgg_24(pretrained: bool = False, **options: Any) -> CompactVGG:
    """Return the network with 24 channels in its first pair: 0.7 million parameters."""
    return _built(24, pretrained, **options)


@register_model
def compact_vgg_32(pretrained: bool = False, **options: Any) -> CompactVGG:
    """Return the network with 32 channels in its first pair: 1.2 million parameters."""
    return _built(32, pretrained, **options)


def _built(
    width: int, pretrained: bool, *, in_chans: int = 3, num_classes: int = 0, stride: int = 1, **_: Any
) -> CompactVGG:
    # timm hands further settings to every network; those of downloads mean nothing here.
    if pretrained:
        raise RuntimeError("there are no ready-made weights of this network")
    return CompactVGG(width, in_chans, num_classes, stride=stride)
