"""Running nets on arrays and images, with onnxruntime or with OpenCV's Caffe reader."""
