"""Augmentation: new views of the images in every epoch, drawn as training reads its data.

`fastreg.Trainer(..., augment=...)` takes one of these classes, or a `Compose` of several. Labels stay the same.
Evaluation, prediction and validation see the images as they are.

Images are (H, W), (H, W, C) or (C, H, W). They may have any dtype and strides that training reads, and are never copied
whole. All affine transforms of a `Compose` become one matrix. So each pixel is computed once, from this matrix and the
displacements of an `Elastic`: bilinearly, from its four neighbours. Pixels outside of the image are 0. This equals
`scipy.ndimage.affine_transform(order=1, mode="grid-constant", cval=0)` with that matrix.

The draws for an image are a pure function of the trainer's seed, the epoch and the image's position in the epoch. They
depend neither on the batch size nor on the number of threads.
"""

from fastreg.common.names import missing as _missing
from fastreg.data.augment.base import Augmentation
from fastreg.data.augment.compose import Compose, get
from fastreg.data.augment.parts import Crop, Cutout, Elastic, Flip, Resize, Rotate, Shear, Translate

__all__ = [
    "Augmentation",
    "Compose",
    "Crop",
    "Cutout",
    "Elastic",
    "Flip",
    "Resize",
    "Rotate",
    "Shear",
    "Translate",
    "get",
]

__getattr__ = _missing(__name__, __all__)
