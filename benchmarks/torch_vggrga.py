"""VGGRGA(n) in PyTorch: the same network, loss and preprocessing, layer for layer.

RGA comes in two forms, which share their weights and compute the same. ``direct`` is that of the
paper's public code: it builds the N x N affinity of the nodes, stacks its rows and columns and
embeds them by a 1x1 convolution. ``linear`` is that of `keras_salnet.layers.RGA`, which never
builds it.
"""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (its customary name)

_CAFFE_MEANS = (103.939, 116.779, 123.68)  # BGR

# Widths, in units of `filters`, of the convolutions of each stage: 1/1 … 1/16 of the frame.
_ENCODER = {"1": (1, 1), "2": (2, 2), "3": (4, 4, 4), "4": (8, 8, 8), "5": (8, 8, 8)}
_DECODER = {"5": (8, 8, 8), "4": (8, 8, 4), "3": (4, 4, 4), "2": (2, 1), "1": (1, 1)}
_INTEGRATED = ("4", "3", "2")

_EPS = 2.2204e-16  # of MIT's code: MATLAB's eps


def _embedding(inputs, width):
    """1x1 convolution without bias, batch normalization, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


class NodeAttention(nn.Module):
    """From nodes (B, D, H, W), N = H·W, to one attention logit each, (B, 1, H, W)."""

    def __init__(self, nodes, features, form, ratio=8, reduction=8):
        super().__init__()
        self.form = form
        related = nodes // ratio
        hidden = max(1, (1 + related) // reduction)
        self.theta = _embedding(features, features // ratio)
        self.phi = _embedding(features, features // ratio)
        self.g = _embedding(features, features // ratio)
        self.relation = _embedding(2 * nodes, related)
        self.w = _embedding(1 + related, hidden)
        self.w2 = _embedding(hidden, 1)[:2]  # without ReLU

    def forward(self, nodes):
        theta, phi = self.theta(nodes), self.phi(nodes)
        relate = self._relate_directly if self.form == "direct" else self._relate_linearly
        feature = self.g(nodes).mean(dim=1, keepdim=True)
        return self.w2(self.w(torch.cat([feature, relate(theta, phi)], dim=1)))

    def _relate_directly(self, theta, phi):
        size = theta.shape[2:]
        affinity = theta.flatten(2).transpose(1, 2) @ phi.flatten(2)  # (B, N, N)
        rows = affinity.transpose(1, 2).unflatten(2, size)  # (B, N, H, W): G[p, :] at p
        columns = affinity.unflatten(2, size)  # (B, N, H, W): G[:, p] at p
        return self.relation(torch.cat([rows, columns], dim=1))

    def _relate_linearly(self, theta, phi):
        convolution, normalization, relu = self.relation
        size = theta.shape[2:]
        theta, phi = theta.flatten(2), phi.flatten(2)  # (B, D, N)
        kernel_in, kernel_out = convolution.weight.flatten(1).chunk(2, dim=1)  # (M, N) each
        related = (kernel_in @ phi.transpose(1, 2)) @ theta
        related = related + (kernel_out @ theta.transpose(1, 2)) @ phi  # (B, M, N)
        return relu(normalization(related.unflatten(2, size)))


class RGA(nn.Module):
    """RGA-SC: the gate of each pixel, then of each channel."""

    def __init__(self, channels, size, form):
        super().__init__()
        pixels = size * size
        self.spatial = NodeAttention(pixels, channels, form)
        self.channel = NodeAttention(channels, pixels, form)

    def forward(self, x):
        x = x * torch.sigmoid(self.spatial(x))
        planes = x.flatten(2).transpose(1, 2).unsqueeze(3)  # (B, HW, C, 1)
        return x * torch.sigmoid(self.channel(planes)).transpose(1, 2)  # gate (B, C, 1, 1)


class VGGRGA(nn.Module):
    """`keras_salnet.models.VGGRGA` on images (B, 3, size, size), RGB, 0…255.

    Args:
        num_rga: 0…3.
        size: side of the frame, a multiple of 16.
        filters: width of the first stage.
        form: of RGA, ``"direct"`` or ``"linear"``.
    """

    def __init__(self, num_rga=3, size=256, filters=64, form="direct"):
        super().__init__()
        self.register_buffer("means", torch.tensor(_CAFFE_MEANS).reshape(1, 3, 1, 1))

        def block(stage, channels, widths, attended=True):
            layers = []
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            if attended and int(stage) > 5 - num_rga:
                layers.append(RGA(channels, size >> (int(stage) - 1), form))
            return nn.Sequential(*layers)

        self.encoder, self.integration, self.decoder = (nn.ModuleDict() for _ in range(3))
        channels, skipped = 3, {}
        for stage, widths in _ENCODER.items():
            self.encoder[stage] = block(stage, channels, [filters * width for width in widths])
            channels = skipped[stage] = filters * widths[-1]
        for stage, widths in _DECODER.items():
            if stage in _INTEGRATED:
                skip = skipped[stage]
                self.integration[stage] = block(stage, skip, [skip] * 3, attended=False)
                channels += skip
            self.decoder[stage] = block(stage, channels, [filters * width for width in widths])
            channels = filters * widths[-1]
        self.saliency = nn.Conv2d(channels, 1, 1)
        self._initialize()

    def _initialize(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.encoder["1"][0].weight /= 64  # pixels spread by about 64 and not by 1

    def forward(self, images):
        x = images.flip(1) - self.means
        stages = {}
        for stage, block in self.encoder.items():
            if stage != "1":
                x = F.max_pool2d(x, 2)
            x = stages[stage] = block(x)
        for stage, block in self.decoder.items():
            if stage != "5":
                x = F.interpolate(x, scale_factor=2)
            if stage in self.integration:
                x = torch.cat([x, self.integration[stage](stages[stage])], dim=1)
            x = block(x)
        return torch.sigmoid(self.saliency(x).float())


class SaliencyLoss(nn.Module):
    """10·KL − CC − SIM of maps and densities (B, 1, H, W)."""

    def forward(self, maps, densities):
        maps, densities = maps.flatten(1), densities.flatten(1)
        kl = _kl_divergence(_distribution(maps), _distribution(densities))
        sim = torch.minimum(_distribution(_stretch(maps)), _distribution(_stretch(densities)))
        cc = (_standardize(maps) * _standardize(densities)).mean(dim=1)
        return (10 * kl - cc - sim.sum(dim=1)).mean()


def _kl_divergence(maps, densities):
    return (densities * torch.log(_EPS + densities / (maps + _EPS))).sum(dim=1)


def _distribution(maps):
    return maps / maps.sum(dim=1, keepdim=True)


def _stretch(maps):
    low, high = maps.amin(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)
    return (maps - low) / (high - low)


def _standardize(maps):
    centred = maps - maps.mean(dim=1, keepdim=True)
    return centred / centred.square().mean(dim=1, keepdim=True).sqrt()


def load_weights(twin, weights):
    """Copy the weights of a `keras_salnet.models.VGGRGA` into its twin.

    Args:
        twin: `VGGRGA` of this module.
        weights: path of a Keras weight, such as ``block1_conv1/kernel`` → array.
    """
    sides = {"block": twin.encoder, "integration": twin.integration, "decoder": twin.decoder}
    for side, blocks in sides.items():
        for stage, block in blocks.items():
            convolutions = [module for module in block if isinstance(module, nn.Conv2d)]
            for number, convolution in enumerate(convolutions, start=1):
                _load_convolution(convolution, weights, f"{side}{stage}_conv{number}")
            if isinstance(block[-1], RGA):
                for branch in ("spatial", "channel"):
                    path = f"{side}{stage}_rga/{branch}"
                    _load_attention(getattr(block[-1], branch), weights, path)
    _load_convolution(twin.saliency, weights, "saliency")


def _load_convolution(convolution, weights, path):
    _copy(convolution.weight, weights[f"{path}/kernel"], (3, 2, 0, 1))
    _copy(convolution.bias, weights[f"{path}/bias"])


def _load_attention(attention, weights, path):
    for name in ("theta", "phi", "g", "w", "w2"):
        kernel = weights[f"{path}/{name}/conv/kernel"]
        _load_embedding(getattr(attention, name), kernel, weights, f"{path}/{name}/bn")
    kernel = weights[f"{path}/relation_kernel"]
    _load_embedding(attention.relation, kernel, weights, f"{path}/relation_bn")


def _load_embedding(embedding, kernel, weights, path):
    convolution, normalization = embedding[:2]
    _copy(convolution.weight[..., 0, 0], kernel, (1, 0))
    _copy(normalization.weight, weights[f"{path}/gamma"])
    _copy(normalization.bias, weights[f"{path}/beta"])
    _copy(normalization.running_mean, weights[f"{path}/moving_mean"])
    _copy(normalization.running_var, weights[f"{path}/moving_variance"])


@torch.no_grad()
def _copy(tensor, values, axes=(0,)):
    tensor.copy_(torch.tensor(values).permute(axes))
