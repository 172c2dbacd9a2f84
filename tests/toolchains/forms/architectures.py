"""Small nets with the structure of published ones, of 8 to 40 layers."""

from __future__ import annotations

from collections.abc import Iterator

from forms.building import Form, nets

NETS = """
lenet | (whole net) | LeNet: two convolutions and poolings, two inner products | data 1x1x28x28
  conv1 = Convolution(data) num_output: 6 kernel_size: 5
  pool1 = Pooling(conv1) pool: MAX kernel_size: 2 stride: 2
  conv2 = Convolution(pool1) num_output: 16 kernel_size: 5
  pool2 = Pooling(conv2) pool: MAX kernel_size: 2 stride: 2
  ip1 = InnerProduct(pool2) num_output: 20
  relu1: ip1 = ReLU(ip1)
  ip2 = InnerProduct(ip1) num_output: 10
  prob = Softmax(ip2)
alexnet | (whole net) | AlexNet: groups, LRN, pooling with a cut window, Dropout | data 1x3x47x47
  conv1 = Convolution(data) num_output: 8 kernel_size: 7 stride: 2
  relu1: conv1 = ReLU(conv1)
  norm1 = LRN(conv1) local_size: 5 alpha: 0.5 beta: 0.75
  pool1 = Pooling(norm1) pool: MAX kernel_size: 3 stride: 2
  conv2 = Convolution(pool1) num_output: 8 kernel_size: 5 pad: 2 group: 2
  relu2: conv2 = ReLU(conv2)
  pool2 = Pooling(conv2) pool: MAX kernel_size: 3 stride: 2
  fc6 = InnerProduct(pool2) num_output: 16
  relu6: fc6 = ReLU(fc6)
  drop6: fc6 = Dropout(fc6) dropout_ratio: 0.5
  fc7 = InnerProduct(fc6) num_output: 10
  prob = Softmax(fc7)
vgg | (whole net) | VGG: pairs of 3x3 convolutions | data 1x3x32x32
  conv1_1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1
  r11: conv1_1 = ReLU(conv1_1)
  conv1_2 = Convolution(conv1_1) num_output: 8 kernel_size: 3 pad: 1
  r12: conv1_2 = ReLU(conv1_2)
  pool1 = Pooling(conv1_2) pool: MAX kernel_size: 2 stride: 2
  conv2_1 = Convolution(pool1) num_output: 12 kernel_size: 3 pad: 1
  r21: conv2_1 = ReLU(conv2_1)
  pool2 = Pooling(conv2_1) pool: MAX kernel_size: 2 stride: 2
  fc = InnerProduct(pool2) num_output: 10
googlenet | (whole net) | GoogLeNet: an inception block with a padded pooling | data 1x3x31x31
  conv1 = Convolution(data) num_output: 8 kernel_size: 7 pad: 3 stride: 2
  r1: conv1 = ReLU(conv1)
  pool1 = Pooling(conv1) pool: MAX kernel_size: 3 stride: 2
  norm1 = LRN(pool1) local_size: 5 alpha: 0.0001 beta: 0.75
  b1 = Convolution(norm1) num_output: 4 kernel_size: 1
  rb1: b1 = ReLU(b1)
  b2r = Convolution(norm1) num_output: 3 kernel_size: 1
  rb2r: b2r = ReLU(b2r)
  b2 = Convolution(b2r) num_output: 6 kernel_size: 3 pad: 1
  rb2: b2 = ReLU(b2)
  b3p = Pooling(norm1) pool: MAX kernel_size: 3 stride: 1 pad: 1
  b3 = Convolution(b3p) num_output: 2 kernel_size: 1
  rb3: b3 = ReLU(b3)
  inception = Concat(b1, b2, b3)
  pool2 = Pooling(inception) pool: AVE kernel_size: 8 stride: 1
  fc = InnerProduct(pool2) num_output: 10
  prob = Softmax(fc)
resnet | (whole net) | ResNet: BatchNorm and Scale in place, a projection with stride 2 | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 bias_term: false
  bn1: conv1 = BatchNorm(conv1) use_global_stats: true
  sc1: conv1 = Scale(conv1) bias_term: true
  re1: conv1 = ReLU(conv1)
  a1 = Convolution(conv1) num_output: 8 kernel_size: 3 pad: 1 bias_term: false
  bna: a1 = BatchNorm(a1) use_global_stats: true
  sca: a1 = Scale(a1) bias_term: true
  rea: a1 = ReLU(a1)
  a2 = Convolution(a1) num_output: 8 kernel_size: 3 pad: 1 bias_term: false
  bna2: a2 = BatchNorm(a2) use_global_stats: true
  sca2: a2 = Scale(a2) bias_term: true
  sum1 = Eltwise(conv1, a2)
  res1: sum1 = ReLU(sum1)
  b1 = Convolution(sum1) num_output: 12 kernel_size: 3 pad: 1 stride: 2 bias_term: false
  bnb: b1 = BatchNorm(b1) use_global_stats: true
  scb: b1 = Scale(b1) bias_term: true
  p1 = Convolution(sum1) num_output: 12 kernel_size: 1 stride: 2 bias_term: false
  bnp: p1 = BatchNorm(p1) use_global_stats: true
  scp: p1 = Scale(p1) bias_term: true
  sum2 = Eltwise(b1, p1) operation: SUM
  res2: sum2 = ReLU(sum2)
  pool = Pooling(sum2) pool: AVE global_pooling: true
  fc = InnerProduct(pool) num_output: 10
resnet-folded | (whole net) | ResNet with folded BatchNorm, max pooling first | data 1x3x33x33
  conv1 = Convolution(data) num_output: 8 kernel_size: 7 pad: 3 stride: 2
  re1: conv1 = ReLU(conv1)
  pool1 = Pooling(conv1) pool: MAX kernel_size: 3 stride: 2
  a1 = Convolution(pool1) num_output: 8 kernel_size: 3 pad: 1
  rea: a1 = ReLU(a1)
  a2 = Convolution(a1) num_output: 8 kernel_size: 3 pad: 1
  sum1 = Eltwise(pool1, a2)
  res1: sum1 = ReLU(sum1)
  pool = Pooling(sum1) pool: AVE global_pooling: true
  fc = InnerProduct(pool) num_output: 10
  prob = Softmax(fc)
squeezenet | (whole net) | SqueezeNet: two fire blocks, no inner product | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 stride: 2
  r1: conv1 = ReLU(conv1)
  pool1 = Pooling(conv1) pool: MAX kernel_size: 3 stride: 2
  s2 = Convolution(pool1) num_output: 4 kernel_size: 1
  rs2: s2 = ReLU(s2)
  e21 = Convolution(s2) num_output: 6 kernel_size: 1
  re21: e21 = ReLU(e21)
  e23 = Convolution(s2) num_output: 6 kernel_size: 3 pad: 1
  re23: e23 = ReLU(e23)
  f2 = Concat(e21, e23)
  conv10 = Convolution(f2) num_output: 10 kernel_size: 1
  r10: conv10 = ReLU(conv10)
  pool10 = Pooling(conv10) pool: AVE global_pooling: true
  prob = Softmax(pool10)
mobilenet-v1 | (whole net) | MobileNet v1: depthwise by group, BatchNorm, Scale | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2 bias_term: false
  bn1: b1 = BatchNorm(conv1) use_global_stats: true eps: 0.00001
  sc1: b1 = Scale(b1) bias_term: true
  re1: b1 = ReLU(b1)
  dw2 = Convolution(b1) num_output: 8 kernel_size: 3 pad: 1 group: 8 bias_term: false engine: CAFFE
  bn2: b2 = BatchNorm(dw2) use_global_stats: true eps: 0.00001
  sc2: b2 = Scale(b2) bias_term: true
  re2: b2 = ReLU(b2)
  pw2 = Convolution(b2) num_output: 16 kernel_size: 1 bias_term: false
  bn3: b3 = BatchNorm(pw2) use_global_stats: true eps: 0.00001
  sc3: b3 = Scale(b3) bias_term: true
  re3: b3 = ReLU(b3)
  pool = Pooling(b3) pool: AVE global_pooling: true
  fc7 = Convolution(pool) num_output: 10 kernel_size: 1
  prob = Softmax(fc7)
mobilenet-v2 | (whole net) | MobileNet v2: inverted residual, ReLU6 | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  re1: conv1 = ReLU6(conv1)
  ex = Convolution(conv1) num_output: 16 kernel_size: 1
  reex: ex = ReLU6(ex)
  dw = Convolution(ex) num_output: 16 kernel_size: 3 pad: 1 group: 16
  redw: dw = ReLU6(dw)
  pw = Convolution(dw) num_output: 8 kernel_size: 1
  sum = Eltwise(conv1, pw)
  pool = Pooling(sum) pool: AVE global_pooling: true
  fc = InnerProduct(pool) num_output: 10
mobilenet-v3 | (whole net) | MobileNet v3: squeeze-and-excite, hard swish by stock layers | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  h1 = Scale(conv1) bias_term: true
  h1r = ReLU(h1)
  h2 = Scale(h1r) bias_term: true
  h2r = ReLU(h2)
  m1 = Eltwise(conv1, h2r) operation: PROD
  g = Pooling(m1) pool: AVE global_pooling: true
  f1 = Convolution(g) num_output: 4 kernel_size: 1
  rf1: f1 = ReLU(f1)
  f2 = Convolution(f1) num_output: 8 kernel_size: 1
  s = Sigmoid(f2)
  sp = Reshape(s) shape { dim: 0 dim: 8 }
  y = Scale(m1, sp) axis: 0
  fc = Convolution(y) num_output: 10 kernel_size: 1
shufflenet-v1 | (whole net) | ShuffleNet v1: ShuffleChannel, padded average pooling | data 1x3x33x33
  conv1 = Convolution(data) num_output: 12 kernel_size: 3 pad: 1 stride: 2
  r1: conv1 = ReLU(conv1)
  g1 = Convolution(conv1) num_output: 12 kernel_size: 1 group: 3
  rg1: g1 = ReLU(g1)
  sh = ShuffleChannel(g1) group: 3
  dw = Convolution(sh) num_output: 12 kernel_size: 3 pad: 1 stride: 2 group: 12
  g2 = Convolution(dw) num_output: 12 kernel_size: 1 group: 3
  p = Pooling(conv1) pool: AVE kernel_size: 3 stride: 2 pad: 1
  cat = Concat(p, g2)
  rc: cat = ReLU(cat)
  pool = Pooling(cat) pool: AVE global_pooling: true
  fc = InnerProduct(pool) num_output: 10
shufflenet-v2 | (whole net) | ShuffleNet v2: Slice, Concat, shuffle by Reshape and Permute | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  r1: conv1 = ReLU(conv1)
  left right = Slice(conv1) axis: 1 slice_point: 4
  a = Convolution(right) num_output: 4 kernel_size: 1
  ra: a = ReLU(a)
  b = Convolution(a) num_output: 4 kernel_size: 3 pad: 1 group: 4
  c = Convolution(b) num_output: 4 kernel_size: 1
  rc: c = ReLU(c)
  cat = Concat(left, c)
  s1 = Reshape(cat) shape { dim: 0 dim: 2 dim: 4 dim: -1 }
  s2 = Permute(s1) order: 0 order: 2 order: 1 order: 3
  s3 = Reshape(s2) shape { dim: 0 dim: 8 dim: 16 dim: 16 }
  d = Convolution(s3) num_output: 10 kernel_size: 1
  pool = Pooling(d) pool: AVE global_pooling: true
densenet | (whole net) | DenseNet: pre-activation and Concat | data 1x3x24x24
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1
  b1 = BatchNorm(conv1)
  s1: b1 = Scale(b1) bias_term: true
  r1: b1 = ReLU(b1)
  c1 = Convolution(b1) num_output: 4 kernel_size: 3 pad: 1 bias_term: false
  cat1 = Concat(conv1, c1)
  b2 = BatchNorm(cat1)
  s2: b2 = Scale(b2) bias_term: true
  r2: b2 = ReLU(b2)
  c2 = Convolution(b2) num_output: 4 kernel_size: 3 pad: 1 bias_term: false
  cat2 = Concat(cat1, c2)
  t = Pooling(cat2) pool: AVE kernel_size: 2 stride: 2
  pool = Pooling(t) pool: AVE global_pooling: true
  fc = InnerProduct(pool) num_output: 10
fcn | (whole net) | FCN: bilinear Deconvolution, Crop, sum of two scores | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  r1: conv1 = ReLU(conv1)
  pool = Pooling(conv1) pool: MAX kernel_size: 2 stride: 2
  score = Convolution(pool) num_output: 5 kernel_size: 1
  up2 = Deconvolution(score) num_output: 5 kernel_size: 4 stride: 2 group: 5 bias_term: false
  score2 = Convolution(conv1) num_output: 5 kernel_size: 1
  cr = Crop(up2, score2) axis: 2 offset: 1
  fuse = Eltwise(cr, score2)
  up = Deconvolution(fuse) num_output: 5 kernel_size: 4 stride: 2 group: 5 bias_term: false
  y = Crop(up, data) axis: 2 offset: 1
unet | (whole net) | U-Net: Deconvolution and Concat | data 1x3x24x24
  d1 = Convolution(data) num_output: 6 kernel_size: 3 pad: 1
  rd1: d1 = ReLU(d1)
  p1 = Pooling(d1) pool: MAX kernel_size: 2 stride: 2
  d2 = Convolution(p1) num_output: 12 kernel_size: 3 pad: 1
  rd2: d2 = ReLU(d2)
  u1 = Deconvolution(d2) num_output: 6 kernel_size: 2 stride: 2
  cat = Concat(d1, u1)
  d3 = Convolution(cat) num_output: 6 kernel_size: 3 pad: 1
  rd3: d3 = ReLU(d3)
  y = Convolution(d3) num_output: 2 kernel_size: 1
  prob = Softmax(y) axis: 1
ssd | (whole net) | SSD: heads of Permute, Flatten and Concat, Softmax over classes | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 4
  r1: conv1 = ReLU(conv1)
  conv2 = Convolution(conv1) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  r2: conv2 = ReLU(conv2)
  l1 = Convolution(conv1) num_output: 8 kernel_size: 3 pad: 1
  l1p = Permute(l1) order: 0 order: 2 order: 3 order: 1
  l1f = Flatten(l1p) axis: 1
  l2 = Convolution(conv2) num_output: 8 kernel_size: 3 pad: 1
  l2p = Permute(l2) order: 0 order: 2 order: 3 order: 1
  l2f = Flatten(l2p) axis: 1
  loc = Concat(l1f, l2f) axis: 1
  c1 = Convolution(conv1) num_output: 6 kernel_size: 3 pad: 1
  c1p = Permute(c1) order: 0 order: 2 order: 3 order: 1
  c1f = Flatten(c1p) axis: 1
  c2 = Convolution(conv2) num_output: 6 kernel_size: 3 pad: 1
  c2p = Permute(c2) order: 0 order: 2 order: 3 order: 1
  c2f = Flatten(c2p) axis: 1
  conf = Concat(c1f, c2f) axis: 1
  conf_r = Reshape(conf) shape { dim: 0 dim: -1 dim: 3 }
  conf_s = Softmax(conf_r) axis: 2
  conf_f = Flatten(conf_s) axis: 1
yolo | (whole net) | YOLO v3: leaky ReLU, Upsample, Concat, two outputs | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  bn1: conv1 = BatchNorm(conv1) use_global_stats: true
  sc1: conv1 = Scale(conv1) bias_term: true
  re1: conv1 = ReLU(conv1) negative_slope: 0.1
  conv2 = Convolution(conv1) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  re2: conv2 = ReLU(conv2) negative_slope: 0.1
  out13 = Convolution(conv2) num_output: 12 kernel_size: 1
  c3 = Convolution(conv2) num_output: 4 kernel_size: 1
  re3: c3 = ReLU(c3) negative_slope: 0.1
  up = Upsample(c3) scale: 2
  cat = Concat(up, conv1)
  out26 = Convolution(cat) num_output: 12 kernel_size: 1
yolo-swish | (whole net) | YOLO v5: Sigmoid and product, pyramid pooling, nearest by Deconvolution | data 1x3x32x32
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  s1 = Sigmoid(conv1)
  m1 = Eltwise(conv1, s1) operation: PROD
  c2 = Convolution(m1) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  s2 = Sigmoid(c2)
  m2 = Eltwise(c2, s2) operation: PROD
  p1 = Pooling(m2) pool: MAX kernel_size: 5 stride: 1 pad: 2
  p2 = Pooling(p1) pool: MAX kernel_size: 5 stride: 1 pad: 2
  spp = Concat(m2, p1, p2)
  c3 = Convolution(spp) num_output: 8 kernel_size: 1
  up = Deconvolution(c3) num_output: 8 kernel_size: 2 stride: 2 group: 8 bias_term: false
  cat = Concat(up, m1)
  y = Convolution(cat) num_output: 12 kernel_size: 1
mtcnn | (whole net) | MTCNN's first net: PReLU, two outputs | data 1x3x24x24
  conv1 = Convolution(data) num_output: 10 kernel_size: 3
  PReLU1: conv1 = PReLU(conv1)
  pool1 = Pooling(conv1) pool: MAX kernel_size: 2 stride: 2
  conv2 = Convolution(pool1) num_output: 16 kernel_size: 3
  PReLU2: conv2 = PReLU(conv2)
  conv4-1 = Convolution(conv2) num_output: 2 kernel_size: 1
  conv4-2 = Convolution(conv2) num_output: 4 kernel_size: 1
  prob1 = Softmax(conv4-1)
arcface | (whole net) | a face embedding: BatchNorm first, PReLU, InnerProduct, Scale of a vector | data 1x3x16x16
  b0 = BatchNorm(data) use_global_stats: true
  s0: b0 = Scale(b0) bias_term: true
  conv1 = Convolution(b0) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  p1: conv1 = PReLU(conv1)
  conv2 = Convolution(conv1) num_output: 8 kernel_size: 3 pad: 1
  sum = Eltwise(conv1, conv2)
  fc = InnerProduct(sum) num_output: 16
  b1 = BatchNorm(fc) use_global_stats: true
  s1: b1 = Scale(b1) bias_term: true
segnet | (whole net) | an encoder with AVE pooling and Interp to the size of the input | data 1x3x33x33
  conv1 = Convolution(data) num_output: 8 kernel_size: 3 pad: 1 stride: 2
  r1: conv1 = ReLU(conv1)
  conv2 = Convolution(conv1) num_output: 8 kernel_size: 3 pad: 2 dilation: 2
  r2: conv2 = ReLU(conv2)
  pool = Pooling(conv2) pool: AVE kernel_size: 17 stride: 17
  pc = Convolution(pool) num_output: 4 kernel_size: 1
  up = Interp(pc) height: 17 width: 17
  cat = Concat(conv2, up)
  score = Convolution(cat) num_output: 5 kernel_size: 1
  y = Interp(score) height: 33 width: 33
super-resolution | (whole net) | ESPCN: TanH, depth to space by Reshape and Permute | data 1x1x12x14
  conv1 = Convolution(data) num_output: 8 kernel_size: 5 pad: 2
  t1: conv1 = TanH(conv1)
  conv2 = Convolution(conv1) num_output: 4 kernel_size: 3 pad: 1
  a = Reshape(conv2) shape { dim: 0 dim: 2 dim: 2 dim: 12 dim: 14 }
  b = Permute(a) order: 0 order: 3 order: 1 order: 4 order: 2
  y = Reshape(b) shape { dim: 0 dim: 1 dim: 24 dim: 28 }
autoencoder | (whole net) | an autoencoder of inner products, with Sigmoid and Flatten | data 2x1x8x8
  f = Flatten(data)
  e1 = InnerProduct(f) num_output: 20
  s1: e1 = Sigmoid(e1)
  code = InnerProduct(e1) num_output: 5
  d1 = InnerProduct(code) num_output: 20
  s2: d1 = Sigmoid(d1)
  d2 = InnerProduct(d1) num_output: 64
  y = Reshape(d2) shape { dim: 0 dim: 1 dim: 8 dim: 8 }
siamese | (whole net) | two inputs with shared weights, and their difference | a 1x1x12x12; b 1x1x12x12
  conv = Convolution(a) num_output: 4 kernel_size: 3 ! param { name: "w" } param { name: "b" }
  conv_p = Convolution(b) num_output: 4 kernel_size: 3 ! param { name: "w" } param { name: "b" }
  f = InnerProduct(conv) num_output: 3 ! param { name: "iw" } param { name: "ib" }
  f_p = InnerProduct(conv_p) num_output: 3 ! param { name: "iw" } param { name: "ib" }
  d = Eltwise(f, f_p) operation: SUM coeff: 1 coeff: -1
preprocessed | (whole net) | mean and scale by Power in front of a small net with ELU | data 1x3x16x16
  scaled = Power(data) scale: 0.5 shift: -0.2
  conv1 = Convolution(scaled) num_output: 6 kernel_size: 3 stride: 2
  e1: conv1 = ELU(conv1) alpha: 1
  conv2 = Convolution(conv1) num_output: 6 kernel_size: 3
  e2: conv2 = ELU(conv2) alpha: 1
  fc = InnerProduct(conv2) num_output: 4
crnn | (whole net) | CRNN's reader: convolutions to a row, Permute, InnerProduct along the last axis | data 1x1x16x32
  conv1 = Convolution(data) num_output: 6 kernel_size: 3 pad: 1
  r1: conv1 = ReLU(conv1)
  pool1 = Pooling(conv1) pool: MAX kernel_size: 2 stride: 2
  conv2 = Convolution(pool1) num_output: 8 kernel_size: 3 pad: 1
  r2: conv2 = ReLU(conv2)
  pool2 = Pooling(conv2) pool: MAX kernel_h: 8 kernel_w: 1 stride_h: 8 stride_w: 1
  p = Permute(pool2) order: 3 order: 0 order: 1 order: 2
  fc = InnerProduct(p) num_output: 5 axis: 2
  y = Softmax(fc) axis: 2
"""


def forms() -> Iterator[Form]:
    """Yield the forms, in order."""
    yield from nets("net-of", NETS)
