"""The capture action: from a spec to a finished run folder."""
