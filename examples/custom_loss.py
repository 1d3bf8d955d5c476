"""A user-defined loss: poly-1, cross-entropy plus epsilon (1 - p) (Leng et al., ICLR 2022, eq. 4)."""

from evenface.losses import CrossEntropyLoss, register_loss


class Poly1Loss(CrossEntropyLoss):
    def __init__(self, epsilon=1.0):
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logits, targets):
        loss = super().forward(logits, targets)
        return loss + self.epsilon * (1 - (-loss).exp())


register_loss("poly-1", Poly1Loss)
