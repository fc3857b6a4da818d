"""Model archives: what goes into one (`recipe`), and how one is built (`build`) and proven.

>>> build(Recipe("deeplabv3", "1.0", DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG), Path("build/model-store"))
"""

from scripts.package.recipe import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, MODELS, Recipe

__all__ = ["DEFAULT_CHECKPOINT", "DEFAULT_MODEL_CONFIG", "MODELS", "Recipe"]
