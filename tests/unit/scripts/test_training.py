from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from model import CheckpointError, DeepLabV3, load_checkpoint
from model.backbones import BACKBONES
from model.strict import ConfigurationError
from scripts.train import main
from scripts.training.config import TrainingConfig
from scripts.training.start import begin_from, centre_cells, centred_view
from scripts.training.voc import VOID, Crops, VocFolder, augmentation, balanced_weights
from tests.support import ROOT, noise

CONFIG = ROOT / "scripts" / "configs" / "deeplabv3_mobilenet_v2_voc.yaml"


class Start(nn.Module):
    """A network of the kind that training starts from: no atrous branch, no 3×3 convolution in the head."""

    def __init__(self) -> None:
        super().__init__()
        trunk = BACKBONES["mobilenet_v2"].build(16)
        self.features = nn.Sequential(*list(trunk.children())[:18])
        self.aspp_conv1x1 = nn.Sequential(nn.Conv2d(320, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())
        self.aspp_pooling = nn.Sequential(nn.Conv2d(320, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())
        self.project = nn.Sequential(nn.Conv2d(512, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())
        self.classifier = nn.Conv2d(256, 21, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        pooled = self.aspp_pooling(features.mean((2, 3), keepdim=True)).expand(-1, -1, *features.shape[-2:])
        logits: Tensor = self.classifier(self.project(torch.cat([pooled, self.aspp_conv1x1(features)], 1)))
        return logits


@pytest.fixture(scope="module")
def start() -> Start:
    torch.manual_seed(0)
    network = Start()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.bias) * 0.1
            module.running_var = torch.rand_like(module.bias) + 0.5
    return network.eval()


@pytest.fixture
def begun(start: Start) -> DeepLabV3:
    network = DeepLabV3("mobilenet_v2", 21, output_stride=16).eval()
    begin_from(network, start.state_dict())
    return network


@torch.inference_mode()
def test_training_begins_exactly_at_the_starts_function(start: Start, begun: DeepLabV3) -> None:
    images = torch.randn(1, 3, 96, 128)

    torch.testing.assert_close(begun(images)["out"], start(images), atol=1e-4, rtol=1e-3)


def test_start_weights_of_another_kind_are_refused_by_their_keys(start: Start) -> None:
    network = DeepLabV3("mobilenet_v2", 21, output_stride=16)
    without = {name: tensor for name, tensor in start.state_dict().items() if name != "project.0.weight"}

    with pytest.raises(CheckpointError, match=r"start weights: no key 'project\.0\.weight'"):
        begin_from(network, without)
    with pytest.raises(CheckpointError, match=r"start weights: unexpected keys: extra$"):
        begin_from(network, {**start.state_dict(), "extra": torch.zeros(1)})


@torch.inference_mode()
def test_centred_cells_mean_what_lies_around_them(begun: DeepLabV3) -> None:
    images = torch.randn(1, 3, 96, 128)
    features = begun.classifier[0](begun.backbone(images)["out"])

    centre_cells(begun)

    moved = begun.classifier[1](features)
    torch.testing.assert_close(moved[..., :-1, :-1], F.avg_pool2d(features, 2, stride=1))


def test_the_centred_view_moves_by_half_a_cell_and_keeps_the_size() -> None:
    images = torch.arange(32.0).expand(1, 1, 32, 32)

    view = centred_view(images, 16)

    assert view.shape == images.shape
    assert view[0, 0, 0, :24].tolist() == list(range(8, 32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images in VOC's layout: the left half is background, the right half a cat, with a void seam."""
    root = tmp_path / "data"
    for name in ("JPEGImages", "SegmentationClass"):
        (root / name).mkdir(parents=True)
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 40:], mask[:, 38:42] = 8, VOID
    ids = [f"image{index}" for index in range(12)]
    for name in ids:
        Image.fromarray(noise(60, 80)).save(root / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
    (root / "train.txt").write_text("\n".join(ids))
    return root


def test_crops_move_image_and_mask_together(folder: Path) -> None:
    opened = VocFolder.open(folder)
    striped = np.zeros((60, 80, 3), np.uint8)
    striped[:, 42:] = 255
    Image.fromarray(striped).save(opened.image_path("image0"), quality=100)
    augment = augmentation(48, 128, (1.0, 1.0), TrainingConfig.read(CONFIG).normalization)

    for _ in range(10):
        image, mask = Crops(opened, augment)[0]
        assert image.shape == (3, 48, 48)
        assert mask.shape == (48, 48)
        assert set(mask.unique().tolist()) <= {0, 8, VOID}
        bright = image.float().mean(0) > 90
        clear = (mask != VOID) & (F.max_pool2d((mask == VOID).float()[None], 5, 1, 2)[0] == 0)
        assert torch.equal(bright[clear], (mask == 8)[clear])


def test_what_lies_outside_the_image_is_void(folder: Path) -> None:
    augment = augmentation(200, 64, (1.0, 1.0), TrainingConfig.read(CONFIG).normalization)

    _, mask = Crops(VocFolder.open(folder), augment)[0]

    assert mask.shape == (200, 200)
    assert (mask == VOID).float().mean() > 0.8


def test_a_missing_mask_is_named(folder: Path) -> None:
    (folder / "SegmentationClass" / "image3.png").unlink()

    with pytest.raises(FileNotFoundError, match=r"image3\.png: missing, but train\.txt names it"):
        VocFolder.open(folder)


def test_a_folder_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds none of train\.txt, val\.txt"):
        VocFolder.open(tmp_path)


def test_a_misspelt_key_of_the_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(CONFIG.read_text() + "\nepoch: 3\n")

    with pytest.raises(ConfigurationError, match=r"a\.yaml: unknown key 'epoch', did you mean 'epochs'\?"):
        TrainingConfig.read(path)


def test_training_ends_with_a_servable_checkpoint(tmp_path: Path, folder: Path, start: Start) -> None:
    save_file({name: tensor.contiguous() for name, tensor in start.state_dict().items()}, tmp_path / "start.safetensors")
    short = yaml.safe_load(CONFIG.read_text()) | {"epochs": 1, "batch_size": 5, "crop_size": 64, "workers": 0}
    short["resize"] = {"side": "long", "size": 64, "multiple": 16}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(short))
    out = tmp_path / "trained.safetensors"

    arguments = {"config": tmp_path / "a.yaml", "data": folder, "start": tmp_path / "start.safetensors", "out": out}
    assert main([text for name, value in arguments.items() for text in (f"--{name}", str(value))]) == 0

    trained = load_checkpoint(out)
    assert trained.metadata.classes[8] == "cat"
    (evaluation,) = trained.metadata.evaluations
    assert evaluation.dataset == "2 images held out of data"
    changed = [
        name for name, tensor in trained.network.backbone.named_parameters() if not torch.equal(tensor, original(start, name))
    ]
    assert len(changed) == len(list(trained.network.backbone.parameters()))


def original(start: Start, name: str) -> Tensor:
    return start.get_parameter(f"features.{name}")


def test_images_of_rare_classes_are_drawn_more_often(folder: Path) -> None:
    opened = VocFolder.open(folder)
    rare, empty = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    rare[0, 0], rare[5, 5] = 3, 8
    for name, mask in (("image0", rare), ("image1", empty)):
        Image.fromarray(mask).save(opened.mask_path(name))

    weights = balanced_weights(opened)

    assert weights[0] == 1
    assert weights[1] == pytest.approx(12**-0.5)
    assert weights[2:] == pytest.approx([11**-0.5] * 10)
