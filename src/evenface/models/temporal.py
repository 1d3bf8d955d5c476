"""Temporal heads: aggregate the features of a clip's frames by their mean or a recurrent network, and classify them."""

from typing import Any

import torch
from torch import Tensor, nn

from evenface.config.recipe import Temporal
from evenface.models.backbone import Network, Outputs


class ClipNetwork(Network):
    r"""A network whose classifier sees a sequence: the frames of a clip, or the places of a still's last maps.

    .. math:: z = W \, [\overrightarrow{h}_T ; \overleftarrow{h}_1] + b, \qquad \text{or} \qquad
        z = W \, \frac{1}{T} \sum_t f_t + b

    with the backbone's features :math:`f_t` of frame t and the last states of a recurrent network in each direction
    that it has. Build it with :func:`~evenface.models.build_network`.

    Parameters
    ----------
    backbone : nn.Module
        A timm model without classifier.
    width, channels : int
        Length of its pooled features, and channels of its last maps.
    classes : int
        Number of classes C.
    temporal : Temporal
        The recipe's section.
    dropout : float
        Further dropout before the classifier, beside that of ``temporal``.
    **options
        See :class:`~evenface.models.backbone.Network`.

    Attributes
    ----------
    temporal : nn.LSTM, nn.GRU or None
        None for the mean and the difference.
    difference : bool
        Whether the first frame is the person's baseline, whose features are subtracted from the mean of the others.

    Notes
    -----
    The recurrent network works in 32 bits in mixed precision too: its states are sums over many steps.

    Fresh weights of recurrent layers are drawn by Kaiming's rule for units that are not rectified, normal with variance
    1 / fan-in, each gate on its own. Biases are 0, but 1 for an LSTM's forget gates, so that it does not forget from
    the start (Gers et al., *Learning to forget*, 2000). The classifier keeps torch's own first weights, which are
    Kaiming's uniform ones.

    References
    ----------
    He et al., *Delving deep into rectifiers*, ICCV 2015, eq. 10. Lu et al., *Handling class imbalance in video-based
    pain intensity estimation using ResNetBiLSTM*, sections 3.2 and 4.2.
    """

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        classes: int,
        *,
        channels: int,
        temporal: Temporal,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        recurrent = temporal.kind not in ("mean", "difference")
        both = temporal.kind.startswith("bi")
        if recurrent:
            # Two droppings one after the other keep what both keep.
            dropout = 1 - (1 - dropout) * (1 - temporal.dropout)
        features = temporal.hidden * (1 + both) if recurrent else width
        super().__init__(backbone, features, classes, dropout=dropout, **options)
        self.width = width  # of a frame; the classifier takes the features of the whole clip
        self.spatial = recurrent and temporal.over == "spatial"
        self.difference = temporal.kind == "difference"
        self.temporal: nn.LSTM | nn.GRU | None = None
        if recurrent:
            self.temporal = (nn.LSTM if temporal.kind.endswith("lstm") else nn.GRU)(
                channels if self.spatial else width,
                temporal.hidden,
                temporal.layers,
                batch_first=True,
                dropout=temporal.dropout if temporal.layers > 1 else 0.0,
                bidirectional=both,
            )
            draw_recurrent(self.temporal)

    def forward(self, images: Tensor) -> Outputs:
        """Compute the outputs of a batch.

        Parameters
        ----------
        images : Tensor of shape (B, T, channels, H, W) or (B, T, D)
            Frames in order, floating point from 0 to 1; or the backbone's features of them. Stills (B, channels, H, W)
            where the steps are places of the maps.

        Returns
        -------
        Outputs
            Logits (B, C), features (B, D') and maps (B, T, D, h, w), without T for stills.

        Raises
        ------
        ValueError
            If the images are not floating point or of another shape.
        """
        if self.spatial:
            _, maps = self.forward_backbone(images)
            features = self._joined(maps.flatten(2).transpose(1, 2))
        else:
            if images.ndim not in (3, 5):
                raise ValueError(
                    f"expected clips of shape (B, T, channels, H, W) or features (B, T, {self.width}), "
                    f"got {tuple(images.shape)}"
                )
            seen, maps = self.forward_backbone(images.flatten(0, 1))
            maps = maps.unflatten(0, images.shape[:2])  # type: ignore[no-untyped-call]
            features = self._joined(seen.unflatten(0, images.shape[:2]))  # type: ignore[no-untyped-call]
        return Outputs(self.classifier(self.dropout(features)), features, maps)

    def _joined(self, steps: Tensor) -> Tensor:
        """Aggregate the features of all steps, ``(B, T, D) -> (B, D')``."""
        if self.difference:
            return steps[:, 1:].mean(dim=1) - steps[:, 0]
        if self.temporal is None:
            return steps.mean(dim=1)
        with torch.autocast(steps.device.type, enabled=False):
            states: Tensor = self.temporal(steps.to(next(self.temporal.parameters()).dtype))[0]
        if not self.temporal.bidirectional:
            return states[:, -1]
        half = self.temporal.hidden_size
        return torch.cat([states[:, -1, :half], states[:, 0, half:]], dim=1)


def draw_recurrent(network: nn.LSTM | nn.GRU) -> None:
    """Initialise the weights from the global generator, as described in :class:`ClipNetwork`."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("weight"):
                # Fan-in is a row's length, so drawing all gates together is drawing each on its own.
                nn.init.kaiming_normal_(value, nonlinearity="linear")
            else:
                value.zero_()
                if isinstance(network, nn.LSTM) and name.startswith("bias_ih"):
                    value[network.hidden_size : 2 * network.hidden_size] = (
                        1.0  # torch's order: input, forget, cell, output
                    )
