"""`labelme`: an annotation file that Labelme draws exactly.

Labelme draws a polygon's outline through pixel centres and fills it, so points are pixel centres; the first pixel is at 0, 0.
Simplified outlines run between pixels, where neighbours share them. A connected part is a polygon if it has no holes, otherwise
a mask. Parts of one segment share a `group_id`. Background is omitted.
https://github.com/wkentaro/labelme/blob/main/labelme/_label_file.py
"""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.answers.flat_png import encode_png
from handler.answers.response import EncodedResponse, json_response
from handler.masks.polygons import Polygon, Ring, trace_polygons
from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_objects
from handler.options import AnswerOptions, ModelIdentity

#: The first version of Labelme whose shapes may be masks.
_VERSION = "5.4.0"


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode the file with a null `imageData`: Labelme reads the image from `imagePath`, which is `options.image_name`."""
    del model  # The format has no field for it.
    segments = find_objects(result, options)
    outlines = trace_polygons(segments, options.tolerance)
    height, width = segments.size
    return json_response(
        {
            "version": _VERSION,
            "flags": {},
            "shapes": [
                {
                    "label": segment.label,
                    "group_id": number,
                    "description": "",
                    "flags": {},
                    **_encode_shape(part, options.tolerance),
                }
                for number, segment in enumerate(segments.items, start=1)
                for part in outlines[segment.id]
            ],
            "imagePath": options.image_name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
    )


def _encode_shape(part: Polygon, tolerance: float) -> dict[str, Any]:
    if len(part) > 1:
        return _encode_mask(part)
    # Simplified outlines stay between pixels, where neighbours share them.
    points = np.array(part[0]) - 0.5 if tolerance else _move_to_pixel_centres(part[0])
    return {"shape_type": "polygon", "points": list(zip(*points[:-1].T.tolist(), strict=True)), "mask": None}


def _encode_mask(part: Polygon) -> dict[str, Any]:
    """Encode the bounding box, with corners at pixel centres, and the mask within it."""
    from rasterio import features

    exterior = np.array(part[0])
    top_left, bottom_right = exterior.min(axis=0), exterior.max(axis=0)
    local_rings: Polygon = [[(x - int(top_left[0]), y - int(top_left[1])) for x, y in ring] for ring in part]
    width, height = (bottom_right - top_left).tolist()
    mask = features.rasterize([{"type": "Polygon", "coordinates": local_rings}], out_shape=(height, width), dtype=np.uint8)
    png = encode_png(mask.astype(np.bool_))
    return {
        "shape_type": "mask",
        "points": [top_left.tolist(), (bottom_right - 1).tolist()],
        "mask": base64.b64encode(png).decode("ascii"),
    }


def _move_to_pixel_centres(exterior: Ring) -> npt.NDArray[np.int64]:
    """Move a ring on pixel edges inwards to the centres of the pixels along it; return it closed, n×2.

    Where the part is one pixel wide, the ring runs there and back.
    """
    corners = np.array(exterior)
    directions = np.sign(np.diff(corners, axis=0))
    inward_normals = np.stack([-directions[:, 1], directions[:, 0]], axis=1)
    # A corner moves half a pixel away from both of its edges; in coordinates of pixel centres, another half up and left.
    offsets = (inward_normals + np.roll(inward_normals, 1, axis=0) - 1) // 2
    centres = corners[:-1] + offsets
    return np.concatenate([centres, centres[:1]])
