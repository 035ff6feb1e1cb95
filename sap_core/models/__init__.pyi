from .family import Family as Family
from .family_registry import families_table as families_table
from .family_registry import register_family as register_family
from .info import ModelInfo as ModelInfo
from .inspection import inspect_model as inspect_model
from .loaded import LoadedModel as LoadedModel
from .loading import load_model as load_model
