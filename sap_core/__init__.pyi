"""The public API: each name is imported from the module named here when it is first used."""

from ._version import __version__ as __version__
from .attention.recorder import record_attention as record_attention
from .capturing.api import capture as capture
from .capturing.attention_map import attention_map as attention_map
from .choices.sink_rules import SinkRule as SinkRule
from .evaluation.api import evaluate as evaluate
from .export.checkpoint import export_checkpoint as export_checkpoint
from .export.elastic import export_elastic as export_elastic
from .export.from_run import export_run as export_run
from .export.push import push_checkpoint as push_checkpoint
from .export.streamed import prune_checkpoint as prune_checkpoint
from .export.verify import verify_checkpoint as verify_checkpoint
from .models.inspection import inspect_model as inspect_model
from .models.loading import load_model as load_model
from .pruning.api import plan_pruning as plan_pruning
from .pruning.api import prune as prune
from .pruning.pruner import SinkAwarePruner as SinkAwarePruner
from .pruning.strategies.progressive import prune_progressively as prune_progressively
from .runs.listing import delete_run as delete_run
from .runs.listing import list_runs as list_runs
from .runs.reading import open_run as open_run
from .sinks.compare import compare_runs as compare_runs
from .sinks.instability import rank_heads as rank_heads
from .sinks.rules import find_sinks as find_sinks
from .sinks.summary import sink_summary as sink_summary
from .sweeps.captures import capture_each as capture_each
