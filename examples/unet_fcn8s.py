"""A U-Net and an FCN-8s with the NetSpec interface of pycaffe, without Caffe.

protogen computes all shapes. Both nets end with upsampling whose crop offsets and kernels must match the
input: the script prints the shapes of input and output.
"""

from protogen import NetSpec
from protogen import layers as L
from protogen import params as P


def conv_relu(bottom, num_output, kernel_size=3, pad=1):
    conv = L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        pad=pad,
        weight_filler=dict(type="msra"),
    )
    return conv, L.ReLU(conv, in_place=True)


def bilinear(bottom, channels, factor):
    """Upsample with Caffe's classic layer: kernel 2f - f % 2, stride f, pad ceil((f - 1) / 2)."""
    return L.Deconvolution(
        bottom,
        convolution_param=dict(
            num_output=channels, group=channels, kernel_size=2 * factor - factor % 2, stride=factor,
            pad=factor // 2, bias_term=False, weight_filler=dict(type="bilinear"),
        ),
        param=[dict(lr_mult=0, decay_mult=0)],
    )  # fmt: skip


def unet(size=64, channels=(16, 32, 64)):
    n = NetSpec()
    n.data = top = L.Input(shape=dict(dim=[1, 3, size, size]))
    skips = []
    for i, width in enumerate(channels):
        n[f"down{i}"], n[f"down{i}_relu"] = conv_relu(top, width)
        top = n[f"down{i}_relu"]
        if i < len(channels) - 1:
            skips.append(top)
            n[f"pool{i}"] = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    for i, width in reversed(list(enumerate(channels[:-1]))):
        n[f"up{i}"] = bilinear(top, channels[i + 1], 2)
        n[f"join{i}"] = L.Concat(n[f"up{i}"], skips[i])
        n[f"fuse{i}"], n[f"fuse{i}_relu"] = conv_relu(n[f"join{i}"], width)
        top = n[f"fuse{i}_relu"]
    n.score = L.Convolution(top, num_output=2, kernel_size=1, weight_filler=dict(type="xavier"))
    return n


def fcn8s(size=224, classes=21):
    """Build VGG16 with scores from pool3, pool4 and fc7; pad 100 and crops equal the published net."""
    n = NetSpec()
    n.data = top = L.Input(shape=dict(dim=[1, 3, size, size]))
    for block, (count, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for i in range(1, count + 1):
            pad = 100 if block == i == 1 else 1
            n[f"conv{block}_{i}"], n[f"relu{block}_{i}"] = conv_relu(top, width, pad=pad)
            top = n[f"relu{block}_{i}"]
        n[f"pool{block}"] = top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.fc6, n.relu6 = conv_relu(n.pool5, 4096, kernel_size=7, pad=0)
    n.fc7, n.relu7 = conv_relu(n.relu6, 4096, kernel_size=1, pad=0)
    n.score_fr = L.Convolution(n.relu7, num_output=classes, kernel_size=1)
    up = dict(num_output=classes, bias_term=False)
    n.upscore2 = L.Deconvolution(n.score_fr, convolution_param=dict(up, kernel_size=4, stride=2))
    n.score_pool4 = L.Convolution(n.pool4, num_output=classes, kernel_size=1)
    n.score_pool4c = L.Crop(n.score_pool4, n.upscore2, axis=2, offset=5)
    n.fuse_pool4 = L.Eltwise(n.upscore2, n.score_pool4c, operation=P.Eltwise.SUM)
    n.upscore_pool4 = L.Deconvolution(
        n.fuse_pool4, convolution_param=dict(up, kernel_size=4, stride=2)
    )
    n.score_pool3 = L.Convolution(n.pool3, num_output=classes, kernel_size=1)
    n.score_pool3c = L.Crop(n.score_pool3, n.upscore_pool4, axis=2, offset=9)
    n.fuse_pool3 = L.Eltwise(n.upscore_pool4, n.score_pool3c, operation=P.Eltwise.SUM)
    n.upscore8 = L.Deconvolution(n.fuse_pool3, convolution_param=dict(up, kernel_size=16, stride=8))
    n.score = L.Crop(n.upscore8, n.data, axis=2, offset=31)
    return n


if __name__ == "__main__":
    for name, spec in (("unet", unet()), ("fcn8s", fcn8s())):
        with open(f"{name}.prototxt", "w", encoding="utf-8") as file:
            file.write(f'name: "{name}"\n{spec.to_proto()}')
        net = spec.to_net()
        print(f"{name}: {len(net.layers)} layers, {net.shapes['data']} to {net.shapes['score']}")
