"""Augmentation: other views of the same images, drawn anew for every epoch while training reads its data.

`fastreg.Trainer(..., augment=...)` takes one of these, or a `Compose` of several. Labels stay. Evaluation, prediction
and validation see the images as they are.

Images are (H, W), (H, W, C) or (C, H, W), of any dtype and strides that training reads, and are never copied whole. All
affine transforms of a `Compose` become one matrix, and with it, and the displacements of an `Elastic`, each pixel is
found once: bilinear between its four neighbours; pixels outside of the image are 0. That equals
`scipy.ndimage.affine_transform(order=1, mode="grid-constant", cval=0)` with that matrix.

The draws of an image are a pure function of the trainer's seed, the epoch and the image's position in the epoch: they
depend neither on the batch size nor on the number of threads.
"""

from fastreg.data.augment.base import Augmentation
from fastreg.data.augment.compose import Compose, get
from fastreg.data.augment.parts import Crop, Elastic, Flip, Resize, Rotate, Shear, Translate

__all__ = ["Augmentation", "Compose", "Crop", "Elastic", "Flip", "Resize", "Rotate", "Shear", "Translate", "get"]
