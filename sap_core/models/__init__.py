"""From a folder or Hub id to one `LoadedModel`: inspection, loading, families, memory estimates."""
