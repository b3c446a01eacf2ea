#!/usr/bin/env python3
"""Makes fixtures/preprocessing: what open_clip, transformers and timm make of pictures by configurations of every kind.

    pip install transformers open_clip_torch timm safetensors
    python scripts/make_preprocessing.py

Each case is the text of a configuration file, a picture of fixtures/images/preprocess, and the expected pixel values.
"""

import json
from pathlib import Path

import numpy as np
import timm.data
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from safetensors.numpy import save_file
from transformers import AutoImageProcessor

ROOT = Path(__file__).parent.parent / "fixtures"
PICTURES = ROOT / "images/preprocess/files"
OUT = ROOT / "preprocessing"

ODD = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.3, 0.2]}

OPEN_CLIP = {
    "longest": ({"size": 16, "resize_mode": "longest"}, ["portrait", "cmyk", "rgba"]),
    "longest_fill": (
        {"size": [12, 18], "resize_mode": "longest", "fill_color": 99, "interpolation": "bilinear", **ODD},
        ["photo", "cmyk", "rgba"],
    ),
    "oblong": ({"size": [20, 14], "resize_mode": "shortest", "interpolation": "bilinear"}, ["photo", "portrait"]),
    "squash": ({"size": [12, 18], "resize_mode": "squash", "interpolation": "bilinear", "mean": 0.5, "std": 0.25}, ["photo"]),
    "random": ({"size": 16, "interpolation": "random", "mean": None, "std": 0}, ["photo"]),
}

TRANSFORMERS = {
    "pads": (
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 9}, "crop_size": {"height": 14, "width": 15}},
        ["photo", "portrait"],
    ),
    "siglip_edge": (
        {"image_processor_type": "SiglipImageProcessor", "size": 11, "crop_size": 10, "do_center_crop": True},
        ["photo"],
    ),
    "clip_square": (
        {
            "image_processor_type": "CLIPImageProcessorFast",
            "size": {"height": 12, "width": 17},
            "do_center_crop": False,
            "image_mean": [0.1, 0.2, 0.3],
            "image_std": 0.3,
            "rescale_factor": 0.01,
        },
        ["photo"],
    ),
    **{
        f"resample_{number}": (
            {"image_processor_type": "ViTImageProcessor", "size": {"height": 13, "width": 10}, "resample": number},
            ["photo"],
        )
        for number in (0, 1, 2, 4, 5)
    },
    "grey_levels": (
        {
            "image_processor_type": "BlipImageProcessor",
            "size": {"height": 8, "width": 8},
            "do_rescale": False,
            "do_normalize": False,
        },
        ["photo"],
    ),
}

TIMM = {
    "center": ({"input_size": [3, 14, 14], "crop_pct": 0.9, "interpolation": "bicubic", **ODD}, ["photo"]),
    "border": ({"input_size": [3, 14, 14], "crop_pct": 1.0, "crop_mode": "border", "interpolation": "bilinear"}, ["photo"]),
    "squash": ({"input_size": [3, 14, 12], "crop_pct": 0.8, "crop_mode": "squash", "interpolation": "lanczos"}, ["portrait"]),
}


def opened(picture):
    path = next(PICTURES.glob(f"{picture}.*"))
    return Image.open(path)


def by_open_clip(cfg, picture):
    merged = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), cfg))
    return image_transform_v2(merged, is_train=False)(opened(picture)).numpy()


def by_transformers(cfg, picture, folder=Path("/tmp/preprocessing")):
    folder.mkdir(exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(cfg))
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return np.asarray(processor(images=opened(picture).convert("RGB"), return_tensors="np")["pixel_values"][0])


def by_timm(cfg, picture):
    data = timm.data.resolve_data_config({}, pretrained_cfg=cfg)
    return timm.data.create_transform(**data)(opened(picture).convert("RGB")).numpy()


def main():
    cases, outputs = [], {}
    for source, table, call in [
        ("open_clip", OPEN_CLIP, by_open_clip),
        ("transformers", TRANSFORMERS, by_transformers),
        ("timm", TIMM, by_timm),
    ]:
        for name, (cfg, pictures) in table.items():
            for picture in pictures:
                tensor = f"{source}.{name}.{picture}"
                outputs[tensor] = np.ascontiguousarray(call(cfg, picture).astype(np.float32))
                cases.append({"source": source, "config": cfg, "picture": picture, "tensor": tensor})
    OUT.mkdir(exist_ok=True)
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    (OUT / "cases.json").write_text(f"[\n  {lines}\n]\n")
    save_file(outputs, OUT / "outputs.safetensors")


if __name__ == "__main__":
    main()
