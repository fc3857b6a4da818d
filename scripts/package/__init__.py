"""Model archives: their inputs (`recipe`), and how they are built (`build`) and proven to work.

>>> build(Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG), Path("build/model-store"))
"""

from scripts.package.recipe import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, MODELS, Recipe

__all__ = ["DEFAULT_CHECKPOINT", "DEFAULT_MODEL_CONFIG", "MODELS", "Recipe"]
