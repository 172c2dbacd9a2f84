"""Convert a detector for RKNN-Toolkit2 without its head, which decodes the boxes.

The detector is examples/zoo/yolov8.py. The application decodes the boxes from the outputs of the last
convolutions.
"""

import importlib.util
from pathlib import Path

import protogen as pg

path = Path(__file__).parents[1] / "zoo" / "yolov8.py"
spec = importlib.util.spec_from_file_location("yolov8", path)
yolov8 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(yolov8)

module, inputs = yolov8.build()
converted = pg.from_torch(module, inputs, outputs=yolov8.HEAD, target="rknn2")
print(converted)
for name in converted.outputs:
    print(name, converted.net.shapes[name])
converted.save("yolov8")
