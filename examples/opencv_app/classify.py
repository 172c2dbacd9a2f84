"""A program for OpenCV 4. `protogen check --opencv5 examples` finds its model and what to change."""

import sys

import cv2

net = cv2.dnn.readNetFromCaffe("tiny.prototxt", "tiny.caffemodel")
image = cv2.imread(sys.argv[1])
blob = cv2.dnn.blobFromImage(image, 1 / 127.5, (32, 32), (104, 117, 123), swapRB=False)
net.setInput(blob)
print(net.forward("prob").argmax())
