"""Factories of the zoo, as `--model zoo.networks:NAME`: each takes the number of classes, and gives random weights.

Variants are small and heads narrow, so that each takes seconds on two cores at 128x256; blocks and forward passes are
the libraries' own. What a network returns is left as it is: a tensor, a tuple, a list, a dict or a ModelOutput, at the
input's size or at a fraction of it. FastViT is not among them: the backward pass of torch 2.13's CPU build dies in it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo import heads, libraries

HEIGHT, WIDTH = 128, 256
"""Input of the networks; some transformers hold a table of positions for it."""


# Written from papers.


def pidnet_s(num_classes: int, in_channels: int = 3) -> nn.Module:
    from zoo.pidnet import PidNet

    return PidNet(num_classes, in_channels)


def topformer_tiny(num_classes: int, in_channels: int = 3) -> nn.Module:
    from zoo.topformer import TopFormer

    return TopFormer(num_classes, in_channels)


def stdc1(num_classes: int, in_channels: int = 3) -> nn.Module:
    from zoo.stdc import Stdc

    return Stdc(num_classes, in_channels)


# segmentation-models-pytorch.


def smp_unet_mobilenetv2(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _smp("Unet", "mobilenet_v2", num_classes, in_channels)


def smp_deeplabv3plus_resnet18(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _smp("DeepLabV3Plus", "resnet18", num_classes, in_channels)


def smp_linknet_resnet18(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _smp("Linknet", "resnet18", num_classes, in_channels)


def smp_pan_resnet18(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _smp("PAN", "resnet18", num_classes, in_channels)


def smp_fpn_efficientnet_b0(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _smp("FPN", "efficientnet-b0", num_classes, in_channels)


def smp_manet_resnet18(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _smp("MAnet", "resnet18", num_classes, in_channels)


def smp_segformer_b0(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _smp("Segformer", "mit_b0", num_classes, in_channels)


def smp_dpt_vit_tiny(num_classes: int, in_channels: int = 3) -> nn.Module:
    return libraries.smp().DPT(
        "tu-vit_tiny_patch16_224",
        encoder_weights=None,
        in_channels=in_channels,
        classes=num_classes,
        encoder_depth=4,
        decoder_intermediate_channels=(32, 64, 96, 96),
        decoder_fusion_channels=64,
        dynamic_img_size=True,
    )


def _smp(decoder: str, encoder: str, num_classes: int, in_channels: int) -> nn.Module:
    build = getattr(libraries.smp(), decoder)
    return build(encoder, encoder_weights=None, in_channels=in_channels, classes=num_classes)


# transformers.


def segformer_b0(num_classes: int, in_channels: int = 3) -> nn.Module:
    library = libraries.transformers()
    config = library.SegformerConfig(num_labels=num_classes, num_channels=in_channels)
    return library.SegformerForSemanticSegmentation(config)


def upernet_swin(num_classes: int, in_channels: int = 3) -> nn.Module:
    library = libraries.transformers()
    backbone = library.SwinConfig(
        image_size=(HEIGHT, WIDTH),
        num_channels=in_channels,
        embed_dim=48,
        depths=[2, 2, 2, 2],
        num_heads=[2, 4, 8, 16],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = library.UperNetConfig(
        backbone_config=backbone,
        num_labels=num_classes,
        hidden_size=64,
        auxiliary_in_channels=192,
        auxiliary_channels=64,
    )
    return library.UperNetForSemanticSegmentation(config)


def beit(num_classes: int, in_channels: int = 3) -> nn.Module:
    library = libraries.transformers()
    config = library.BeitConfig(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=(HEIGHT, WIDTH),
        num_channels=in_channels,
        num_labels=num_classes,
        use_relative_position_bias=True,
        out_indices=[1, 2, 3, 4],
        auxiliary_channels=64,
    )
    return library.BeitForSemanticSegmentation(config)


def dinov2_linear(num_classes: int, in_channels: int = 3) -> nn.Module:
    library = libraries.transformers()
    config = library.Dinov2Config(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        image_size=128,
        patch_size=16,
        num_channels=in_channels,
    )
    encoder = library.Dinov2Model(config)
    return heads.OfTokens(encoder, config.hidden_size, prefix=1, patch=config.patch_size, num_classes=num_classes)


def mobilevit_deeplabv3(num_classes: int, in_channels: int = 3) -> nn.Module:
    library = libraries.transformers()
    config = library.MobileViTConfig(  # its variant XXS
        num_labels=num_classes,
        num_channels=in_channels,
        hidden_sizes=[64, 80, 96],
        neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        expand_ratio=2.0,
        aspp_out_channels=64,
    )
    return library.MobileViTForSemanticSegmentation(config)


def mobilenetv2_deeplabv3plus(num_classes: int, in_channels: int = 3) -> nn.Module:
    library = libraries.transformers()
    config = library.MobileNetV2Config(num_labels=num_classes, num_channels=in_channels, output_stride=16)
    return library.MobileNetV2ForSemanticSegmentation(config)


# timm's backbones with a head of `zoo.heads`.


def edgenext_fpn(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _timm(heads.Summed, "edgenext_xx_small", num_classes, in_channels)


def convnext_fpn(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _timm(heads.Summed, "convnext_atto", num_classes, in_channels)


def efficientvit_fpn(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _timm(heads.Summed, "efficientvit_b0", num_classes, in_channels)


def ghostnet_fpn(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _timm(heads.Summed, "ghostnet_100", num_classes, in_channels, out_indices=(1, 2, 3, 4))


def repvit_fpn(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _timm(heads.Summed, "repvit_m0_9", num_classes, in_channels)


def hrnet_w18_joined(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _timm(
        heads.Joined, "hrnet_w18_small", num_classes, in_channels, out_indices=(1, 2, 3, 4), feature_location=""
    )


def mobilenetv4_joined(num_classes: int, in_channels: int = 3) -> nn.Module:
    return _timm(heads.Joined, "mobilenetv4_conv_small", num_classes, in_channels, out_indices=(1, 2, 3, 4))


def mobilenetv3_lraspp(num_classes: int, in_channels: int = 3) -> nn.Module:
    backbone = _backbone("mobilenetv3_small_100", in_channels, out_indices=(2, 4))
    fine, coarse = backbone.feature_info.channels()
    return heads.LiteReducedAspp(backbone, fine, coarse, num_classes)


def vit_linear(num_classes: int, in_channels: int = 3) -> nn.Module:
    encoder = libraries.timm().create_model(
        "vit_tiny_patch16_224",
        img_size=(HEIGHT, WIDTH),
        in_chans=in_channels,
        depth=4,
        num_classes=0,
        global_pool="",
    )
    return heads.OfTokens(encoder, encoder.embed_dim, prefix=1, patch=16, num_classes=num_classes)


def _timm(
    head: type[heads.Summed] | type[heads.Joined], name: str, num_classes: int, in_channels: int, **options: Any
) -> nn.Module:
    backbone = _backbone(name, in_channels, **options)
    return head(backbone, backbone.feature_info.channels(), num_classes)


def _backbone(name: str, in_channels: int, **options: Any) -> nn.Module:
    return libraries.timm().create_model(name, features_only=True, in_chans=in_channels, **options)


FACTORIES = (
    pidnet_s,
    topformer_tiny,
    stdc1,
    smp_unet_mobilenetv2,
    smp_deeplabv3plus_resnet18,
    smp_linknet_resnet18,
    smp_pan_resnet18,
    smp_fpn_efficientnet_b0,
    smp_manet_resnet18,
    smp_segformer_b0,
    smp_dpt_vit_tiny,
    segformer_b0,
    upernet_swin,
    beit,
    dinov2_linear,
    mobilevit_deeplabv3,
    mobilenetv2_deeplabv3plus,
    edgenext_fpn,
    convnext_fpn,
    efficientvit_fpn,
    ghostnet_fpn,
    repvit_fpn,
    hrnet_w18_joined,
    mobilenetv4_joined,
    mobilenetv3_lraspp,
    vit_linear,
)
NAMES = tuple(factory.__name__ for factory in FACTORIES)
