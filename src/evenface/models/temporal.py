"""Temporal heads: aggregate frame features by their mean, attention, a transformer or a recurrent network; classify."""

from typing import Any

import torch
from torch import Tensor, nn

from evenface.config.recipe import Temporal
from evenface.models.backbone import Network, Outputs


class AttentionPooling(nn.Module):
    r"""Mean of the steps, weighted by a softmax over one score per step; their order is ignored.

    .. math:: f = \sum_t a_t f_t, \qquad
        a_t = \frac{\exp(w^\top \tanh(V f_t))}{\sum_s \exp(w^\top \tanh(V f_s))}

    Parameters
    ----------
    width : int
        Length D of a step.
    hidden : int
        Rows of V.

    References
    ----------
    Ilse, Tomczak and Welling, *Attention-based deep multiple instance learning*, ICML 2018, eq. 7 and 8. Meng et al.,
    *Frame attention networks for facial expression recognition in videos*, ICIP 2019, weight frames likewise, by a
    sigmoid of a linear score divided by its sum.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def weights(self, steps: Tensor) -> Tensor:
        """Compute the weight of each step, ``(B, T, D) -> (B, T)``."""
        scores: Tensor = self.score(steps)
        return scores.squeeze(2).softmax(dim=1)

    def forward(self, steps: Tensor) -> Tensor:
        """Compute the weighted mean, ``(B, T, D) -> (B, D)``."""
        return (self.weights(steps)[:, :, None] * steps).sum(dim=1)


class TemporalTransformer(nn.Module):
    """A transformer encoder over the steps and a class token, whose last state is the result.

    Parameters
    ----------
    width : int
        Length D of a step.
    temporal : Temporal
        The recipe's section: ``hidden``, ``layers``, ``heads`` and ``dropout``.

    Notes
    -----
    Steps are projected to H = ``hidden`` and sinusoidal positions are added, so that any number of steps is allowed.
    Layers normalise their input (pre-norm), use GELU and 4 H units between, and a last layer norm follows them.

    References
    ----------
    Vaswani et al., *Attention is all you need*, NeurIPS 2017, sections 3.1, 3.2 and 3.5. Dosovitskiy et al., *An image
    is worth 16x16 words*, ICLR 2021, for the class token and the order of norms. Arnab et al., *ViViT: a video vision
    transformer*, ICCV 2021, model 2, for an encoder over the features of frames.
    """

    def __init__(self, width: int, temporal: Temporal) -> None:
        super().__init__()
        hidden = temporal.hidden
        self.project = nn.Linear(width, hidden)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, hidden))
        # Built one by one: nn.TransformerEncoder would start all layers from the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                hidden, temporal.heads, 4 * hidden, temporal.dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(temporal.layers)
        )
        self.norm = nn.LayerNorm(hidden)

    def forward(self, steps: Tensor) -> Tensor:
        """Compute the last state of the class token, ``(B, T, D) -> (B, H)``."""
        tokens = self._tokens(steps)
        for layer in self.layers:
            tokens = layer(tokens)
        state: Tensor = self.norm(tokens[:, 0])
        return state

    def weights(self, steps: Tensor) -> Tensor:
        r"""Compute how much attention the class token pays to each step through all layers, ``(B, T, D) -> (B, T)``.

        .. math:: R = \prod_l \tfrac12 (A_l + I)

        with the attention :math:`A_l` of layer l, averaged over heads, the last layer first: attention rollout. The
        weights are the class token's row of R without itself, divided by their sum.

        References
        ----------
        Abnar and Zuidema, *Quantifying attention flow in transformers*, ACL 2020.
        """
        tokens = self._tokens(steps)
        rollout = identity = torch.eye(tokens.shape[1]).to(tokens)
        for layer in self.layers:
            normed = layer.norm1(tokens)  # type: ignore[operator]
            attention = layer.self_attn(normed, normed, normed)[1]  # type: ignore[operator]
            rollout = (attention + identity) / 2 @ rollout
            tokens = layer(tokens)
        row = rollout[:, 0, 1:]
        return row / row.sum(dim=1, keepdim=True)

    def _tokens(self, steps: Tensor) -> Tensor:
        """Project the steps, add their positions and prepend the class token, ``(B, 1 + T, H)``."""
        projected = self.project(steps)
        positions = sinusoidal_positions(steps.shape[1], projected.shape[2], steps.device).to(projected.dtype)
        return torch.cat([self.token.expand(steps.shape[0], -1, -1), projected + positions], dim=1)


def sinusoidal_positions(count: int, width: int, device: torch.device | None = None) -> Tensor:
    """Compute sinusoidal positions, ``(count, width)``: sine and cosine in turn, of decreasing frequency."""
    steps, even = torch.arange(count, device=device), torch.arange(0, width, 2, device=device)
    angles = steps[:, None] * 10000 ** (-even / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]


class ClipNetwork(Network):
    r"""A network whose classifier sees a sequence: the frames of a clip, or the places of a still's last maps.

    .. math:: z = W \, [\overrightarrow{h}_T ; \overleftarrow{h}_1] + b, \qquad \text{or} \qquad
        z = W \, \frac{1}{T} \sum_t f_t + b

    with the backbone's features :math:`f_t` of frame t and the last states of a recurrent network in each direction
    that it has; or of :class:`AttentionPooling` or :class:`TemporalTransformer`. Build it with
    :func:`~evenface.models.build_network`.

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
    temporal : nn.LSTM, nn.GRU, AttentionPooling, TemporalTransformer or None
        None for the mean and the difference.
    difference : bool
        Whether the first frame is the person's baseline, whose features are subtracted from the mean of the others.

    Notes
    -----
    Recurrent networks, attention and transformers work in 32 bits in mixed precision too: their results are sums over
    many steps.

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
        learnt = temporal.kind not in ("mean", "difference")
        if learnt:
            # Two droppings one after the other keep what both keep.
            dropout = 1 - (1 - dropout) * (1 - temporal.dropout)
        spatial = learnt and temporal.over == "spatial"
        inputs = channels if spatial else width
        features = temporal.hidden * (1 + temporal.kind.startswith("bi"))
        if not learnt or temporal.kind == "attention":
            features = inputs
        super().__init__(backbone, features, classes, dropout=dropout, **options)
        self.width = width  # of a frame; the classifier takes the features of the whole clip
        self.spatial = spatial
        self.difference = temporal.kind == "difference"
        self.temporal = build_temporal(temporal, inputs) if learnt else None

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
        steps, maps = self._steps(images)
        features = self._joined(steps)
        return Outputs(self.classifier(self.dropout(features)), features, maps)

    def frame_weights(self, images: Tensor) -> Tensor | None:
        """Compute the share of each step in the attention, which sums to 1, ``(B, T)``; None without attention.

        These are the weights of :class:`AttentionPooling`, and the rollout of :class:`TemporalTransformer`. Parameters
        and errors as for :meth:`forward`.
        """
        if not isinstance(self.temporal, AttentionPooling | TemporalTransformer):
            return None
        steps, _ = self._steps(images)
        with torch.autocast(steps.device.type, enabled=False):
            return self.temporal.weights(steps.to(next(self.temporal.parameters()).dtype))

    def _steps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of all steps (B, T, D), and the maps as in the outputs."""
        if self.spatial:
            _, maps = self.forward_backbone(images)
            return maps.flatten(2).transpose(1, 2), maps
        if images.ndim not in (3, 5):
            raise ValueError(
                f"expected clips of shape (B, T, channels, H, W) or features (B, T, {self.width}), "
                f"got {tuple(images.shape)}"
            )
        seen, maps = self.forward_backbone(images.flatten(0, 1))
        batch = images.shape[:2]
        return seen.unflatten(0, batch), maps.unflatten(0, batch)  # type: ignore[no-untyped-call]

    def _joined(self, steps: Tensor) -> Tensor:
        """Aggregate the features of all steps, ``(B, T, D) -> (B, D')``."""
        if self.difference:
            return steps[:, 1:].mean(dim=1) - steps[:, 0]
        if self.temporal is None:
            return steps.mean(dim=1)
        with torch.autocast(steps.device.type, enabled=False):
            steps = steps.to(next(self.temporal.parameters()).dtype)
            if not isinstance(self.temporal, nn.LSTM | nn.GRU):
                features: Tensor = self.temporal(steps)
                return features
            states: Tensor = self.temporal(steps)[0]
        if not self.temporal.bidirectional:
            return states[:, -1]
        half = self.temporal.hidden_size
        return torch.cat([states[:, -1, :half], states[:, 0, half:]], dim=1)


def build_temporal(temporal: Temporal, width: int) -> nn.LSTM | nn.GRU | AttentionPooling | TemporalTransformer:
    """Build what aggregates steps of ``width`` features, where it has weights of its own."""
    if temporal.kind == "attention":
        return AttentionPooling(width, temporal.hidden)
    if temporal.kind == "transformer":
        return TemporalTransformer(width, temporal)
    recurrent = (nn.LSTM if temporal.kind.endswith("lstm") else nn.GRU)(
        width,
        temporal.hidden,
        temporal.layers,
        batch_first=True,
        dropout=temporal.dropout if temporal.layers > 1 else 0.0,
        bidirectional=temporal.kind.startswith("bi"),
    )
    draw_recurrent(recurrent)
    return recurrent


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
